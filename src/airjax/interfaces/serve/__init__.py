"""A web page that shows step by step how a model attends, infers and repeats.

Needs the packages of `airjax[serve]`; nothing outside this folder imports them.
"""

import logging
import os
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from airjax.interfaces.serve.answers import held_out_pictures
from airjax.interfaces.serve.app import create_app as create_app
from airjax.interfaces.serve.own import Reading
from airjax.interfaces.serve.worker import THREAD
from airjax.runs.pretrained import from_pretrained, load, names
from airjax.runs.record import RECORD

HOST = "127.0.0.1"
"""The page is served to this machine only, since every request costs processor time."""
CLIENTS = 256
"""Most connections at a time; one more is answered with 503."""
GRACE = 2
"""Time for requests to end once the server has been told to, in seconds."""
DEFAULT, IN_3D = "multi-mnist", "crockery"
"""The packaged models shown by default."""

_logger = logging.getLogger("airjax")


def serve_model(source: str | None, *, port: int) -> None:
    """Serve the page of a trained model on `port` of this machine (0: any that is free) until interrupted.

    Without a model, it shows the packaged ones: handwritten digits, and crockery in 3D where available.

    Raises:
        ValueError: the port is out of range or taken, or the images of a 3D model are not square.
        RunError, CheckpointError, PretrainedError: see `airjax.from_pretrained`.
    """
    if not 0 <= port <= 65_535:
        raise ValueError(f"port must be from 0 to 65535, got {port}")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((HOST, port))
        except OSError as error:
            raise ValueError(f"port {port} can't be used ({error.strerror}); choose another --port") from None
        _serve(_app(source), listener)


def _app(source: str | None) -> FastAPI:
    beside = load(IN_3D) if source is None and IN_3D in names() else None
    folder, trained = Path(source or DEFAULT), from_pretrained(source or DEFAULT)
    model = trained.model
    _logger.info("compiling")
    pictures = held_out_pictures(folder) if model.stage is None and (folder / RECORD).is_file() else None
    reading = Reading(trained.polarity, trained.levels, trained.pick_channels, trained.tile, trained.still)
    return create_app(model, name=folder.resolve().name, pictures=pictures, beside=beside, reading=reading)


def _serve(app: FastAPI, listener: socket.socket) -> None:
    logging.getLogger("uvicorn.error").addFilter(lambda record: "graceful shutdown exceeded" not in record.getMessage())
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
        limit_concurrency=CLIENTS,
    )
    server = uvicorn.Server(config)
    listener.listen()
    _logger.info("watch it at http://%s:%d (Ctrl-C ends it)", *listener.getsockname())
    with suppress(KeyboardInterrupt):  # uvicorn raises it once it has ended
        server.run(sockets=[listener])
    _logger.info("ended")
    if any(thread.name.startswith(THREAD) for thread in threading.enumerate()):
        _leave()


def _leave() -> None:
    """End the process although a computation is running, for which Python would wait."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)
