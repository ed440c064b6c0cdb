"""What each process of the gateway does, from its start to its end: the web half, the worker, the sandbox's page."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.config import Config, Settings
from gateway.metrics import Metrics
from gateway.serve.addresses import listening, url_of
from gateway.serve.aside import serve_metrics
from gateway.serve.files import files
from gateway.serve.lifeline import Heartbeat, on_stop
from gateway.store import Store, StoreUnavailable, health
from gateway.store.wakeup import WorkerNotifier

if TYPE_CHECKING:
    from gateway.sandbox.carrierx import CarrierXStub

LOGIN_TOKEN = "GATEWAY_LOGIN_TOKEN"  # noqa: S105
LISTEN = "GATEWAY_LISTEN"
"""Where the web half listens, ``127.0.0.1:8080``: the worker must not deliver to it."""
FILES = 2048
"""That a worker may want open: one for each attempt, each idle connection, and its own."""
SANDBOX_PAGE = "GATEWAY_SANDBOX_PAGE"
"""Address of the stand-in for applications; that it is set makes a process one of the sandbox."""
SANDBOX_CARRIERX = "GATEWAY_SANDBOX_CARRIERX"
"""Address of the stand-in for CarrierX."""
SANDBOX_CALLBACK = "GATEWAY_SANDBOX_CALLBACK"
"""Where that one posts its callbacks; has a key in it."""


def settings_for(path: Path | None, environ: Mapping[str, str] = os.environ) -> Settings:
    """Of the file named on the command line, else by `GATEWAY_CONFIG`, else of ``gateway.toml``, else the sandbox's.

    Raises `ConfigError`.
    """
    if path is not None:
        return Settings(path)
    if SANDBOX_PAGE in environ:
        return Settings.fixed(sample(environ))
    return Settings.found(environ, otherwise=lambda: sample(environ))


def sample(environ: Mapping[str, str] = os.environ) -> Config:
    from gateway.sandbox import CARRIERX, PAGE, sample_config

    return sample_config(environ.get(SANDBOX_PAGE, PAGE), environ.get(SANDBOX_CARRIERX, CARRIERX))


def run_web(settings: Settings, host: str, port: int, *, lifeline: bool) -> None:
    """Raises OSError where it cannot listen, `StoreUnavailable` where there is no store."""
    from gateway import create_app
    from gateway.serve.server import serve
    from gateway.web import callbacks
    from gateway.web.context import web_context_of

    store = _store(settings, lifeline=lifeline)
    app = create_app(settings, store, login_token=os.environ.pop(LOGIN_TOKEN, None))
    app.config["OWN_ADDRESSES"] = frozenset({(host, port)})
    app.config["OWN_URL"] = url_of(host, port)
    web_context_of(app).metrics.process_started("web")
    _settle_down()
    try:
        serve(app, host, port, lifeline=lifeline, quick=callbacks.are_quick)
    finally:
        store.close(timeout=1.0)


def run_worker(settings: Settings, *, lifeline: bool, metrics_address: tuple[str, int] | None) -> None:
    """Raises `StoreUnavailable` where there is no store.

    `/metrics` is answered at `metrics_address` once SIGTERM ends the process in order: whoever gets an answer there
    takes the worker for one that is up, and may stop it at once. Raises OSError where it cannot listen.
    """
    from gateway.delivery.worker import Worker
    from gateway.outbound import replies
    from gateway.sender.worker import Sender
    from gateway.serve.sending import SenderThread
    from gateway.store import ledger

    store, stop = _store(settings, lifeline=lifeline), threading.Event()
    own, data = listening(os.environ.get(LISTEN, "")), settings.current.data
    files(FILES)
    metrics = Metrics(data)
    sender = Sender(settings, store, ring=WorkerNotifier(data).notify, metrics=metrics)

    def ask() -> None:
        stop.set()
        half.wake()
        sender.wake()

    sending = SenderThread(sender, stop, ask)
    half = Worker(
        settings,
        store,
        own,
        heartbeat=sending.alive(WorkerHeartbeat(store, Heartbeat(lifeline=lifeline))),
        metrics=metrics,
        owe_replies=replies.owe_replies,
        wake_others={ledger.ENDPOINT: sender.wake},
    )
    on_stop(ask, lifeline=lifeline)
    metrics.process_started("worker")
    _settle_down()
    try:
        with serve_metrics(metrics, *metrics_address) if metrics_address else nullcontext(), sending:
            half.run(stop)
    finally:
        store.close(timeout=1.0)
    if sending.has_failed:
        raise SystemExit(1)


def run_sandbox_page(host: str, port: int, carrierx_port: int, *, lifeline: bool) -> None:
    """The sandbox's stand-ins: for the applications that are called, and, on `carrierx_port`, for CarrierX."""
    from gateway.sandbox.carrierx import CarrierXStub, Setup
    from gateway.sandbox.legacy_app import make_legacy_app
    from gateway.serve.server import serve

    numbers = [number.number for number in sample().numbers]
    setup = Setup(numbers=numbers, callback=os.environ.pop(SANDBOX_CALLBACK, ""), pace=0.5)
    with CarrierXStub(setup, host, carrierx_port):
        serve(make_legacy_app(), host, port, lifeline=lifeline, threads=8)


def run_carrierx_stub(standin: CarrierXStub) -> None:
    """The stand-in for CarrierX by itself, until Ctrl-C or SIGTERM."""
    stop = threading.Event()
    on_stop(stop.set, lifeline=False)
    with standin:
        stop.wait()


class WorkerHeartbeat:
    """The worker's signs of life: for the supervisor, and now and then one in the store, for whoever watches."""

    def __init__(self, store: Store, pulse: Heartbeat) -> None:
        self._store, self._pulse = store, pulse
        self._next = 0.0

    def __call__(self) -> None:
        self._pulse()
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + health.HEARTBEAT_SECONDS
        with suppress(StoreUnavailable):  # nobody waits for it, and the next one comes
            self._store.writer.submit(lambda connection: health.beat(connection, health.WORKER))


def _settle_down() -> None:
    """All that is there by now stays: the collector need not look at it over and over, some 7 % of a callback's CPU."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(5_000, 5, 10)


def _store(settings: Settings, *, lifeline: bool) -> Store:
    """Up to date. Under a supervisor that was just seen to, and it need only be looked whether it still is."""
    store = Store(settings.current.database)
    if not (lifeline and store.is_current()):
        store.migrate()
    return store
