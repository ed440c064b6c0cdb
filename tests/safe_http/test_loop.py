"""Many requests in one loop, connections that are kept and that die, and how the loop itself behaves."""

from __future__ import annotations

import os
import re
import select
import selectors
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import closing, nullcontext

import pycurl
import pytest
import trustme

from gateway.safe_http.client import MAX_IDLE_HANDLES, HandlePool, HttpClient
from gateway.safe_http.loop import Ready, Selector, SocketLoop, new_poller
from gateway.safe_http.models import Failure, Request, Response, Timings
from gateway.safe_http.transfer import PendingRequest, Transfer, target_of
from tests.servers import Caller, Server, answer, ok, replying, silent


def request(url: str, **changes: object) -> Request:
    fields: dict[str, object] = {"body": b"a=1", "headers": (), "timeout": 20, **changes}
    return Request(url=url, **fields)  # type: ignore[arg-type]


def finish(transport: HttpClient) -> dict[object, Response]:
    """Everything under way, by tag."""
    answers: dict[object, Response] = {}
    while len(transport):
        answers.update(transport.run(5))
    return answers


def one(transport: HttpClient, url: str, **changes: object) -> Response:
    transport.start(request(url, **changes), "one")
    return finish(transport)["one"]


class Told(Selector):
    """As `select` is, which Windows has: it must be told of every socket that is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.forgets = False


@pytest.fixture(params=[new_poller, Selector, Told])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to watch sockets: that of Linux, that of the standard library, that of the least of systems."""
    monkeypatch.setattr("gateway.safe_http.loop.new_poller", request.param)


def test_many_at_once() -> None:
    """No answer is given before all requests have come: they must be under way side by side."""
    count = 250

    def script(caller: Caller) -> None:
        if caller.read_request():
            caller.server.wait_for(count)
            caller.send(ok())

    with Server(script) as server, HttpClient() as transport:
        for number in range(count):
            transport.start(request(server.url(f"/{number}"), body=str(number).encode()), number)
        answers = finish(transport)
    assert sorted(answers) == list(range(count))  # type: ignore[type-var]
    assert {found.status for found in answers.values()} == {200}
    assert Counter(server.requests).most_common(1)[0][1] == 1


@pytest.mark.usefixtures("way")
def test_answers_find_their_requests() -> None:
    """Over connections that are kept and lent to and fro, handles that are used again, bodies of all sizes."""

    def script(caller: Caller) -> None:
        while sent := caller.read_request():
            path, body = sent.split(b" ")[1], sent.partition(b"\r\n\r\n")[2]
            caller.send(ok(path + body, f"X-Size: {len(body)}"))

    with Server(script) as server, HttpClient() as transport:
        started = 0
        answers: dict[object, Response] = {}
        while len(answers) < 600:
            while started < 600 and started - len(answers) < 20:
                body = b"%d" % started * (started % 700)
                headers = (("X-N", str(started)),) * (started % 3)
                transport.start(request(server.url(f"/{started % 7}"), body=body, headers=headers), started)
                started += 1
            answers.update(transport.run(5))
    for number in range(600):
        found = answers[number]
        body = b"%d" % number * (number % 700)
        assert found.body == b"/%d" % (number % 7) + body and found.header("X-Size") == str(len(body))
    assert server.connections <= 21
    assert all(b"X-N" in sent for sent in server.requests if b"X-N: 1\r\n" in sent)


def test_connections_are_kept() -> None:
    with Server(replying(ok())) as server, HttpClient() as transport:
        assert [one(transport, server.url(f"/{number}")).status for number in range(5)] == [200] * 5
    assert (server.connections, len(server.requests)) == (1, 5)


def test_connection_close_is_heeded() -> None:
    with Server(replying(ok(b"ok", "Connection: close"))) as server, HttpClient() as transport:
        assert [one(transport, server.url()).status for _ in range(3)] == [200] * 3
    assert (server.connections, len(server.requests)) == (3, 3)


def test_a_kept_connection_that_the_server_closed_is_no_failure() -> None:
    closed = threading.Semaphore(0)

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(ok())
        caller.socket.shutdown(socket.SHUT_RDWR)
        closed.release()

    with Server(script) as server, HttpClient() as transport:
        for _ in range(20):
            assert one(transport, server.url()).status == 200
            closed.acquire()
    assert len(server.requests) == 20, "nothing was sent twice"


