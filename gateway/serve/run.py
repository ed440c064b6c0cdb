"""Starts and stops the HTTP server, Granian, for one WSGI application; requests in flight are finished.

Granian's embedded server runs in this process's own event loop: our supervisor starts, watches and restarts the
process, as it does the worker.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from wsgiref.types import WSGIApplication, WSGIEnvironment

import structlog
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server

from gateway.serve.bridge import HEARTBEAT_PATH, Bridge
from gateway.serve.connections import Connections
from gateway.serve.startup import ANY_ADDRESS, listen_probe
from gateway.serve.supervisor import GRACE_SECONDS, Heartbeat, on_stop, raise_file_limit
from gateway.web.callbacks import MAX_BODY_BYTES

CONNECTIONS = 16_000  # side by side; more wait in the system's queue, which is `QUEUE` long
QUEUE = 4096
SPARE_FILES = 256  # files that the process needs besides its connections
HEAD_SECONDS = 30  # for the head of a request, and for an idle connection
HEAD_BYTES = 32 * 1024
"""The longest head of a request; Granian takes up to 100 headers. A connection's buffers have this size, too."""
DRAIN_SECONDS = GRACE_SECONDS - 1.5  # for requests in flight, once asked to stop
QUIET_SECONDS = 0.5  # without a request in hand: what is still open then are connections that say nothing
HEARTBEAT_INTERVAL_SECONDS = 0.25  # from one connection to ourselves to the next
HEARTBEAT_SECONDS = 10.0  # for a connection to ourselves to be answered: the queue may be long

log = structlog.get_logger(__name__)


def serve(
    application: WSGIApplication,
    host: str,
    port: int,
    *,
    lifeline: bool,
    quick: Callable[[WSGIEnvironment], bool] | None = None,
    max_body_bytes: Callable[[WSGIEnvironment], int] = lambda _environ: MAX_BODY_BYTES,
    is_proxy: Callable[[str], bool] = lambda _address: False,
    count: Callable[[str], None] = lambda _reason: None,
) -> None:
    """Returns when everything in flight was answered. Raises OSError where it cannot listen.
    host: an IP address. quick: which requests are answered on the event loop's own thread (see `Bridge`).
    max_body_bytes: how large a body each may have. is_proxy: which address speaks for others. count: told of each
    request and connection that is refused here, by a word. To be called in the main thread."""
    with listen_probe(host, shared=True) as probe:  # Granian's own error does not say why
        probe.bind((host, port))
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None
    if sys.platform != "win32":
        import uvloop

        loop_factory = uvloop.new_event_loop
    limit = max(64, raise_file_limit(CONNECTIONS + SPARE_FILES) - SPARE_FILES)
    # Threads that compute give way to callbacks, on the event loop's thread, after a millisecond; it would be five.
    sys.setswitchinterval(0.001)
    connections, beat = Connections(port, limit, is_proxy, count), Heartbeat(lifeline=lifeline)
    make_bridge = partial(
        Bridge, application, connections, host, port, quick=quick, max_body_bytes=max_body_bytes, beat=beat
    )
    try:
        with asyncio.Runner(loop_factory=loop_factory) as runner:
            runner.run(_serve(make_bridge, host, port, limit, lifeline))
    finally:
        connections.close()


async def _serve(make_bridge: Callable[[], Bridge], host: str, port: int, limit: int, lifeline: bool) -> None:
    bridge, loop, stop = make_bridge(), asyncio.get_running_loop(), asyncio.Event()
    server = Server(
        bridge,
        host,
        port,
        interface=Interfaces.RSGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=QUEUE,
        backpressure=limit,
        http1_settings=HTTP1Settings(header_read_timeout=HEAD_SECONDS * 1000, max_buffer_size=HEAD_BYTES),
        # Into our own log, and not to standard output, where the supervisor listens for signs of life.
        log_dictconfig={"loggers": {}},
        log_level=LogLevels.error,
    )

    on_stop(partial(loop.call_soon_threadsafe, stop.set), lifeline=lifeline)
    running, stopping = loop.create_task(server.serve()), loop.create_task(stop.wait())
    asking = loop.create_task(_ask_ourselves(ANY_ADDRESS.get(host, host), port)) if lifeline else None
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if running.done():
        running.result()
        raise RuntimeError("the HTTP server has ended by itself")
    if asking is not None:
        asking.cancel()
    bridge.bodies.stop()
    server.stop()
    try:
        async with asyncio.timeout(DRAIN_SECONDS):
            while not running.done():
                await asyncio.wait({running}, timeout=QUIET_SECONDS)
                if not bridge.in_hand:
                    return
    except TimeoutError:
        log.warning("requests_cut_off", seconds=DRAIN_SECONDS)


async def _ask_ourselves(host: str, port: int) -> None:
    """The bridge gives a sign of life for each of these requests, so the supervisor sees a listener that is dead.
    Whoever sent it: where several processes share a port, one asks for another; and none waits for one that hangs."""
    async with asyncio.TaskGroup() as asking:
        while True:
            asking.create_task(_ask(host, port))
            await asyncio.sleep(HEARTBEAT_INTERVAL_SECONDS)


async def _ask(host: str, port: int) -> None:
    with suppress(OSError):
        async with asyncio.timeout(HEARTBEAT_SECONDS):
            reader, writer = await asyncio.open_connection(host, port)
            with closing(writer):
                writer.write(f"GET {HEARTBEAT_PATH} HTTP/1.0\r\n\r\n".encode())
                await reader.read()
