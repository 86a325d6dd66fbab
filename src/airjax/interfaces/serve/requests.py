"""What requests hold: read with care, or refused in a sentence that repeats none of it."""

from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import HTTPException, Request
from pydantic import BaseModel, Field, ValidationError

from airjax.config import MAX_SEED

MAX_BODY = 8_000_000
"""Bytes that a request's body may have."""

FARTHEST = 100.0
"""From the table's centre: what is that far is not seen."""

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Place = Annotated[float, Field(ge=-FARTHEST, le=FARTHEST)]
Degrees = Annotated[float, Field(ge=-720, le=720)]
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
    """Scenes to sample (`airjax.inference.sampling.steer`)."""

    seed: Seed
    count: int | None = None
    scale: Annotated[float, Field(ge=0.25, le=4)] = 1.0
    temperature: Annotated[float, Field(ge=0, le=4)] = 1.0


class TableWanted(Asked):
    """Which table to lay, or to sample from the prior."""

    seed: Seed
    prior: bool = False


class Thing(Asked):
    """An object on a table, in the words of `AIR3D.describe`."""

    identity: str
    position: tuple[Place, Place]
    rotation_deg: Degrees


class ViewWanted(Asked):
    """A table to draw, and from where."""

    objects: list[Thing]
    azimuth_deg: Degrees


def content_type(request: Request, *allowed: str) -> str:
    """Tell the content type, or refuse it: a 415."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind not in allowed:
        raise HTTPException(415, f"the content type must be {' or '.join(allowed)}")
    return kind


async def read_body(request: Request) -> bytes:
    """Read the body, but no more of it than is allowed, whatever length was announced: a 413."""
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


async def wanted(request: Request, kind: type[Wanted]) -> Wanted:
    """Read a question in JSON."""
    content_type(request, "application/json")
    body = await read_body(request)
    return checked(lambda: kind.model_validate_json(body))


def checked(read: Callable[[], T]) -> T:
    """Read what came, or refuse it with a sentence that repeats none of it: a 422."""
    try:
        return read()
    except ValidationError as error:
        first = error.errors()[0]
        known = first["loc"] and first["type"] != "extra_forbidden"
        place = first["loc"][0] if known else "the body"
        raise HTTPException(422, f"{place}: {first['msg']}") from None
    except ValueError as error:
        raise HTTPException(422, str(error)) from None
