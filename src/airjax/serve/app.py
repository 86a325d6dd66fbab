"""The page and its JSON API: reading requests, refusing them, replying."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, HTTPException, Request
from fastapi.middleware.trustedhost import TrustedHostMiddleware
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from jaxtyping import UInt8
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException as AnyHTTPException

from airjax.config import MAX_SEED
from airjax.grounds import BlackGround
from airjax.images import FORMATS, fit, is_on_light, open_picture, shape_of
from airjax.inference import channels_first
from airjax.model import AIR
from airjax.serve.answers import MAX_BODY, Answers
from airjax.serve.guard import Guard, refusal
from airjax.serve.worker import Busy, Worker

STATIC = Path(__file__).parent / "static"
MAX_PIXELS = 16_000_000
"""Pixels of a picture, which is refused before it is decoded."""
PLACES = 8
"""Requests that are worked on or wait."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
T = TypeVar("T")


class Asked(BaseModel, extra="forbid", strict=True):
    """What requests in JSON share: no unknown names, and no strings for numbers."""


class Drawing(Asked):
    """A picture in numbers, 0 to 255: rows of grey values, or of [red, green, blue]."""

    pixels: list[list[Any]]


class SceneWanted(Asked):
    """Which scene to take."""

    seed: Seed


class SheetWanted(Asked):
    """Scenes to sample (`airjax.sampling.steer`)."""

    seed: Seed
    count: int | None = None
    scale: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    temperature: Annotated[float, Field(ge=0, le=4)] = 1.0


def create_app(
    model: AIR, *, name: str, pictures: UInt8[np.ndarray, "n c h w"] | None = None, places: int = PLACES
) -> FastAPI:
    """Make the page of a model; it has been compiled when this returns.

    Args:
        model: The model.
        name: What the page calls it.
        pictures: Scenes to show on demand; None: they are sampled from the prior.
        places: Requests that are worked on or wait; one more gets a 503.

    Raises:
        ValueError: `pictures` are not of the model's shape.
    """
    answers, worker = Answers(model, name, pictures), Worker(places)
    app = FastAPI(openapi_url=None)  # its pages of documentation load scripts from elsewhere
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["localhost", "127.0.0.1"], www_redirect=False)
    app.add_middleware(Guard)
    app.add_exception_handler(AnyHTTPException, _refuse)
    app.add_exception_handler(Busy, _turn_away)
    app.mount("/static", StaticFiles(directory=STATIC))

    @app.get("/")
    async def page() -> FileResponse:
        return FileResponse(STATIC / "index.html")

    @app.get("/api/model")
    async def card() -> JSONResponse:
        return JSONResponse(answers.card)

    @app.post("/api/infer")
    async def infer(request: Request) -> JSONResponse:
        kind = _content_type(request, "application/json", *(f"image/{name.lower()}" for name in FORMATS))
        body = await _body(request)
        pixels = _drawn if kind == "application/json" else _decoded
        return JSONResponse(await worker.run(lambda: answers.infer(_checked(lambda: pixels(model, body)))))

    @app.post("/api/scene")
    async def scene(request: Request) -> JSONResponse:
        wanted = await _wanted(request, SceneWanted)
        return JSONResponse(await worker.run(lambda: answers.scene(**wanted.model_dump())))

    @app.post("/api/sample")
    async def sample(request: Request) -> JSONResponse:
        wanted = await _wanted(request, SheetWanted)
        if wanted.count is not None and not 0 <= wanted.count <= model.max_objects:
            raise HTTPException(422, f"count must be null or from 0 to {model.max_objects}")
        return JSONResponse(await worker.run(lambda: answers.sample(**wanted.model_dump())))

    return app


async def _refuse(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AnyHTTPException)
    return refusal(error.status_code, error.detail, headers=error.headers)


async def _turn_away(_: Request, error: Exception) -> JSONResponse:
    del error
    return refusal(503, "too many requests are waiting; try again in a second", headers={"Retry-After": "1"})


def _content_type(request: Request, *allowed: str) -> str:
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in allowed:
        raise HTTPException(415, f"the content type must be {' or '.join(allowed)}")
    return kind


async def _body(request: Request) -> bytes:
    """Read the body, but no more of it than is allowed, whatever length was announced."""
    body = bytearray()
    if not request.headers.get("content-length", "0").isdigit():
        raise HTTPException(400, "the content length is not a number")
    announced = int(request.headers.get("content-length", "0"))
    if announced <= MAX_BODY:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                break
    if max(announced, len(body)) > MAX_BODY:
        raise HTTPException(413, f"the body may have {MAX_BODY:,} bytes")
    return bytes(body)


Wanted = TypeVar("Wanted", bound=Asked)


async def _wanted(request: Request, kind: type[Wanted]) -> Wanted:
    _content_type(request, "application/json")
    body = await _body(request)
    return _checked(lambda: kind.model_validate_json(body))


def _checked(read: Callable[[], T]) -> T:
    """Read what came, or refuse it with a sentence that repeats none of it."""
    try:
        return read()
    except ValidationError as error:
        first = error.errors()[0]
        known = first["loc"] and first["type"] != "extra_forbidden"
        place = first["loc"][0] if known else "the body"
        raise HTTPException(422, f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None


def _drawn(model: AIR, body: bytes) -> UInt8[np.ndarray, "c h w"]:
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


def _decoded(model: AIR, body: bytes) -> UInt8[np.ndarray, "c h w"]:
    """Decode a picture and fit it; for a model of light objects on black, dark ones on a light ground are inverted."""
    picture = open_picture(io.BytesIO(body), "the picture", max_pixels=MAX_PIXELS, formats=FORMATS)
    invert = isinstance(model.ground, BlackGround) and is_on_light(picture)
    return fit(picture, model.image_shape, invert=invert).pixels
