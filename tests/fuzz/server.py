"""The bytes that reach `gateway serve`: requests whole, cut, damaged and pipelined, each on a connection of its own."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hypothesis import strategies as st

from tests import drawn
from tests.e2e.callbacks import PHONE
from tests.fuzz.callbacks import PATHS, fitting
from tests.fuzz.corpus import VECTORS, damaged
from tests.fuzz.engine import Target
from tests.legacy_calls import ENVELOPES, SOAP
from tests.running import HOST, KEY, Gateway, running_gateway

STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) [A-Za-z -]*\r\n((?:[!-9;-~]+:[^\r\n]*\r\n)*)\r\n")
HANG_SECONDS = 10.0  # after which there will be no answer; what comes later than a second is judged by the engine
QUIET_SECONDS = 0.05  # for which damaged bytes are given a chance to be answered
TOKENS = (
    *(
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"Content-Length: -1\r\n",
        b"Expect: 100-continue\r\n",
    ),
    *(b"Transfer-Encoding: gzip, chunked\r\n", b"Connection: close\r\n", b"Connection: upgrade\r\nUpgrade: h2c\r\n"),
    *(
        b"Host: \r\n",
        b"Host: [\r\n",
        b" HTTP/1.0",
        b" HTTP/2.0",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\r",
        b"\n",
        b"\t",
    ),
    *(
        b"0\r\n\r\n",
        b"5\r\n",
        b"fffffffffffffffff\r\n",
        b"X: " + b"y" * 9000 + b"\r\n",
        b"X: y\r\n" * 150,
        b"../",
        b"%2e",
    ),
    *(b"Content-Encoding: gzip\r\n", b"Content-Type: text/xml; charset=x\r\n", b"Authorization: Basic \xff\r\n", b"//"),
)


def request(method: str, path: str, body: bytes, chunked: bool, kind: str) -> bytes:
    length = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
    if chunked:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Type: {kind}\r\n".encode()
    return head + length + b"\r\n\r\n" + body


posts = st.one_of(
    *(
        st.builds(
            request,
            st.just("POST"),
            st.sampled_from((f"{path}/{KEY}", f"{path}/wrong")),
            fitting[name] | st.sampled_from([body for body, _ in VECTORS[name]]),
            st.booleans(),
            st.sampled_from((drawn.FORM, "application/json")),
        )
        for name, path in PATHS.items()
    ),
    st.builds(
        request,
        st.just("POST"),
        st.sampled_from((SOAP, "/legacy/sendMessage")),
        st.sampled_from([path.read_bytes() for path in ENVELOPES]) | st.just(f"sendTo={PHONE}".encode()),
        st.booleans(),
        st.sampled_from(("text/xml", drawn.FORM)),
    ),
)
pages = st.builds(
    request,
    st.sampled_from(("GET", "HEAD", "OPTIONS", "DELETE", "TRACE", "CONNECT", "X")),
    st.sampled_from(
        ("/", "/healthz", "/readyz", "/metrics", "/login?next=//x", "/static/../x", "*", "http://x/", "/%00")
    ),
    st.just(b""),
    st.just(False),
    st.just("text/plain"),
)
whole = st.lists(posts | pages, min_size=1, max_size=4)


@st.composite
def broken(draw: st.DrawFn) -> bytes:
    sent = draw(damaged([b"".join(draw(whole))], TOKENS))
    return sent[: draw(st.integers(0, len(sent)))] if draw(st.booleans()) else sent


inputs = st.tuples(st.just(True), whole.map(b"".join)) | st.tuples(st.just(False), broken())


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    with running_gateway(folder / "gateway", "") as gateway:

        def check(given: tuple[bool, bytes]) -> str:
            is_whole, sent = given
            answered = exchange(gateway, sent, is_whole)
            for status, headers in STATUS.findall(answered):
                assert status < b"500" or (status == b"503" and b"retry-after" in headers.lower()), answered[:2000]
            assert answered or not is_whole, "a whole request is answered"
            assert gateway.call("GET", "/healthz").status == 200
            first = STATUS.search(answered)
            return f"{'whole' if is_whole else 'broken'} {first[1][:1].decode() + 'xx' if first else 'unanswered'}"

        yield Target(
            inputs=inputs,
            check=check,
            ways=("whole 2xx", "whole 4xx", "broken 2xx", "broken 4xx", "broken unanswered"),
            processes=gateway.process.processes,
        )


def exchange(gateway: Gateway, sent: bytes, is_whole: bool) -> bytes:
    """The bytes that come back, until the connection is closed, or nothing more comes."""
    answered, end = b"", time.monotonic() + HANG_SECONDS
    with socket.create_connection((HOST, gateway.process.port)) as connection, suppress(OSError):
        # Resets are an answer, too.
        connection.settimeout(HANG_SECONDS if is_whole else QUIET_SECONDS)
        connection.sendall(sent)
        while time.monotonic() < end and (came := connection.recv(65_536)):
            answered += came
            if is_whole:  # the first answer is waited for, the rest is taken if it is there
                connection.settimeout(QUIET_SECONDS)
    return answered