def test_a_kept_connection_that_dies_in_use_is_tried_once_more() -> None:
    """The server took the second request and closed without a byte, as if it had just grown tired of waiting."""

    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(ok())
        caller.read_request()

    headers = (("X-Delivery-Id", "0f9f"), ("Content-Type", "text/plain"))
    with Server(script) as server, HttpClient() as transport:
        assert one(transport, server.url(), body=b"first").status == 200
        found = one(transport, server.url(), body=b"second", headers=headers, capture=True)
    assert found.status == 200
    assert [sent.partition(b"\r\n\r\n")[2] for sent in server.requests] == [b"first", b"second", b"second"]
    assert server.requests[1] == server.requests[2] == found.request_bytes


@pytest.mark.parametrize(
    "last_words",
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nX: 1\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
    ],
)
def test_nothing_is_sent_again_once_a_line_came_back(last_words: bytes) -> None:
    def script(caller: Caller) -> None:
        caller.read_request()
        caller.send(ok())
        caller.read_request()
        caller.send(last_words)

    with Server(script) as server, HttpClient() as transport:
        one(transport, server.url())
        found = one(transport, server.url())
    assert found.failure is not None and found.failure.kind in ("reset", "protocol")
    assert len(server.requests) == 2


def test_a_server_that_never_answers_twice_on_a_connection() -> None:
    """Fresh connections that break are failures: the second try within an attempt is the last."""

    def script(caller: Caller) -> None:
        caller.read_request()
        if len(caller.server.requests) == 1:
            caller.send(ok())
            caller.read_request()

    with Server(script) as server, HttpClient() as transport:
        one(transport, server.url())
        found = one(transport, server.url())
    assert found.failure is not None and found.failure.kind == "reset"
    assert len(server.requests) == 3


@pytest.mark.usefixtures("way")
def test_sockets_that_close_and_come_again() -> None:
    """Descriptors are used again at once by other connections; nobody may be left waiting for a dead one."""
    with HttpClient() as transport:
        for turn in range(12):
            keep = ("Connection: close",) if turn % 3 else ()
            with Server(replying(ok(b"ok", *keep))) as server:
                for number in range(8):
                    transport.start(request(server.url(f"/{number}")), number)
                assert {found.status for found in finish(transport).values()} == {200}
                assert one(transport, server.url()).status == 200


def test_a_slow_one_does_not_hold_up_the_others() -> None:
    with Server(silent) as still, Server(replying(ok())) as server, HttpClient() as transport:
        transport.start(request(still.url()), "still")
        assert [one_of(transport, server.url()) for _ in range(20)] == [200] * 20
        assert len(transport) == 1


def one_of(transport: HttpClient, url: str) -> int | None:
    transport.start(request(url), "quick")
    while True:
        for tag, found in transport.run(5):
            assert tag == "quick"
            return found.status


def test_run_returns_when_its_time_is_over() -> None:
    with HttpClient() as transport:
        assert transport.run(0) == [] and transport.run(0.01) == []


def test_wake_from_another_thread() -> None:
    with HttpClient() as transport:
        thread = threading.Thread(target=transport.wake)
        thread.start()
        assert transport.run(600) == []
        thread.join()
        for _ in range(100_000):
            transport.wake()
        assert transport.run(600) == []
        assert transport.run(0) == []


def test_watched_sockets_call_back() -> None:
    near, far = socket.socketpair()
    heard = []
    with near, far, Server(replying(ok())) as server, HttpClient() as transport:
        transport.watch(near, lambda: heard.append(near.recv(10)))
        far.send(b"ring")
        assert transport.run(600) == [] and heard == [b"ring"]
        assert one(transport, server.url()).status == 200
        transport.unwatch(near)
        far.send(b"again")
        assert transport.run(0.01) == [] and heard == [b"ring"]


IN, OUT, BOTH, REMOVE = 1, 2, 3, 4  # libcurl's numbers of what a socket is watched for


