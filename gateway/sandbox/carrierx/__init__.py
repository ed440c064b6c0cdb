"""A stand-in for CarrierX: its Core API, its callbacks, and the faults of both. For trying things out, and for tests.

docs/sandbox.md has an example of a test with it.
"""

from __future__ import annotations

import socket
import struct
import sys
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import Any

import structlog
from flask import Flask
from werkzeug import Response
from werkzeug.exceptions import HTTPException
from werkzeug.test import create_environ

from gateway.sandbox.carrierx import api
from gateway.sandbox.carrierx.engine import Engine, Setup
from gateway.sandbox.carrierx.faults import Misbehaviour
from gateway.sandbox.carrierx.model import PARTNER, ApiError

__all__ = ["PARTNER", "CarrierXStub", "Misbehaviour", "Setup", "make_carrierx"]

IDLE_TIMEOUT_SECONDS = 120.0  # a connection that sends no request is closed after this time
MAX_BODY_BYTES = 1024 * 1024
_LINGER_ZERO = struct.pack("ii", 1, 0)  # with it, closing a socket resets the connection
log = structlog.get_logger(__name__)


def make_carrierx(setup: Setup | None = None) -> Flask:
    """The WSGI application. Only `CarrierXStub` loses answers. Its `Engine` is ``extensions["carrierx"]``."""
    app = Flask("gateway.sandbox.carrierx")
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES
    app.extensions["carrierx"] = Engine(setup or Setup())
    app.register_blueprint(api.core)
    app.register_blueprint(api.control)
    app.register_error_handler(ApiError, api.show_api_error)
    app.register_error_handler(HTTPException, api.show_http_error)

    @app.after_request
    def add_header(answer: Response) -> Response:
        answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    return app


class CarrierXStub(ThreadingTCPServer):
    """A stand-in, in threads of this process: serves `make_carrierx` over HTTP/1.1, and can lose an answer.
    The gateway's own server answers every request, as it should, and cannot cut an answer off. Werkzeug's closes the
    connection after every answer, and ten thousand of these leave no port for others. So: the standard library's. It
    listens as soon as it is made. Raises OSError where it cannot. `port` 0: any free one."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, setup: Setup | None = None, host: str = "127.0.0.1", port: int = 0) -> None:
        self.app = make_carrierx(setup)
        self.engine: Engine = self.app.extensions["carrierx"]
        self._connections: set[socket.socket] = set()
        super().__init__((host, port), _StubHandler)
        self.address = f"http://{host}:{self.server_address[1]}"
        self.url = f"{self.address}/core/v2"  # the gateway's `base_url` for it

    def __enter__(self) -> CarrierXStub:
        threading.Thread(target=self.serve_forever, args=(0.05,), name="stand-in", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._connections):
            with suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)
        self.engine.poster.close()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # else the caller has gone
            log.error("request_failed", exc_info=error)


class _StubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE_TIMEOUT_SECONDS
    server: CarrierXStub

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or "Transfer-Encoding" in self.headers or int(length) > MAX_BODY_BYTES:
            self.send_error(411, "A body needs a Content-Length of at most 1 MiB.")
            self.close_connection = True
            return
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            return
        environ = create_environ(self.path, method=self.command, headers=self.headers.items(), data=body)
        # Closed only when it is sent: see `api.send`.
        with Response.from_app(self.server.app, environ) as answer:
            cut, body = answer.headers.pop(api.CUT, None), answer.get_data()
            head = "".join(f"{name}: {value}\r\n" for name, value in answer.headers)
            self._send(f"HTTP/1.1 {answer.status}\r\n{head}\r\n".encode("latin-1") + body, cut)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _send(self, answer: bytes, cut: str | None) -> None:
        if cut is None:
            self.wfile.write(answer)
            return
        self.close_connection = True
        if cut == "half":
            self.wfile.write(answer[: len(answer) // 2])
        if cut == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
            self.rfile.close()  # it holds the connection open, too
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""
