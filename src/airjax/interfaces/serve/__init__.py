"""A web page on which a model can be watched while it attends, infers and repeats.

Needs the packages of `airjax[serve]`; nothing outside this folder imports them.
"""

import logging
import socket
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from airjax.interfaces.serve.answers import held_out_pictures
from airjax.interfaces.serve.app import create_app as create_app
from airjax.runs.pretrained import load, names
from airjax.runs.record import RECORD

HOST = "127.0.0.1"
"""The page is for this machine alone: whoever reaches it can keep the processor busy."""
DEFAULT, IN_3D = "multi-mnist", "crockery"
"""The models of the package that are shown where none is named."""

_logger = logging.getLogger("airjax")


def serve_model(source: str | None, *, port: int) -> None:
    """Serve the page of a trained model on `port` of this machine (0: any that is free) until interrupted.

    Without one, it shows those of the package: handwritten digits, and crockery in 3D if that model is there.

    Raises:
        ValueError: the port is out of range, or taken; the model is one of pictures in 3D that are not square.
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
    folder, model = Path(source or DEFAULT), load(source or DEFAULT)
    _logger.info("compiling")
    pictures = held_out_pictures(folder) if model.stage is None and (folder / RECORD).is_file() else None
    return create_app(model, name=folder.resolve().name, pictures=pictures, beside=beside)


def _serve(app: FastAPI, listener: socket.socket) -> None:
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    listener.listen()
    _logger.info("watch it at http://%s:%d (Ctrl-C ends it)", *listener.getsockname())
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        _logger.info("ended")
