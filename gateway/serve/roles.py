"""The processes of the gateway, each from its start to its end: the web half, the worker, the sandbox's stand-ins."""

from __future__ import annotations

import ctypes
import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from gateway.config import Config, Settings, environment, take_variable
from gateway.metrics import CONTENT_TYPE, PROCESS_STARTS, SERVER_REFUSALS, Metrics
from gateway.metrics import text as metrics_text
from gateway.serve.startup import (
    LISTEN,
    LOGIN_TOKEN,
    SANDBOX_CALLBACK,
    SANDBOX_CARRIERX,
    SANDBOX_PAGE,
    parse_address,
    url_of,
)
from gateway.serve.supervisor import Heartbeat, on_stop, raise_file_limit
from gateway.store import Store, StoreUnavailable, health
from gateway.store.wakeup import WorkerNotifier

if TYPE_CHECKING:
    from gateway.sandbox.carrierx import CarrierXStub
    from gateway.sender.worker import Sender

WORKER_FILES = 2048  # files that a worker may want open: one for each attempt, each idle connection, and its own
SENDER_JOIN_SECONDS = 8.5
"""The Sender may take longer to end than the worker: both have the same time, and one may have nothing to do."""
METRICS_TIMEOUT_SECONDS = 5.0
M_ARENA_MAX, MEMORY_ARENAS = -8, 2  # an option of glibc's mallopt, and its value


def settings_for(path: Path | None) -> Settings:
    """Settings of the file named on the command line, else by `GATEWAY_CONFIG`, else of ``gateway.toml``, else of the
    sandbox. Raises `ConfigError`.
    """
    if path is not None:
        return Settings(path)
    return Settings(sample()) if SANDBOX_PAGE in environment() else Settings.found(otherwise=sample)


def sample() -> Config:
    """The sandbox's configuration, with its stand-ins where the supervisor told that they are."""
    from gateway.sandbox import CARRIERX, PAGE, sample_config

    return sample_config(environment().get(SANDBOX_PAGE, PAGE), environment().get(SANDBOX_CARRIERX, CARRIERX))


def run_web(settings: Settings, host: str, port: int, *, lifeline: bool) -> None:
    """Raises OSError where it cannot listen, `StoreUnavailable` where there is no store."""
    from gateway import create_app
    from gateway.serve.run import serve
    from gateway.web import callbacks
    from gateway.web.app import max_body_bytes
    from gateway.web.context import web_context
    from gateway.web.limits import is_trusted_proxy

    with suppress(AttributeError, OSError, TypeError):  # no glibc
        # Each thread that has once read a large body keeps freed memory in an arena, of which there are many.
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, MEMORY_ARENAS)
    store = _open_store(settings, lifeline=lifeline)
    app = create_app(settings, store, login_token=take_variable(LOGIN_TOKEN))
    app.config["OWN_ADDRESSES"] = frozenset({(host, port)})
    app.config["OWN_URL"] = url_of(host, port)
    metrics = web_context(app).metrics
    metrics.count(PROCESS_STARTS, "web")
    _freeze_memory()
    try:
        serve(
            app,
            host,
            port,
            lifeline=lifeline,
            quick=callbacks.are_quick,
            max_body_bytes=max_body_bytes,
            is_proxy=partial(is_trusted_proxy, settings),
            count=partial(metrics.count, SERVER_REFUSALS),
        )
    finally:
        store.close(timeout=1.0)


def run_worker(settings: Settings, *, lifeline: bool, metrics_address: tuple[str, int] | None) -> None:
    """Raises `StoreUnavailable` where there is no store.
    `/metrics` is answered at `metrics_address` once SIGTERM ends the process in order: whoever gets an answer there
    takes the worker for one that is up, and may stop it at once. Raises OSError where it cannot listen."""
    from gateway.delivery.worker import Worker
    from gateway.outbound import replies
    from gateway.sender.worker import Sender
    from gateway.store import audit, ledger

    store, stop = _open_store(settings, lifeline=lifeline), threading.Event()
    data, web_address = settings.current.data, parse_address(environment().get(LISTEN, ""))
    raise_file_limit(WORKER_FILES)
    metrics = Metrics(data)
    audit.follow_configuration(settings, store)
    sender = Sender(settings, store, notify=WorkerNotifier(data).notify, metrics=metrics)

    def ask_to_stop() -> None:
        stop.set()
        worker.wake()
        sender.wake()

    sending = SenderThread(sender, stop, ask_to_stop)
    worker = Worker(
        settings,
        store,
        frozenset({web_address} if web_address else ()),
        heartbeat=sending.while_alive(WorkerHeartbeat(store, Heartbeat(lifeline=lifeline))),
        metrics=metrics,
        owe_replies=replies.owe_replies,
        wake_others={ledger.ENDPOINT: sender.wake},
    )
    on_stop(ask_to_stop, lifeline=lifeline)
    metrics.count(PROCESS_STARTS, "worker")
    _freeze_memory()
    try:
        with serve_metrics(metrics, *metrics_address) if metrics_address else nullcontext(), sending:
            worker.run(stop)
    finally:
        store.close(timeout=1.0)
    if sending.has_failed:
        raise SystemExit(1)


