"""Serves a WSGI application over HTTP/1.1, a thread for each connection, and can lose an answer.

The gateway's own server gives every request an answer, as it should, and has no way to cut one off; werkzeug's closes
the connection behind every answer, and ten thousand of these leave no port for others. So: the standard library's.
"""

from __future__ import annotations

import io
import socket
import struct
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import unquote
from wsgiref.types import WSGIApplication, WSGIEnvironment

import structlog

from gateway.sandbox.carrierx.api import CUT

IDLE = 120.0
"""Seconds for which a connection is kept that asks nothing."""
LARGEST = 1024 * 1024
RESET = struct.pack("ii", 1, 0)
log = structlog.get_logger(__name__)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = IDLE
    server: Server

    def _serve(self) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or "Transfer-Encoding" in self.headers or int(length) > LARGEST:
            self.send_error(411, "A body needs a Content-Length of at most 1 MiB.")
            self.close_connection = True
            return
        body = self.rfile.read(int(length))
        if len(body) == int(length):
            self._answer(self._environ(body))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _serve

    def _environ(self, body: bytes) -> WSGIEnvironment:
        path, _, query = self.path.partition("?")
        environ: WSGIEnvironment = {
            "REQUEST_METHOD": self.command,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_NAME": self.server.server_name,
            "SERVER_PORT": str(self.server.server_port),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.client_address[0],
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        headers = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}
        return {**headers, **environ}

    def _answer(self, environ: WSGIEnvironment) -> None:
        started: list[tuple[str, list[tuple[str, str]]]] = []

        def start(status: str, headers: list[tuple[str, str]], exc_info: object = None, /) -> Callable[[bytes], object]:
            started[:] = [(status, headers)]
            return lambda data: None

        pieces = self.server.application(environ, start)
        try:
            body = b"".join(pieces)
            head = "".join(f"{name}: {value}\r\n" for name, value in started[0][1])
            whole = f"HTTP/1.1 {started[0][0]}\r\n{head}\r\n".encode("latin-1") + body
            self._send(whole, environ.get(CUT))
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                close()

    def _send(self, answer: bytes, cut: str | None) -> None:
        if cut is None:
            self.wfile.write(answer)
            return
        self.close_connection = True
        if cut == "half":
            self.wfile.write(answer[: len(answer) // 2])
        if cut == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            self.rfile.close()  # it holds the connection open, too
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


class Server(ThreadingHTTPServer):
    """Listens as soon as it is made. Raises OSError where it cannot."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, application: WSGIApplication, host: str, port: int) -> None:
        self.application = application
        self._open: set[socket.socket] = set()
        super().__init__((host, port), _Handler)

    def server_bind(self) -> None:
        """Without asking for the host's name, which may take seconds."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        error = sys.exception()
        if not isinstance(error, OSError):  # else the caller has gone
            log.error("request_failed", exc_info=error)

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, args=(0.05,), name="stand-in", daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self._open):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it has just ended by itself
                continue
