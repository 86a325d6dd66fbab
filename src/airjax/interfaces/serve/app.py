"""The page and its JSON API."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jaxtyping import UInt8
from starlette.exceptions import HTTPException as AnyHTTPException

from airjax.data.batches import channels_first
from airjax.data.images import shape_of
from airjax.data.reading import FORMATS
from airjax.interfaces.serve.answers import SAMPLES, Answers
from airjax.interfaces.serve.middleware import Guard, refusal
from airjax.interfaces.serve.own import Reading
from airjax.interfaces.serve.requests import (
    MAX_BODY,
    Drawing,
    SceneWanted,
    SheetWanted,
    TableWanted,
    ViewWanted,
    checked,
    content_type,
    picture_name,
    read_body,
    wanted,
)
from airjax.interfaces.serve.tables import TableAnswers
from airjax.interfaces.serve.worker import Busy, Worker
from airjax.models.base import Family
from airjax.runs import plots

STATIC = Path(__file__).parent / "static"
PLACES = 8
"""Number of requests that run or wait."""


def create_app(
    model: Family,
    *,
    name: str,
    pictures: UInt8[np.ndarray, "n c h w"] | None = None,
    beside: Family | None = None,
    reading: Reading | None = None,
    places: int = PLACES,
) -> FastAPI:
    """Make the page of a model, and optionally of a second one.

    When this returns, a 2D model has been compiled. A 3D model is compiled in a thread of its own; requests to it wait
    for that.

    Args:
        model: The model.
        name: What the page calls it.
        pictures: Scenes to show on demand; None: samples from the prior. A 3D model shows tables instead.
        beside: A 3D model to show beside a 2D one.
        reading: How pictures of the user's own are read for a 2D model; None: with light objects and all levels.
        places: Number of requests to a model that run or wait; one more gets a 503.

    Raises:
        ValueError: `pictures` don't have the model's shape, or the images of the 3D model are not square.
    """
    answers = Answers(model, pictures) if model.stage is None else None
    in_3d = beside if model.stage is None else model
    tables = None if in_3d is None else TableAnswers(in_3d)
    for_answers, for_tables = Worker(places), Worker(places)
    app = _empty_app(for_answers, for_tables)

    @app.get("/api/model")
    async def card() -> JSONResponse:
        shared = {"name": name, "colours": plots.STEP_COLOURS, "samples": SAMPLES, "max_body": MAX_BODY}
        cards = {"patches": answers and answers.card, "solids": tables and tables.card}
        return JSONResponse(shared | cards)

    if answers is not None:
        _add_pictures(app, model, reading or Reading(), answers, for_answers)
    if tables is not None:
        for_tables.begin(*tables.warm())
        _add_tables(app, tables, for_tables)
    return app


def _empty_app(*workers: Worker) -> FastAPI:
    @asynccontextmanager
    async def until_closed(_: FastAPI) -> AsyncIterator[None]:
        yield
        for worker in workers:
            worker.close()

    app = FastAPI(openapi_url=None, lifespan=until_closed)  # its pages of documentation load scripts from elsewhere
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"], www_redirect=False)
    app.add_middleware(Guard)
    app.add_exception_handler(AnyHTTPException, _refuse)
    app.add_exception_handler(Busy, _turn_away)
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    return app


def _add_pictures(app: FastAPI, model: Family, reading: Reading, answers: Answers, worker: Worker) -> None:
    @app.post("/api/infer")
    async def infer(request: Request) -> JSONResponse:
        kind = content_type(request, "application/json", *(f"image/{name.lower()}" for name in FORMATS))
        name, body = picture_name(request), await read_body(request)
        drawn = lambda: answers.infer(checked(lambda: _drawn(model, body)))
        own = lambda: answers.infer_own(checked(lambda: reading.read(model, body)), name=name)
        return JSONResponse(await worker.run(drawn if kind == "application/json" else own))

    @app.post("/api/scene")
    async def scene(request: Request) -> JSONResponse:
        asked = await wanted(request, SceneWanted)
        return JSONResponse(await worker.run(lambda: answers.scene(**asked.model_dump())))

    @app.post("/api/sample")
    async def sample(request: Request) -> JSONResponse:
        asked = await wanted(request, SheetWanted)
        if asked.count is not None and not 0 <= asked.count <= model.max_objects:
            raise HTTPException(422, f"count must be null or from 0 to {model.max_objects}")
        return JSONResponse(await worker.run(lambda: answers.sample(**asked.model_dump())))


def _add_tables(app: FastAPI, answers: TableAnswers, worker: Worker) -> None:
    @app.post("/api/table")
    async def table(request: Request) -> JSONResponse:
        asked = await wanted(request, TableWanted)
        return JSONResponse(await worker.run(lambda: answers.table(**asked.model_dump())))

    @app.post("/api/view")
    async def view(request: Request) -> JSONResponse:
        asked = await wanted(request, ViewWanted)
        what = checked(lambda: answers.place(asked.model_dump()["objects"]))
        return JSONResponse(await worker.run(lambda: answers.view(what, azimuth_deg=asked.azimuth_deg)))


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return refusal(error.status_code, error.detail, headers=error.headers)


async def _turn_away(_: Request, error: Exception) -> JSONResponse:
    del error
    return refusal(503, "too many requests are waiting; try again in a second", headers={"Retry-After": "1"})


def _drawn(model: Family, body: bytes) -> UInt8[np.ndarray, "c h w"]:
    rows = Drawing.model_validate_json(body).pixels
    shape = shape_of(*model.image_shape)
    wanted = f"pixels must be whole numbers from 0 to 255, nested as {list(shape)}"
    try:
        values = np.array(rows)
    except ValueError:  # ragged
        raise ValueError(wanted) from None
    if values.shape != shape or values.dtype.kind != "i" or values.min() < 0 or values.max() > 255:
        raise ValueError(wanted)
    return channels_first(values[None].astype(np.uint8))[0]
