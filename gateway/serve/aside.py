"""`/metrics` of a machine that has a worker and no web half: what its processes counted. The store's own figures are
told by the web halves of the others."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from gateway.figures import merged, text
from gateway.figures.exposition import CONTENT_TYPE


class _Asked(BaseHTTPRequestHandler):
    timeout = 5.0
    """Seconds for a request."""
    server: _Server

    def do_GET(self) -> None:
        known = self.path.partition("?")[0] == "/metrics"
        body = text(merged(self.server.folder)).encode() if known else b"Only /metrics is here.\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", CONTENT_TYPE if known else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Who asks is nobody's business."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], folder: Path) -> None:
        self.folder = folder
        super().__init__(address, _Asked)

    def handle_error(self, request: object, client_address: object) -> None:
        """One that went away while it was answered."""


@contextmanager
def serve_metrics(folder: Path, host: str, port: int) -> Iterator[None]:
    """Answers while the block runs. Raises OSError where it cannot listen."""
    with _Server((host, port), folder) as server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