@pytest.mark.usefixtures("way")
def test_what_a_socket_is_ready_for() -> None:
    near, far = socket.socketpair()
    with near, far, closing(SocketLoop()) as loop:
        here = near.fileno()
        writable, both = [(here, 2)], [(here, 3)]
        before: Ready
        for action, before, after in ((IN, [], [(here, 1)]), (OUT, writable, writable), (BOTH, writable, both)):
            loop.want(action, here)
            assert loop.wait(0) == (before, False)
            far.send(b"x")
            assert loop.wait(0) == (after, False)
            near.recv(1)
        loop.want(REMOVE, here)
        far.send(b"x")
        assert loop.wait(0) == ([], False), "it is not asked for now"
        loop.want(IN, here)
        assert loop.wait(0) == ([(here, 1)], False)
        near.recv(1)
        far.close()
        ((descriptor, mask),), others = loop.wait(0)
        assert descriptor == here and mask & 1 and not others, "an end is something to read"


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("told", ["before it is idle", "while it is idle", "of the new one"])
def test_the_number_of_an_idle_socket_comes_again(told: str) -> None:
    """libcurl does not say when it closes a connection that it kept."""
    used, its_far = socket.socketpair()
    with used, its_far, closing(SocketLoop()) as loop:
        loop.want(IN, used.fileno())
        if told == "before it is idle":
            loop.keep_no_idle()
        near, far = socket.socketpair()
        here = near.fileno()
        with near, far:
            loop.want(IN, here)
            loop.want(REMOVE, here)
            if told == "while it is idle":
                loop.keep_no_idle()
        near, far = socket.socketpair()
        assert near.fileno() == here
        with near, far:
            if told == "of the new one":
                loop.opened(here)
            loop.want(IN, here)
            far.send(b"x")
            assert loop.wait(0) == ([(here, 1)], False)
        its_far.send(b"x")
        assert loop.wait(0) == ([(used.fileno(), 1)], False), "of the others none is forgotten"


@pytest.mark.usefixtures("way")
def test_the_number_of_a_socket_in_use_comes_again_to_be_watched() -> None:
    heard = []
    with closing(SocketLoop()) as loop:
        near, far = socket.socketpair()
        here = near.fileno()
        loop.want(IN, here)
        near.close()
        far.close()
        near, far = socket.socketpair()
        assert near.fileno() == here
        with near, far:
            loop.watch(near, lambda: heard.append(near.recv(10)))
            far.send(b"ring")
            assert loop.wait(0) == ([], True) and heard == [b"ring"]


@pytest.mark.usefixtures("way")
def test_a_socket_that_cannot_be_watched_is_no_accident() -> None:
    """libcurl would give up every transfer, not the one whose socket it is."""
    near, far = socket.socketpair()
    with closing(SocketLoop()) as loop:
        with near, far:
            gone = near.fileno()
            loop.watch(near, list)
            loop.want(IN, near.fileno())
            loop.unwatch(near)
        loop.keep_no_idle()
        for descriptor in (gone, -1):
            loop.want(IN, descriptor)
            loop.want(REMOVE, descriptor)
        assert loop.wait(0) == ([], False)


