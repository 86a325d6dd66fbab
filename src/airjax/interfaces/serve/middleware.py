"""Middleware for every reply: strict headers, and no details of internal errors."""

import asyncio
import logging
from typing import Any

from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""The page loads nothing from other hosts, can't be framed, and is fetched again after an update."""

_logger = logging.getLogger("airjax")


class Guard:
    """Add `HEADERS` to every reply and turn an unexpected error into a plain 500."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        started = False

        async def guarded(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                added = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message.get("headers", []), *added]
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except asyncio.CancelledError:  # the server ends
            if started:
                raise
            await refusal(503, "the server is ending")(scope, receive, guarded)
        except ClientDisconnect:
            pass  # whoever asked has left: there is nobody to answer, and nothing went wrong
        except Exception:
            _logger.exception("a request failed")
            if started:
                raise
            await refusal(500, "something went wrong inside; the server's log says what")(scope, receive, guarded)


def refusal(status: int, sentence: str, **more: Any) -> JSONResponse:
    """Make the reply to a refused request: one sentence that says why."""
    return JSONResponse({"error": sentence}, status, **more)
