"""What each process of the gateway does, from its start to its end: the web half, the worker, the sandbox's page."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path

from gateway.config import Config, Settings
from gateway.serve.addresses import listening
from gateway.serve.lifeline import on_stop
from gateway.store import Store

LOGIN_TOKEN = "GATEWAY_LOGIN_TOKEN"  # noqa: S105
LISTEN = "GATEWAY_LISTEN"
"""Where the web half listens, ``127.0.0.1:8080``: the worker must not deliver to it."""
SANDBOX_PAGE = "GATEWAY_SANDBOX_PAGE"
"""Address of the stand-in; that it is set makes a process one of the sandbox."""


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
    from gateway.sandbox import PAGE, sample_config

    return sample_config(environ.get(SANDBOX_PAGE, PAGE))


def web(settings: Settings, host: str, port: int, *, lifeline: bool) -> None:
    """Raises OSError where it cannot listen, `StoreUnavailable` where there is no store."""
    from gateway import create_app
    from gateway.serve.server import serve

    store = _store(settings)
    app = create_app(settings, store, login_token=os.environ.pop(LOGIN_TOKEN, None))
    app.config["OWN_ADDRESSES"] = frozenset({(host, port)})
    try:
        serve(app, host, port, lifeline=lifeline)
    finally:
        store.close(timeout=1.0)


def worker(settings: Settings, *, lifeline: bool) -> None:
    """Raises `StoreUnavailable` where there is no store."""
    from gateway.delivery.worker import Worker

    store, stop = _store(settings), threading.Event()
    own = listening(os.environ.get(LISTEN, ""))
    half = Worker(settings, store, own)

    def ask() -> None:
        stop.set()
        half.wake()

    on_stop(ask, lifeline=lifeline)
    try:
        half.run(stop)
    finally:
        store.close(timeout=1.0)


def page(host: str, port: int, *, lifeline: bool) -> None:
    """The sandbox's stand-in for the applications that are called."""
    from gateway.sandbox.page import make_page
    from gateway.serve.server import serve

    serve(make_page(), host, port, lifeline=lifeline, threads=8)


def _store(settings: Settings) -> Store:
    store = Store(settings.current.database)
    store.migrate()
    return store