def test_an_idle_socket_stays_registered_where_the_system_forgets_closed_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That saves two system calls for each request on a connection that was kept."""
    near, far = socket.socketpair()
    with near, far:
        for poller, stays in ((new_poller, True), (Selector, True), (Told, False)):
            monkeypatch.setattr("gateway.safe_http.loop.new_poller", poller)
            with closing(SocketLoop()) as loop:
                loop.want(IN, near.fileno())
                loop.want(REMOVE, near.fileno())
                with pytest.raises((OSError, KeyError)) if stays else nullcontext():
                    loop._poller.register(near.fileno(), 1)


class KqueueSelector(selectors.SelectSelector):
    """By its name that of a Mac."""


def test_the_poller_of_each_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for best, forgets in (
        (selectors.EpollSelector, True),
        (KqueueSelector, True),
        (selectors.PollSelector, False),
        (selectors.SelectSelector, False),
    ):
        monkeypatch.setattr(selectors, "DefaultSelector", best)
        with closing(Selector()) as poller:
            assert poller.forgets == forgets
    for platform, is_epoll in (("linux", True), ("darwin", False), ("win32", False)):
        monkeypatch.setattr("gateway.safe_http.loop.sys.platform", platform)
        with closing(new_poller()) as made:
            assert isinstance(made, select.epoll) == is_epoll


def test_close_leaves_nothing_open() -> None:
    before = len(os.listdir("/dev/fd"))
    with Server(silent) as still, Server(replying(ok())) as server:
        transport = HttpClient()
        assert one(transport, server.url()).status == 200
        for number in range(5):
            transport.start(request(still.url(f"/{number}")), number)
        transport.run(0.01)
        transport.close()
        transport.close()
        transport.wake()
    assert len(os.listdir("/dev/fd")) == before


def test_failures_leave_nothing_open() -> None:
    with Server(silent) as server:
        gone = server.url()
    with HttpClient() as transport:
        one(transport, gone)
        before = len(os.listdir("/dev/fd"))
        for number in range(50):
            transport.start(request(gone + str(number)), number)
        assert {found.failure.kind for found in finish(transport).values() if found.failure} == {"connect"}
        assert len(os.listdir("/dev/fd")) == before


def test_handles_are_bounded() -> None:
    with Server(replying(ok())) as server, HttpClient() as transport:
        for number in range(MAX_IDLE_HANDLES + 50):
            assert one(transport, server.url(f"/{number}")).status == 200
        assert transport._handles.count <= MAX_IDLE_HANDLES


def test_a_handle_is_used_again() -> None:
    with Server(replying(ok())) as server, HttpClient() as transport:
        for _ in range(3):
            assert one(transport, server.url()).status == 200
            assert transport._handles.count == 1


def test_the_times_of_what_was_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request("http://page.test/")
    pending = PendingRequest(asked, "tag", target_of(asked.url), 100.0, lookup_seconds=1.0012346)
    with HttpClient() as transport:
        with monkeypatch.context() as patched:
            patched.setattr("gateway.safe_http.client.time.monotonic", lambda: 107.0001236)
            transport._fail(pending, "name", "why")
        ((tag, found),) = transport.run(0)
    assert (tag, found.failure) == ("tag", Failure("name", "why"))
    assert found.times == Timings(name=1001.235, total=7000.124)


def test_the_handles_of_the_page_that_was_not_called_for_longest_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.safe_http.client.MAX_IDLE_HANDLES", 3)
    pool = HandlePool()
    made = [
        Transfer((f"http://{name}.test/", "", False, True, "1.2"), lambda _: None)
        for name in ("old", "new", "old", "last")
    ]
    old, new, again, last = made
    for transfer in (old, new, again):
        pool.put(transfer)
    assert pool.take(old.profile) is again and pool.count == 2
    pool.put(again)
    pool.put(last)
    assert pool.take(new.profile) is None and pool.count == 3
    with pytest.raises(pycurl.error):
        new.curl.setopt(pycurl.POST, 1)
    assert [pool.take(old.profile) for _ in range(3)] == [again, old, None] and pool.count == 1
    pool.close()
    assert pool.take(last.profile) is None and pool.count == 0
    with pytest.raises(pycurl.error):
        last.curl.setopt(pycurl.POST, 1)


def test_a_timeout_does_not_stay_with_the_handle() -> None:
    turns = iter([silent, replying(ok()), replying(ok())])

    with Server(lambda caller: next(turns)(caller)) as server, HttpClient() as transport:
        found = one(transport, server.url(), timeout=0.05)
        assert found.failure is not None and found.failure.kind == "timeout"
        found = one(transport, server.url())
        assert (found.status, found.failure) == (200, None)


class Proxy:
    """An egress proxy: absolute URLs are answered by itself, CONNECT goes to a server of ours."""

    def __init__(self, behind: Server | None = None, refusal: bytes = b"") -> None:
        self._behind, self._refusal = behind, refusal
        self.asked: list[str] = []

    def __call__(self, caller: Caller) -> None:
        while (sent := caller.read_request()) is not None:
            self.asked.append(sent.split(b"\r\n")[0].decode())
            if self._refusal:
                caller.send(self._refusal)
            elif self._behind and sent.startswith(b"CONNECT "):
                return self._tunnel(caller, self._behind)
            else:
                caller.send(ok(b"by proxy"))

    def _tunnel(self, caller: Caller, behind: Server) -> None:
        caller.send(b"HTTP/1.1 200 Connection established\r\nX-Proxy: 1\r\n\r\n")
        with socket.create_connection((behind.host, behind.port)) as far:
            back = threading.Thread(target=_pass_on, args=(far, caller.socket))
            back.start()
            _pass_on(caller.socket, far)
            back.join()


def _pass_on(source: socket.socket, sink: socket.socket) -> None:
    try:
        while piece := source.recv(65536):
            sink.sendall(piece)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


def names(address: str) -> Callable[..., object]:
    return lambda *_, **__: [(2, 1, 6, "", (address, 0))]


def test_a_proxy_comes_in_between() -> None:
    """From then on libcurl has sockets of its own, to look up the proxy's name."""
    with Server(replying(ok())) as server, Server(Proxy()) as proxy, HttpClient() as transport:
        for _ in range(3):
            assert one(transport, server.url()).body == b"ok"
            found = one(transport, server.url(), egress_proxy=proxy.url("", host="localhost"))
            assert found.body == b"by proxy"
            assert one(transport, server.url()).body == b"ok"


