"""The bridge from the server library to Flask: one request of Granian (RSGI) becomes one call of a WSGI application.

What could be read in two ways is refused here, as far as Granian lets it be seen: it drops a second `Content-Length`
that says the same, and one beside `Transfer-Encoding`, after which it closes the connection; and it takes a bare line
feed for the end of a line.
"""

from __future__ import annotations

import asyncio
import io
import sys
from collections.abc import Callable
from functools import lru_cache
from wsgiref.types import WSGIApplication, WSGIEnvironment

import structlog
from granian.rsgi import HTTPProtocol, Scope

from gateway.serve.bodies import Bodies, linger, send
from gateway.serve.calls import INTERNAL_ERROR, Answer, Calls, later, plain
from gateway.serve.connections import Connections
from gateway.web.callbacks import MAX_BODY_BYTES, MAX_QUICK_BYTES, NOSNIFF

HEARTBEAT_PATH = "/-/heartbeat"  # answered here with 204: this process takes connections, and its event loop turns
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"})
READ_HEADERS = {
    *("authorization", "content-encoding", "content-type", "expect", "host", "origin", "sec-fetch-site"),
    *("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-gateway-hops"),
}
"""Headers that decide something. Granian shows none that is not ASCII: without one of these a request would be another
one."""

log = structlog.get_logger(__name__)


class Refused(Exception):
    """A status and a reason: the request has two readings, or none, or is too large for a page. It is answered without
    the application."""


class Bridge:
    """The RSGI application; made and called in one event loop.
    quick: which requests run on the event loop's own thread, as greenlets (`gateway.store.greenlets`); all others, and
    those with more than `MAX_QUICK_BYTES` of body, run on threads. max_body_bytes: how large a body each may have.
    beat: called for each request of `HEARTBEAT_PATH`. `in_hand`: not answered yet."""

    def __init__(
        self,
        application: WSGIApplication,
        connections: Connections,
        host: str,
        port: int,
        *,
        quick: Callable[[WSGIEnvironment], bool] | None,
        max_body_bytes: Callable[[WSGIEnvironment], int],
        beat: Callable[[], None],
    ) -> None:
        self._quick, self._max_body_bytes, self._beat, self._count = quick, max_body_bytes, beat, connections.count
        # Nothing of the process's own environment is in it.
        self._environ: WSGIEnvironment = {"SCRIPT_NAME": "", "SERVER_NAME": host, "SERVER_PORT": str(port)}
        self._environ |= {"wsgi.version": (1, 0), "wsgi.url_scheme": "http", "wsgi.errors": sys.stderr}
        self._environ |= {"wsgi.multithread": True, "wsgi.multiprocess": False, "wsgi.run_once": False}
        self._environ["wsgi.input_terminated"] = True
        self._calls, self.in_hand = Calls(application), 0
        self.bodies = Bodies(self._calls, connections)

    async def __call__(self, scope: Scope, proto: HTTPProtocol) -> None:
        self.in_hand += 1
        try:
            environ = self._environ.copy()
            length, body = add_head(environ, scope), b""
            if length and MAX_BODY_BYTES >= length > (limit := self._max_body_bytes(environ)):
                raise Refused(413, f"Larger than {limit} bytes.")
            if length != 0:
                found = await self.bodies.read(environ, proto, length)
                if found is None:
                    return
                body = found
            elif environ["PATH_INFO"] == HEARTBEAT_PATH:
                self._beat()
                send(proto, Answer(204, [NOSNIFF], b""), close=True)
                return
            is_quick = self._quick is not None and len(body) <= MAX_QUICK_BYTES and self._quick(environ)
            is_too_large = len(body) > MAX_BODY_BYTES
            environ["CONTENT_LENGTH"], environ["wsgi.input"] = str(len(body)), io.BytesIO(body)
            answer = await (self._calls.here(environ) if is_quick else self._calls.on_thread(environ, len(body)))
            send(proto, answer or INTERNAL_ERROR, close=is_too_large)
            if is_too_large:  # and there may be more
                await linger(proto)
        except Refused as refused:
            self._count("head")
            send(proto, plain(*refused.args), close=True)
            await linger(proto)
        except asyncio.CancelledError:  # it was not answered in the time that there is for stopping
            send(proto, later("The gateway is stopping."), close=True)
            raise
        except Exception:  # Granian would answer this, too, but write the traceback's words into the log
            log.exception("request_failed")
            send(proto, INTERNAL_ERROR, close=True)
        finally:
            self.in_hand -= 1


def add_head(environ: WSGIEnvironment, scope: Scope) -> int | None:
    """The head of a request as PEP 3333 has it. How many bytes of body follow it; None: they come in chunks."""
    method, path, query, version = scope.method, scope.path, scope.query_string, scope.http_version
    if method not in METHODS or path[:1] != "/":
        raise Refused(400, "Not a method, or not a path.")
    environ["REQUEST_METHOD"] = method
    environ["PATH_INFO"] = path if path.isascii() else path.encode().decode("latin-1")
    environ["QUERY_STRING"] = query if query.isascii() else query.encode().decode("latin-1")
    environ["SERVER_PROTOCOL"] = "HTTP/1.1" if version == "1.1" else "HTTP/1.0"
    address, _, environ["REMOTE_PORT"] = scope.client.rpartition(":")
    environ["REMOTE_ADDR"] = address.strip("[]").removeprefix("::ffff:") if address[0] == "[" else address
    headers = scope.headers
    fields = headers.items()
    unseen = set(headers.keys()).difference([name for name, _ in fields])
    if unseen and not READ_HEADERS.isdisjoint(unseen):
        raise Refused(400, "A header that is not ASCII.")
    for name, value in fields:
        key = _key(name)
        if key not in environ:
            environ[key] = value
        elif key == "HTTP_HOST":
            raise Refused(400, "Two Host headers.")
        else:
            environ[key] += ("; " if key == "HTTP_COOKIE" else ", ") + value
    environ.pop("", None)
    if "HTTP_HOST" not in environ and version == "1.1":
        raise Refused(400, "No Host header.")
    coding = environ.pop("HTTP_TRANSFER_ENCODING", None)
    if coding is None:
        return int(environ.get("CONTENT_LENGTH") or 0)
    if coding.strip().lower() != "chunked":  # it would be handed on undone
        raise Refused(501, "No transfer coding but chunked is taken.")
    return None


@lru_cache(maxsize=256)
def _key(name: str) -> str:
    """Empty: a name that CGI would take for another one. `X_Forwarded_For` must not pass for what a proxy says."""
    if "_" in name:
        return ""
    key = name.upper().replace("-", "_")
    return key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"
