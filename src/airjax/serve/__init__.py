"""A web page on which a model can be watched while it attends, infers and repeats.

Needs the packages of `airjax[serve]`; nothing outside this folder imports them.
"""

import logging
import socket
from pathlib import Path

import uvicorn

from airjax.model import AIR
from airjax.pretrained import load
from airjax.run import RECORD
from airjax.serve.answers import held_out_pictures
from airjax.serve.app import create_app as create_app

HOST = "127.0.0.1"
"""The page is for this machine alone: whoever reaches it can keep the processor busy."""

_logger = logging.getLogger("airjax")


def serve_model(source: str, *, port: int) -> None:
    """Serve the page of a trained model on `port` of this machine (0: any that is free) until interrupted.

    Raises:
        ValueError: the port is out of range, or taken; the model is one of objects in 3D.
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
        model = load(source)
        if not isinstance(model, AIR):
            raise ValueError(f"airjax serve shows models of patches, not of {source}")
        _serve(model, Path(source), listener)


def _serve(model: AIR, source: Path, listener: socket.socket) -> None:
    _logger.info("compiling")
    pictures = held_out_pictures(source) if (source / RECORD).is_file() else None
    app = create_app(model, name=source.resolve().name, pictures=pictures)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False, server_header=False))
    listener.listen()
    _logger.info("watch it at http://%s:%d (Ctrl-C ends it)", *listener.getsockname())
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        _logger.info("ended")