def test_through_an_egress_proxy() -> None:
    proxy = Proxy()
    with Server(proxy) as server, HttpClient(lookup=names("192.0.2.7")) as transport:  # type: ignore[arg-type]
        found = one(transport, "http://Page.test:8080/a%2fb?c#d", egress_proxy=server.url(""), capture=True)
    assert (found.status, found.body) == (200, b"by proxy")
    assert proxy.asked == ["POST http://Page.test:8080/a%2fb?c HTTP/1.1"]
    assert found.request_bytes == server.requests[0] and b"\r\nHost: Page.test:8080\r\n" in found.request_bytes


def test_through_an_egress_proxy_over_tls(tmp_path: object) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(f"{tmp_path}/ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("page.test").configure_cert(context)
    with Server(replying(ok()), tls=context) as behind:
        proxy = Proxy(behind)
        with Server(proxy) as server, HttpClient(lookup=names("192.0.2.7")) as transport:  # type: ignore[arg-type]
            found = one(
                transport,
                "https://page.test/x%2f",
                egress_proxy=server.url("", host="localhost"),
                verify_tls=f"{tmp_path}/ca.pem",
                capture=True,
            )
    assert (found.status, found.header("X-Proxy")) == (200, None), found
    assert proxy.asked == ["CONNECT page.test:443 HTTP/1.1"]
    assert [found.request_bytes] == behind.requests and behind.requests[0].startswith(b"POST /x%2f HTTP/1.1\r\n")


def test_what_is_asked_of_a_proxy_is_judged_first() -> None:
    proxy = Proxy()
    with Server(proxy) as server, HttpClient(lookup=names("10.0.0.7")) as transport:  # type: ignore[arg-type]
        for url in ("http://page.test/", "http://127.0.0.1/", "http://0x7f.1/"):
            found = one(transport, url, egress_proxy=server.url(""), free_form=True)
            assert found.failure is not None and found.failure.kind == "refused_address"
        found = one(transport, "http://169.254.169.254/", egress_proxy=server.url(""))
        assert found.failure is not None and found.failure.kind == "refused_address"
    assert not proxy.asked


def test_the_proxy_itself_may_be_where_a_free_url_may_not_go() -> None:
    with Server(Proxy()) as server, HttpClient(lookup=names("93.184.216.34")) as transport:  # type: ignore[arg-type]
        found = one(transport, "http://page.test/", egress_proxy=server.url(""), free_form=True)
    assert (found.status, found.body) == (200, b"by proxy")


def test_names_that_only_the_proxy_knows() -> None:
    def lookup(*_: object, **__: object) -> object:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with Server(Proxy()) as server, HttpClient(lookup=lookup) as transport:  # type: ignore[arg-type]
        assert one(transport, "http://inside.test/", egress_proxy=server.url("")).status == 200
        found = one(transport, "http://inside.test/", egress_proxy=server.url(""), free_form=True)
        assert found.failure is not None and found.failure.kind == "name"


@pytest.mark.parametrize("status", [403, 407, 502])
def test_a_proxy_that_refuses(status: int) -> None:
    refusal = answer(status, b"no", "Proxy-Authenticate: Basic")
    with (
        Server(Proxy(refusal=refusal)) as server,
        HttpClient(lookup=names("192.0.2.7")) as transport,  # type: ignore[arg-type]
    ):
        found = one(transport, "https://page.test/", egress_proxy=server.url(""))
    assert found.failure is not None and found.failure.kind == "proxy", found
    assert re.search(str(status), found.failure.sentence)


def test_a_proxy_that_is_not_there() -> None:
    with Server(silent) as server:
        gone = server.url("")
    with HttpClient(lookup=names("192.0.2.7")) as transport:  # type: ignore[arg-type]
        found = one(transport, "http://page.test/", egress_proxy=gone)
    assert found.failure is not None and found.failure.kind in ("connect", "proxy")
