"""Requests: bodies are validated, and error messages never repeat their content."""

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, Field, ValidationError

from airjax.config import MAX_SEED

BODY_SECONDS = 20.0
"""Longest time in which a request's body must be there."""
MAX_BODY = 8_000_000
"""Largest size of a request body, in bytes."""

FARTHEST = 100.0
"""Largest distance from the table's centre; objects beyond it are out of view."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Place = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Degrees = Annotated[float, Field(ge=-720, le=720)]
MAX_NAME = 255
"""Most characters of a picture's name."""
T = TypeVar("T")


class Asked(BaseModel, extra="forbid", strict=True):
    """Base of all JSON requests: unknown names and strings in place of numbers are refused."""


class Drawing(Asked):
    """A picture in numbers, 0 to 255: rows of grey values, or of [red, green, blue]."""

    pixels: list[list[Any]]


class SceneWanted(Asked):
    """A request for a scene."""

    seed: Seed


class SheetWanted(Asked):
    """A request for samples (`airjax.inference.sampling.steer`)."""

    seed: Seed
    count: int | None = None
    scale: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    temperature: Annotated[float, Field(ge=0, le=4)] = 1.0


class TableWanted(Asked):
    """A request for a table: a held-out one, or a sample from the prior."""

    seed: Seed
    prior: bool = False


class Thing(Asked):
    """An object on a table, as `AIR3D.describe` gives it."""

    identity: str
    position: tuple[Place, Place]
    rotation_deg: Degrees


class ViewWanted(Asked):
    """A request for a view of a table, from a given azimuth."""

    objects: list[Thing]
    azimuth_deg: Degrees


def content_type(request: Request, *allowed: str) -> str:
    """Return the content type; answer 415 if it is not accepted."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in allowed:
        raise HTTPException(415, f"the content type must be {' or '.join(allowed)}")
    return kind


def picture_name(request: Request) -> str:
    """Return the picture's name, the query's `name`, for the table; answer 422 if it is too long."""
    name = request.query_params.get("name", "picture")
    if len(name) > MAX_NAME:
        raise HTTPException(422, f"name may have {MAX_NAME} characters")
    return name


async def read_body(request: Request) -> bytes:
    """Read the body; answer 413 as soon as it is too long, whatever length was announced, and 408 if it is slow."""
    body, chunks = bytearray(), aiter(request.stream())
    if not request.headers.get("content-length", "0").isdigit():
        raise HTTPException(400, "the content length is not a number")
    announced = int(request.headers.get("content-length", "0"))
    try:
        async with asyncio.timeout(BODY_SECONDS):
            while announced <= MAX_BODY and len(body) <= MAX_BODY and (chunk := await anext(chunks, None)) is not None:
                body += chunk
    except TimeoutError:
        raise HTTPException(408, f"the body took longer than {BODY_SECONDS:g} s", {"Connection": "close"}) from None
    if max(announced, len(body)) > MAX_BODY:
        raise HTTPException(413, f"the body may have {MAX_BODY:,} bytes")
    return bytes(body)


Wanted = TypeVar("Wanted", bound=Asked)


async def wanted(request: Request, kind: type[Wanted]) -> Wanted:
    """Read and validate a JSON request."""
    content_type(request, "application/json")
    body = await read_body(request)
    return checked(lambda: kind.model_validate_json(body))


def checked(read: Callable[[], T]) -> T:
    """Run a parser; answer 422 with one sentence, which repeats none of the input, if it fails."""
    try:
        return read()
    except ValidationError as error:
        first = error.errors()[0]
        known = first["loc"] and first["type"] != "extra_forbidden"
        place = first["loc"][0] if known else "the body"
        raise HTTPException(422, f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
