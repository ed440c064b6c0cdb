"""One request at a time: what goes over the wire, and what is made of every way to answer."""

from __future__ import annotations

import contextlib
import gzip
import itertools
import socket
from collections.abc import Callable, Iterator
from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.safe_http.client import HttpClient, post
from gateway.safe_http.models import Failure, Request, Response
from tests.servers import Caller, Script, Server, answer, closing, ok, replying, silent

FORM = "application/x-www-form-urlencoded; charset=UTF-8"
BODY = b"title=Acme&message=caf%C3%A9+%26+%F0%9F%8E%89&phone=15162065515"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Servers that end with the test."""
    running: list[Server] = []

    def start(script: Script, **settings: object) -> Server:
        running.append(Server(script, **settings).__enter__())  # type: ignore[arg-type]
        return running[-1]

    yield start
    for server in running:
        server.__exit__(None, None, None)


def request(url: str, **changes: object) -> Request:
    fields: dict[str, object] = {"body": BODY, "headers": (("Content-Type", FORM),), "timeout": 20, **changes}
    return Request(url=url, **fields)  # type: ignore[arg-type]


def kind_of(found: Response) -> str:
    return found.failure.kind if found.failure else ""


def test_exact_bytes(serve: Callable[..., Server]) -> None:
    server = serve(replying(ok()))
    headers = (
        ("Content-Type", FORM),
        ("X-Delivery-Id", "0f9f"),
        ("x-lower", "a  b, c"),
        ("X-Empty", ""),
        ("X-Blank", " "),
    )
    found = post(request(server.url("/a/../b%2fc/J%c3.php?x={1}|2&y=a+b#top"), headers=headers, body=b"a=\0\xff\r\n"))
    assert found.failure is None
    assert server.requests == [
        b"POST /a/../b%2fc/J%c3.php?x={1}|2&y=a+b HTTP/1.1\r\n"
        + f"Host: 127.0.0.1:{server.port}\r\n".encode()
        + b"User-Agent: sms-gateway/1\r\n"
        b"Accept: */*\r\n"
        b"Content-Type: application/x-www-form-urlencoded; charset=UTF-8\r\n"
        b"X-Delivery-Id: 0f9f\r\n"
        b"x-lower: a  b, c\r\n"
        b"X-Empty:\r\n"
        b"X-Blank:\r\n"
        b"Content-Length: 6\r\n"
        b"\r\n"
        b"a=\0\xff\r\n"
    ]


@pytest.mark.parametrize(
    ("path", "target"), [("", b"/"), ("?a=1", b"/?a=1"), ("/", b"/"), ("/?", b"/?"), ("//x//", b"//x//"), ("#f", b"/")]
)
def test_request_target(serve: Callable[..., Server], path: str, target: bytes) -> None:
    server = serve(replying(ok()))
    post(request(server.url(path)))
    assert server.requests[0].split(b"\r\n")[0] == b"POST " + target + b" HTTP/1.1"


@pytest.mark.parametrize("size", [0, 1, 65_537, 3_000_000])
def test_any_body_has_its_length_and_is_never_chunked(serve: Callable[..., Server], size: int) -> None:
    server = serve(replying(ok()))
    body = bytes(itertools.islice(itertools.cycle(range(256)), size))
    found = post(request(server.url(), body=body))
    head, _, sent = server.requests[0].partition(b"\r\n\r\n")
    assert found.status == 200 and sent == body
    assert f"\r\nContent-Length: {size}".encode() in head
    assert b"chunked" not in head.lower() and b"expect" not in head.lower() and b"encoding" not in head.lower()


def test_no_content_type_is_made_up(serve: Callable[..., Server]) -> None:
    server = serve(replying(ok()))
    post(request(server.url(), headers=()))
    assert b"Content-Type" not in server.requests[0]


NAMES = st.sampled_from(["X-A", "x-b", "X-100%", "X-%s", "X", "Accept", "User-Agent", "Content-Type", "webhook-id"])
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=30).map(str.strip)


@given(headers=st.lists(st.tuples(NAMES, VALUES | st.sampled_from(["%s", "%", ": ", "a  b", "50%\\r\\n"]))))
def test_headers_go_out_as_they_are_in_their_order(headers: list[tuple[str, str]]) -> None:
    with Server(replying(ok())) as server:
        found = post(request(server.url(), headers=tuple(headers)))
    assert found.status == 200
    _, *said = server.requests[0].partition(b"\r\n\r\n")[0].decode().split("\r\n")
    ours = [f"{name}: {value}" if value.strip() else f"{name}:" for name, value in headers]
    assert said[-len(ours) - 1 : -1] == ours
    own = {name.lower() for name, _ in headers}
    first = ["Host", *[name for name in ("User-Agent", "Accept") if name.lower() not in own]]
    assert [line.partition(":")[0] for line in said] == [*first, *[name for name, _ in headers], "Content-Length"]


def test_own_agent_and_accept(serve: Callable[..., Server]) -> None:
    server = serve(replying(ok()))
    post(request(server.url(), headers=(("user-agent", "me"), ("ACCEPT", "text/html"), ("Content-Type", FORM))))
    assert server.requests[0].lower().count(b"user-agent") == server.requests[0].lower().count(b"accept") == 1
    assert b"\r\nuser-agent: me\r\nACCEPT: text/html\r\n" in server.requests[0]


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "b\r\nX-B: c"),
        ("X-A\r\nX-B", "c"),
        ("X-A", "b\0"),
        ("X-A", "é"),
        ("X A", "b"),
        ("", "b"),
        ("X-A:", "b"),
        ("X-A", "b\tc"),
        *[
            (name, "1")
            for name in ("Host", "content-length", "Transfer-Encoding", "CONNECTION", "Expect", "TE", "upgrade")
        ],
    ],
)
def test_headers_that_are_never_sent(serve: Callable[..., Server], header: tuple[str, str]) -> None:
    server = serve(replying(ok()))
    found = post(request(server.url(), headers=(("Content-Type", FORM), header)))
    assert kind_of(found) == "protocol" and not server.requests


@pytest.mark.parametrize(
    "url",
    ["", "nothing", "ftp://127.0.0.1/", "http://a b/", "http://u:p@127.0.0.1/", "http://127.0.0.1:22/", "http:///x"],
)
def test_a_url_that_may_not_be_called(url: str) -> None:
    found = post(request(url))
    assert kind_of(found) == "url" and found.status is None and found.failure and found.failure.sentence


def test_an_answer_as_it_came(serve: Callable[..., Server]) -> None:
    server = serve(
        replying(answer(418, b"short \xff\0", "X-One: 1", "x-one:  2 ", "Set-Cookie: a=b; c", "X-L: caf\xe9"))
    )
    found = post(request(server.url()))
    assert (found.status, found.body, found.kept_body, found.size) == (418, b"short \xff\0", b"short \xff\0", 8)
    assert found.headers == (
        ("Content-Length", "8"),
        ("X-One", "1"),
        ("x-one", "2"),
        ("Set-Cookie", "a=b; c"),
        ("X-L", "caf\xe9"),
    )
    assert found.header("X-ONE") == "1" and found.header("X-Two") is None
    assert found.address == "127.0.0.1" and found.failure is None and found.request_bytes == b""


def test_times_follow_each_other(serve: Callable[..., Server]) -> None:
    server = serve(replying(ok()))
    with HttpClient(lookup=lambda *_, **__: [(2, 1, 6, "", ("127.0.0.1", 0))]) as transport:
        transport.start(request(server.url(host="page.test")), "a")
        first = finish(transport)["a"].times
        transport.start(request(server.url(host="page.test")), "b")
        second = finish(transport)["b"].times
    assert 0 < first.name <= first.connect <= first.first_byte <= first.total and first.tls == 0
    assert second.connect == 0 and 0 < second.first_byte <= second.total
    assert first.as_dict() == {
        "name": first.name,
        "connect": first.connect,
        "tls": 0.0,
        "first_byte": first.first_byte,
        "total": first.total,
    }


def finish(transport: HttpClient) -> dict[object, Response]:
    """Everything under way, by tag."""
    answers: dict[object, Response] = {}
    while len(transport):
        answers.update(transport.run(5))
    return answers


def test_what_was_sent_is_captured(serve: Callable[..., Server]) -> None:
    server = serve(replying(ok()))
    found = post(request(server.url("/x?y"), capture=True, body=BODY * 3000))
    assert [found.request_bytes] == server.requests


def test_redirects_are_not_followed(serve: Callable[..., Server]) -> None:
    server = serve(replying(answer(302, b"moved", "Location: /login")))
    found = post(request(server.url()))
    assert (found.status, found.header("location"), found.failure) == (302, "/login", None)
    assert len(server.requests) == 1


def test_nothing_is_decompressed(serve: Callable[..., Server]) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    server = serve(replying(ok(bomb, "Content-Encoding: gzip")))
    found = post(request(server.url()))
    assert found.body == bomb and found.failure is None


def test_a_transfer_encoding_is_not_decompressed_either(serve: Callable[..., Server]) -> None:
    bomb = gzip.compress(bytes(10_000_000))
    server = serve(closing(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n" + bomb))
    found = post(request(server.url()))
    assert kind_of(found) == "protocol" or found.body == bomb


def test_chunked_answers_and_trailers(serve: Callable[..., Server]) -> None:
    chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nX-Trail: 1\r\n\r\n"
    found = post(request(serve(replying(chunks)).url()))
    assert found.body == b"abcde" and found.header("X-Trail") == "1"


@pytest.mark.parametrize("length", ["Content-Length: 10000000", "X-None: 1"])
def test_a_long_answer_is_cut_and_its_status_counts(serve: Callable[..., Server], length: str) -> None:
    ended = []

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
        while caller.send(b"x" * 65536):
            pass
        ended.append(True)

    with Server(script) as server:
        found = post(request(server.url()))
    assert found.status == 200 and found.failure is None
    assert len(found.body) == 65536 < found.size < 200_000 and len(found.kept_body) == 2048
    assert ended == [True]


@pytest.mark.parametrize(
    "head",
    [
        b"".join(b"X-%d: 1\r\n" % number for number in range(150)),
        b"X-Long: " + b"a" * 17_000 + b"\r\n",
    ],
)
def test_too_many_headers(serve: Callable[..., Server], head: bytes) -> None:
    found = post(request(serve(replying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n" + head + b"\r\n")).url()))
    assert kind_of(found) == "too_large"


@pytest.mark.parametrize(
    ("begin", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Endless: 1\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-One-Line: ", b"aaaaaaaaaaaaaaaa"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-Trailer: 1\r\n"),
    ],
)
def test_heads_without_end(serve: Callable[..., Server], begin: bytes, more: bytes) -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(begin)
        while caller.send(more * 500):
            pass

    assert kind_of(post(request(serve(script).url()))) == "too_large"


def test_interim_answers_are_not_the_answer(serve: Callable[..., Server]) -> None:
    hints = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    found = post(request(serve(replying(hints + ok(b"done", "Via: HTTP/1.1 cache"))).url()))
    assert (found.status, found.body) == (200, b"done")
    assert found.headers == (("Content-Length", "4"), ("Via", "HTTP/1.1 cache"))


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"<html>no head at all</html>", None),
        (b"SSH-2.0-OpenSSH_9.6\r\n", None),
        (b"HTTP/9.9 200 OK\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nno colon here\r\nContent-Length: 0\r\n\r\n", 200),
        (b"\0\1\2\3\4", None),
    ],
)
def test_what_is_no_http(serve: Callable[..., Server], raw: bytes, status: int | None) -> None:
    found = post(request(serve(closing(raw)).url()))
    assert (kind_of(found), found.status) == ("protocol", status)
    assert found.failure and found.failure.sentence.startswith("what came back is no proper HTTP: ")


def test_a_length_beyond_all_numbers_is_none(serve: Callable[..., Server]) -> None:
    """It cannot be waited for: the answer ends with the connection."""
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok"
    found = post(request(serve(closing(raw)).url()))
    assert (found.status, found.body, found.failure) == (200, b"ok", None)


def test_closed_without_an_answer(serve: Callable[..., Server]) -> None:
    server = serve(closing(b""))
    found = post(request(server.url()))
    assert kind_of(found) == "reset" and found.status is None
    assert len(server.requests) == 1, "a fresh connection that broke is not tried again within the attempt"


def test_reset(serve: Callable[..., Server]) -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.reset()

    server = serve(script)
    assert kind_of(post(request(server.url()))) == "reset"
    assert len(server.requests) == 1


def test_an_answer_that_breaks_off(serve: Callable[..., Server]) -> None:
    found = post(request(serve(closing(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf")).url()))
    assert (found.status, found.body, kind_of(found)) == (200, b"half", "reset")


def test_nobody_listens() -> None:
    with Server(silent) as server:
        url = server.url()
    found = post(request(url))
    assert kind_of(found) == "connect" and "refused" in found.failure.sentence  # type: ignore[union-attr]
    assert found.address == ""


def test_a_silent_server(serve: Callable[..., Server]) -> None:
    found = post(request(serve(silent).url(), timeout=1))
    assert kind_of(found) == "timeout" and "no answer" in found.failure.sentence  # type: ignore[union-attr]
    assert found.times.connect > 0 and found.times.first_byte == 0
    assert found.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("begin", "status", "sentence"),
    [
        (b"HTTP/1.1 200 O", None, "no answer within 1 s, though the server took the connection"),
        (b"HTTP/1.1 200 OK\r\nX: ", 200, "the answer had begun but did not end within 1 s"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n",
            200,
            "the answer had begun but did not end within 1 s",
        ),
    ],
)
def test_the_deadline_is_of_the_whole_attempt(
    serve: Callable[..., Server], begin: bytes, status: int | None, sentence: str
) -> None:
    """A byte now and then keeps nothing alive."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(begin)
        while not caller.server.stopped.wait(0.01) and caller.send(b"T"):
            pass

    found = post(request(serve(script).url(), timeout=1))
    assert found.failure == Failure(kind="timeout", sentence=sentence)
    assert found.status == status


def test_a_full_backlog_ends_with_the_connect_timeout() -> None:
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(8):
            one = stack.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        found = post(request(f"http://127.0.0.1:{listener.getsockname()[1]}/", connect_timeout=0.3))
    assert kind_of(found) == "timeout" and found.failure.sentence.startswith("no connection")  # type: ignore[union-attr]


def test_the_environment_is_not_asked(
    serve: Callable[..., Server], monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    trap, server = serve(replying(ok(b"trap"))), serve(replying(ok(b"page")))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, trap.url())
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\ndefault login u password p\n")  # type: ignore[operator]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", f"{tmp_path}/.netrc")
    assert post(request(server.url())).body == b"page"
    assert not trap.requests and b"uthorization" not in server.requests[0]


def test_free_form_may_go_where_networks_are_opened(serve: Callable[..., Server]) -> None:
    server = serve(replying(ok()))
    opened = (ip_network("127.0.0.0/8"),)
    assert post(request(server.url(), free_form=True, allow_networks=opened)).status == 200
    assert kind_of(post(request(server.url(), free_form=True))) == "refused_address"
    assert len(server.requests) == 1 == server.connections
