"""Requests that two servers could read in two ways: each is refused, or read in one way, by bare sockets.

Behind each form comes a witness, another request on the same connection. A form that is refused ends the connection.
One that is read has the body that is named here; behind it comes the witness, or the end, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest

from tests.serve.test_http_server import Wire

CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: gateway\r\n\r\n"
"""Bytes that would be a request of their own if the one that they stand in were shorter."""
LENGTHS = [
    *("+3", "-3", "3 3", "3,3", "3, 3", "3, 4", "3;", "3;a", "0x3", "3.0", "3e0", "3L", "three", "٣", "\xb3", "3\xa0"),
    *(
        "",
        "''",
        '"3"',
        "3\x0b",
        "3\x0c",
        "\x0b3",
        "3\x00",
        "\x003",
        "3\x85",
        "3\r",
        "3\rX: y",
        "99999999999999999999999",
    ),
]
CODINGS = [
    *("identity", "gzip", "xchunked", "chunkedx", "chunked;q=1", "chunked ;a=b", '"chunked"', "'chunked'", "chunke"),
    *("chunked,", "chunked, identity", "chunked, gzip", "identity, chunked", "gzip, chunked", "chunked, chunked"),
    *(
        ",chunked",
        "chunked\x00",
        "\x00chunked",
        "chunked\x0b",
        "\x0bchunked",
        "\x0cchunked",
        "chunked\x0c",
        "\xa0chunked",
    ),
    *("chunked\xa0", "chunk\u00e9d", "chunked\x85", "chunked\r", "chunked\rX: y", ""),
]
NAMES = [
    *(
        "Transfer-Encoding ",
        "Transfer-Encoding\t",
        " Transfer-Encoding",
        "\tTransfer-Encoding",
        "Transfer-Encoding\x00",
    ),
    *(
        "Transfer\x00-Encoding",
        "Transfer-Encoding\x0b",
        "Transfer-\r\nEncoding",
        "Transfer-Encoding\xa0",
        "\xa0Transfer-Encoding",
    ),
    *(
        "Transfer Encoding",
        "Transfer-Encoding\r",
        "\rTransfer-Encoding",
        "Transfer-Encod\u00efng",
        "Transfer-Encoding:",
        "",
    ),
]
BAD_CHUNKS = [
    *(b"3\nabc\n0\n\n", b"3\nabc\r\n0\r\n\r\n", b"3\r\nabc\n0\r\n\r\n", b"3\r\nabc\r\n0\n\r\n", b"3\rabc\r0\r\r"),
    *(b" 3\r\nabc\r\n0\r\n\r\n", b"+3\r\nabc\r\n0\r\n\r\n", b"-3\r\nabc\r\n0\r\n\r\n", b"0x3\r\nabc\r\n0\r\n\r\n"),
    *(
        b"3_\r\nabc\r\n0\r\n\r\n",
        b"g\r\nabc\r\n0\r\n\r\n",
        b"\r\n3\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    ),
    *(
        b"10000000000000003\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"3\r\nab\r\n0\r\n\r\n",
    ),
    *(
        b"3;a\nabc\r\n0\r\n\r\n",
        b"3;a\r\r\nabc\r\n0\r\n\r\n",
        b"3\x00\r\nabc\r\n0\r\n\r\n",
        b"3\r\nabc\r\n0\r\nX: y\r\n\r\n",
    ),
    *(b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", b"3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
]
GOOD_CHUNKS = [CHUNKS, b"003\r\nabc\r\n00\r\n\r\n", b"3;a=b\r\nabc\r\n0;c\r\n\r\n", b"3 \r\nabc\r\n0\r\n\r\n"]
LINES = [
    *(
        "POST PATH",
        "POST PATH HTTP/0.9",
        "POST PATH HTTP/1.2",
        "POST PATH HTTP/2.0",
        "POST PATH HTTP/3",
        "POST PATH HTTP/1",
    ),
    *("POST PATH HTTP/01.1", "POST PATH HTTP/1.1 ", "POST PATH http/1.1", "POST PATH HTP/1.1", "POST PATH HTTP/1.1x"),
    *(
        " POST PATH HTTP/1.1",
        "POST  PATH HTTP/1.1",
        "POST\tPATH HTTP/1.1",
        "POST PATH\tHTTP/1.1",
        "POST PATH  HTTP/1.1",
    ),
    *(
        "POST PATH HTTP/1.1\r",
        "POST\x00 PATH HTTP/1.1",
        "POST PA\x00TH HTTP/1.1",
        "P\u00d6ST PATH HTTP/1.1",
        "POST * HTTP/1.1",
    ),
    *("POST gateway:80 HTTP/1.1", "CONNECT gateway:80 HTTP/1.1", "post PATH HTTP/1.1", "FOO PATH HTTP/1.1"),
]
FIELDS = [
    *(
        "X",
        "X y",
        ": y",
        "X : y",
        "X: y\r\n z",
        "X: y\r\n\tz",
        "X: y\rZ: z",
        "X: \x00",
        "X\x00: y",
        "Host: other",
        "\tX: y",
    ),
    *("Host: gateway", "X: \x7f", "X: \x01", "(X): y", "X\u00e9: y"),
]


class Form(NamedTuple):
    name: str
    raw: bytes
    """``PATH`` in it is to be replaced."""
    body: str | None
    """None: it is refused."""
    ends: bool = False
    """It is read, and the connection ends with its answer."""


def _raw(*lines: str, body: bytes, first: str = "POST PATH HTTP/1.1") -> bytes:
    return (
        "\r\n".join([first, "Host: gateway", *lines, "", ""]).encode("utf-8" if "٣" in str(lines) else "latin-1") + body
    )


def _lengths() -> Iterator[Form]:
    for length in LENGTHS:
        yield Form(f"length {length!r}", _raw(f"Content-Length: {length}", body=b"abc"), None)
    for length in ("3", " 3", "3 ", "\t3\t", "003"):
        yield Form(f"length {length!r}", _raw(f"Content-Length:{length}", body=b"abc"), "abc")
    for one, other in (("3", "4"), ("4", "3"), ("3", "x"), ("0", "3"), ("3", "")):
        lines = (f"Content-Length: {one}", f"Content-Length: {other}")
        yield Form(f"lengths {one!r} and {other!r}", _raw(*lines, body=b"abc"), None)
    # Two that say the same are one to every reader.
    yield Form("the same length twice", _raw("Content-Length: 3", "content-length: 3", body=b"abc"), "abc")
    for name in ("Content-Length ", "Content-Length\t", " Content-Length", "Content-Length\x00", "Content-Length\x0b"):
        yield Form(f"name {name!r}", _raw(f"{name}: {len(HIDDEN)}", body=HIDDEN), None)


def _codings() -> Iterator[Form]:
    for coding in CODINGS:
        yield Form(f"coding {coding!r}", _raw(f"Transfer-Encoding: {coding}", body=CHUNKS), None)
        lines = (f"Transfer-Encoding: {coding}", f"Content-Length: {len(CHUNKS)}")
        yield Form(f"coding {coding!r}, length", _raw(*lines, body=CHUNKS), None)
        yield Form(f"length, coding {coding!r}", _raw(*lines[::-1], body=CHUNKS), None)
    for coding in ("chunked", "Chunked", "CHUNKED", " chunked ", "\tchunked"):
        yield Form(f"coding {coding!r}", _raw(f"Transfer-Encoding:{coding}", body=CHUNKS), "abc")
    for length in (3, 4, len(CHUNKS), len(CHUNKS + HIDDEN), 0):
        lines = ("Transfer-Encoding: chunked", f"Content-Length: {length}")
        yield Form(f"chunked, length {length}", _raw(*lines, body=CHUNKS + HIDDEN), "abc", ends=True)
        yield Form(f"length {length}, chunked", _raw(*lines[::-1], body=CHUNKS + HIDDEN), "abc", ends=True)
    for one, other in (("chunked", "identity"), ("identity", "chunked"), ("chunked", "chunked"), ("chunked", "")):
        lines = (f"Transfer-Encoding: {one}", f"Transfer-Encoding: {other}")
        yield Form(f"codings {one!r} and {other!r}", _raw(*lines, body=CHUNKS), None)


def _names_and_chunks() -> Iterator[Form]:
    for name in NAMES:
        yield Form(f"name {name!r}", _raw(f"{name}: chunked", "Content-Length: 13", body=CHUNKS), None)
    for name in ("Transfer_Encoding", "Content_Length"):  # another name, which CGI would take for this one
        yield Form(name, _raw(f"{name}: 3", "Content-Length: 3", body=b"abc"), "abc")
    for chunks in BAD_CHUNKS:
        yield Form(f"chunks {chunks!r}", _raw("Transfer-Encoding: chunked", body=chunks), None)
    for chunks in GOOD_CHUNKS:
        yield Form(f"chunks {chunks!r}", _raw("Transfer-Encoding: chunked", body=chunks), "abc")
    yield Form("chunks for HTTP/1.0", _raw("Transfer-Encoding: chunked", body=CHUNKS, first="POST PATH HTTP/1.0"), None)


def _lines() -> Iterator[Form]:
    for first in LINES:
        yield Form(f"line {first!r}", _raw("Content-Length: 3", body=b"abc", first=first), None)
    for field in FIELDS:
        yield Form(f"field {field!r}", _raw(field, "Content-Length: 3", body=b"abc"), None)
    yield Form("no host", b"POST PATH HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", None)
    # Here a line feed ends a line, whatever stands before it: RFC 9112, 2.2 allows it. A length behind one counts.
    for end in (b"\n", b"\r\n"):
        for other in (b"\n", b"\r\n"):
            lines = [
                b"POST PATH HTTP/1.1",
                end,
                b"Host: gateway",
                other,
                b"X: y",
                end,
                b"Content-Length: 3",
                other,
                end,
            ]
            yield Form(f"line ends {end!r} and {other!r}", b"".join([*lines, b"abc"]), "abc")
    yield Form("carriage returns", b"POST PATH HTTP/1.1\rHost: gateway\rContent-Length: 3\r\rabc", None)


FORMS = [*_lengths(), *_codings(), *_names_and_chunks(), *_lines()]


@pytest.fixture(scope="module")
def wire(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    made = Wire(tmp_path_factory.mktemp("smuggling"))
    yield made
    made.end()


def _answers(wire: Wire, sent: bytes) -> list[int]:
    """The statuses of all answers, until the connection ends."""
    got = b""
    with closing(wire.connect()) as connection:
        connection.sendall(sent)
        try:
            while piece := connection.recv(65536):
                got += piece
        except ConnectionResetError:  # the other side has not read all of it
            pass
    return [int(status) for status in re.findall(rb"(?:^|(?<=[}\n]))HTTP/1\.[01] (\d{3}) ", got)]


@pytest.mark.parametrize("form", FORMS, ids=[form.name for form in FORMS])
def test_a_form_has_one_reading_or_none(wire: Wire, form: Form) -> None:
    number = FORMS.index(form)
    path, witness = f"/form-{number}", f"/witness-{number}"
    behind = f"GET {witness} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\r\n".encode()
    statuses = _answers(wire, form.raw.replace(b"PATH", path.encode()) + behind)
    asked = [one for one in wire.told("/asked") if "hidden" in one or one.split()[1] in (path, witness)]
    if form.body is None:
        assert asked == [] and [status for status in statuses if status not in (400, 501)] == [] and len(statuses) <= 1
    else:
        assert asked == [f"POST {path} {form.body}", *([] if form.ends else [f"GET {witness} "])]
        assert statuses == [200] * len(asked)


def test_there_are_enough_forms() -> None:
    assert len(FORMS) >= 114 and len({form.raw for form in FORMS}) == len(FORMS)