class SenderThread:
    """The Sender beside the worker, in a thread of the same process: they end together.
    `give_up` ends the process where the Sender has died; whoever watches the process starts another one."""

    def __init__(self, sender: Sender, stop: threading.Event, give_up: Callable[[], None]) -> None:
        self._sender, self._stop, self._give_up = sender, stop, give_up
        self._thread = threading.Thread(target=self._run, name="sender", daemon=True)
        self.has_failed = False

    def while_alive(self, beat: Callable[[], None]) -> Callable[[], None]:
        """A heartbeat that stops when the Sender's loop hangs."""
        return lambda: beat() if self._sender.is_alive() else None

    def _run(self) -> None:
        try:
            self._sender.run(self._stop)
        except BaseException as error:
            self.has_failed = True
            structlog.get_logger().exception("sender_failed", error=type(error).__name__)
            self._give_up()

    def __enter__(self) -> SenderThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._sender.wake()
        self._thread.join(SENDER_JOIN_SECONDS)


class WorkerHeartbeat:
    """The worker's signs of life: to the supervisor, and now and then into the store, for monitors."""

    def __init__(self, store: Store, beat: Callable[[], None]) -> None:
        self._store, self._beat = store, beat
        self._next = 0.0

    def __call__(self) -> None:
        self._beat()
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + health.HEARTBEAT_SECONDS
        with suppress(StoreUnavailable):  # nobody waits for it, and the next one comes
            self._store.writer.submit(lambda connection: health.beat(connection, health.WORKER))


@contextmanager
def serve_metrics(metrics: Metrics, host: str, port: int) -> Iterator[None]:
    """Answers `/metrics` of a machine without a web half, while the block runs: what its processes counted.
    The web halves of other machines show the store's own metrics. Raises OSError where it cannot listen.
    prometheus_client's own server answers on every path, and waits without an end for a request that does not come."""
    with _MetricsServer(host, port, metrics) as server:
        thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()


class _MetricsServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str, port: int, metrics: Metrics) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.metrics = metrics
        super().__init__((host, port), _MetricsHandler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Logs nothing: a client went away while it was answered."""


class _MetricsHandler(BaseHTTPRequestHandler):
    timeout = METRICS_TIMEOUT_SECONDS
    server: _MetricsServer

    def do_GET(self) -> None:
        known = self.path.partition("?")[0] == "/metrics"
        body = metrics_text(self.server.metrics.collect()) if known else b"Only /metrics is here.\n"
        self.send_response(200 if known else 404)
        self.send_header("Content-Type", CONTENT_TYPE if known else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def end_headers(self) -> None:
        self.send_header("X-Content-Type-Options", "nosniff")
        super().end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Logs nothing."""


def run_sandbox_page(host: str, port: int, carrierx_port: int, *, lifeline: bool) -> None:
    """The sandbox's stand-ins: for the applications that are called, and, on `carrierx_port`, for CarrierX."""
    from gateway.sandbox.carrierx import CarrierXStub, Setup
    from gateway.sandbox.legacy_app import make_legacy_app
    from gateway.serve.run import serve

    numbers = [number.number for number in sample().numbers]
    setup = Setup(numbers=numbers, callback=take_variable(SANDBOX_CALLBACK) or "", pace=0.5)
    with CarrierXStub(setup, host, carrierx_port):
        serve(make_legacy_app(), host, port, lifeline=lifeline)


def run_carrierx_stub(stub: CarrierXStub) -> None:
    """The stand-in for CarrierX by itself, until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    on_stop(stop.set, lifeline=False)
    with stub:
        stop.wait()


def _open_store(settings: Settings, *, lifeline: bool) -> Store:
    """The store, up to date. A supervisor has just seen to that: there it is only checked."""
    store = Store(settings.current.database)
    if not (lifeline and store.is_current()):
        store.migrate()
    return store


def _freeze_memory() -> None:
    """Keeps the garbage collector away from all that is there by now, which costs some 7 % of a callback's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 10)
