"""`/metrics` of a machine that has a worker and no web half: what its processes counted. The store's own metrics are
told by the web halves of other machines.

prometheus_client's own server answers on every path, and waits without an end for a request that does not come.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gateway.metrics import CONTENT_TYPE, Metrics, text

REQUEST_TIMEOUT_SECONDS = 5.0


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_TIMEOUT_SECONDS
    server: _Server

    def do_GET(self) -> None:
        known = self.path.partition("?")[0] == "/metrics"
        body = text(self.server.metrics.collect()) if known else b"Only /metrics is here.\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", CONTENT_TYPE if known else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Who asks is nobody's business."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.metrics = metrics
        super().__init__((host, port), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """One that went away while it was answered."""


@contextmanager
def serve_metrics(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """Answers while the block runs. Raises OSError where it cannot listen."""
    with _Server(host, port, metrics) as server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
