"""Serves one WSGI application over HTTP/1.1 until it is asked to stop; then what is in flight is finished."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from wsgiref.types import WSGIApplication

import structlog

from gateway.serve.connection import Connection
from gateway.serve.files import files
from gateway.serve.listener import PATIENCE, THREADS, Listener, Takes
from gateway.serve.supervisor import BEAT_SECONDS as BEAT
from gateway.serve.supervisor import GRACE_SECONDS as GRACE
from gateway.serve.supervisor import Heartbeat, on_stop

CONNECTIONS = 4096
"""Side by side; more wait in the system's queue, which is `QUEUE` long."""
QUEUE = 1024
SPARE_FILES = 256
DRAIN = GRACE - 1.5
"""Seconds for requests in flight, once asked to stop."""
FLUSH = 0.1
"""Seconds for the last answers to leave."""

log = structlog.get_logger(__name__)


def serve(
    application: WSGIApplication,
    host: str,
    port: int,
    *,
    lifeline: bool,
    threads: int = THREADS,
    patience: float = PATIENCE,
    quick: Takes | None = None,
) -> None:
    """Returns when everything in flight was answered. Raises OSError where it cannot listen.

    host: an IP address. patience: seconds for a request's body. quick: which requests are answered on the event
    loop's own thread (see `gateway.store.greenlets`). To be called in the main thread.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(lambda: _listener(application, threads, patience, quick), host, port, lifeline))


def _listener(application: WSGIApplication, threads: int, patience: float, quick: Takes | None) -> Listener:
    return Listener(
        application,
        threads=threads,
        patience=patience,
        quick=quick,
        connections=max(64, files(CONNECTIONS + SPARE_FILES) - SPARE_FILES),
    )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(make: Callable[[], Listener], host: str, port: int, lifeline: bool) -> None:
    listener, stopping, loop = make(), asyncio.Event(), asyncio.get_running_loop()

    def ask() -> None:
        loop.call_soon_threadsafe(stopping.set)

    on_stop(ask, lifeline=lifeline)
    # Several web processes share the port.
    together = sys.platform != "win32" or None
    server = await loop.create_server(lambda: Connection(listener), host, port, backlog=QUEUE, reuse_port=together)
    beating = asyncio.create_task(_beat(Heartbeat(lifeline=lifeline)))
    try:
        await stopping.wait()
        server.close()
        await _drain(listener)
    finally:
        beating.cancel()
        listener.close()


async def _beat(pulse: Heartbeat) -> None:
    while True:
        pulse()
        await asyncio.sleep(BEAT)


async def _drain(listener: Listener) -> None:
    try:
        async with asyncio.timeout(DRAIN):
            await listener.finish()
    except TimeoutError:
        log.warning("requests_cut_off", seconds=DRAIN)
    # The last answers leave.
    await asyncio.sleep(FLUSH)
