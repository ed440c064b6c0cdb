"""Serves one WSGI application over HTTP/1.1 until it is asked to stop; then what is in flight is finished."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any
from wsgiref.types import WSGIApplication

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from gateway.serve.lifeline import GRACE, on_stop
from gateway.serve.listener import PATIENCE, THREADS, Listener

CONNECTIONS = 4096
"""Side by side; more wait in the system's queue, which is `QUEUE` long."""
QUEUE = 1024
SPARE_FILES = 256
HEAD_SECONDS = 120
"""For the head of a request, and for an idle connection: Granian has one setting for both. It is longer than any usual
client keeps one, so that no callback meets a connection that is just being closed."""
HEAD_BYTES = 32 * 1024
DRAIN = GRACE - 1.5
"""Seconds for requests in flight, once asked to stop."""
FLUSH = 0.3
"""Seconds for the last answers to leave, where connections stay open that nobody uses."""

_LOGGING: dict[str, Any] = {
    "formatters": {},
    "handlers": {},
    # Granian's words go where ours go. There is no log of accesses: keys are in the paths.
    "loggers": {"_granian": {"handlers": [], "propagate": True}},
}
log = structlog.get_logger(__name__)


def serve(
    application: WSGIApplication,
    host: str,
    port: int,
    *,
    lifeline: bool,
    threads: int = THREADS,
    patience: float = PATIENCE,
) -> None:
    """Returns when everything in flight was answered. Raises OSError where it cannot listen.

    host: an IP address. patience: seconds for a request's body. To be called in the main thread.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(_serve(Listener(application, threads=threads, patience=patience), host, port, lifeline))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop

    return uvloop.new_event_loop


async def _serve(listener: Listener, host: str, port: int, lifeline: bool) -> None:
    server = Server(
        listener,
        address=host,
        port=port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=QUEUE,
        backpressure=_connections(),
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=HEAD_BYTES),
        log_level=LogLevels.error,
        log_dictconfig=_LOGGING,
    )
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()

    def ask() -> None:
        loop.call_soon_threadsafe(stopping.set)

    on_stop(ask, lifeline=lifeline)
    serving = asyncio.create_task(server.serve())
    stopped = asyncio.create_task(stopping.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not serving.done():
        server.stop()  # type: ignore[no-untyped-call]
        await _drain(listener, serving)
    listener.close()
    if serving.done():
        serving.result()
    serving.cancel()


async def _drain(listener: Listener, serving: asyncio.Task[None]) -> None:
    """Granian would wait for every connection, also for those on which nobody ever asks for anything."""
    finished = asyncio.create_task(listener.finish())
    done, _ = await asyncio.wait({serving, finished}, timeout=DRAIN, return_when=asyncio.FIRST_COMPLETED)
    if not done:
        log.warning("requests_cut_off", seconds=DRAIN)
    finished.cancel()
    await asyncio.wait({serving}, timeout=FLUSH)


def _connections() -> int:
    """As many as there are files for; the usual limit of 1024 is raised as far as this user may."""
    if sys.platform == "win32":
        return CONNECTIONS
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = CONNECTIONS + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return CONNECTIONS if soft == resource.RLIM_INFINITY else max(64, min(CONNECTIONS, soft - SPARE_FILES))
