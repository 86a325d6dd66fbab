"""The server ends when it is told to, whatever its clients do, and answers slow bodies with 408."""

import asyncio
import signal
import socket
import subprocess
import sys
import time

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from airjax.interfaces.serve import middleware, requests

SERVER = """
import logging, socket, sys, time
from fastapi import Request
from airjax.interfaces import serve
from airjax.interfaces.serve.app import _empty_app
from airjax.interfaces.serve.requests import read_body
from airjax.interfaces.serve.worker import Worker
worker = Worker(2)
app = _empty_app(worker)
@app.post("/body")
async def body(request: Request):
    return len(await read_body(request))
@app.post("/busy")
async def busy():
    return await worker.run(lambda: (print("busy", flush=True), time.sleep(600)))
with socket.socket() as listener:
    listener.bind((serve.HOST, 0))
    listener.listen()
    print(listener.getsockname()[1], flush=True)
    serve._serve(app, listener)
"""
HEAD = b"POST /%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: %d\r\n\r\n"
CLIENTS = {"half a body": HEAD % (b"body", 99) + b"half", "half a header": b"POST /body", "busy": HEAD % (b"busy", 0)}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("client", CLIENTS)
def test_the_server_ends_while_a_client_waits(client, number):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    port = int(process.stdout.readline())
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(CLIENTS[client])
        if client == "busy":
            assert process.stdout.readline() == "busy\n"
        else:
            with socket.create_connection(("127.0.0.1", port)) as other:  # an answer means that the loop has gone round
                other.sendall(HEAD % (b"body", 0))
                assert other.recv(12) == b"HTTP/1.1 200"
        begun = time.monotonic()
        process.send_signal(number)
        _, told = process.communicate(timeout=300)
    assert time.monotonic() - begun < 30
    assert process.returncode in (0, -number)
    assert "Traceback" not in told
    assert "ERROR" not in told


def test_a_slow_body_is_answered_with_408(monkeypatch):
    monkeypatch.setattr(requests, "BODY_SECONDS", 0.01)
    app = FastAPI()
    app.add_middleware(middleware.Guard)

    @app.post("/")
    async def body(request: Request) -> int:
        original = request.stream

        async def slow():
            async for chunk in original():
                yield chunk
                await asyncio.sleep(60)

        request.stream = slow
        return len(await requests.read_body(request))

    answer = TestClient(app).post("/", content=b"abc")
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"
