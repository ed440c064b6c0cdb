"""The choke point: whatever a URL is spelt like and a name resolves to, nothing is dialled that is not allowed."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import pytest

from gateway.safe_http.client import HttpClient
from gateway.safe_http.dns import ResolvedName, Resolver
from gateway.safe_http.errors import shortage_of
from gateway.safe_http.models import Request, Response
from gateway.safe_http.ssrf import AddressPolicy, is_own_address
from tests.servers import Server, ok, replying

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def resolving(*addresses: str) -> Callable[..., list[tuple[Any, ...]]]:
    """A resolver that gives every name these addresses."""

    def lookup(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        families = [(socket.AF_INET6 if ":" in one else socket.AF_INET) for one in addresses]
        return [(family, 1, 6, "", (one, 0)) for family, one in zip(families, addresses, strict=True)]

    return lookup


def send(url: str, lookup: Callable[..., Any] = socket.getaddrinfo, **changes: Any) -> Response:
    with HttpClient(lookup=lookup) as transport:
        return one(transport, url, **changes)


def one(transport: HttpClient, url: str, **changes: Any) -> Response:
    transport.start(Request(url=url, **{"body": b"a=1", **changes}), 0)
    while True:
        for _, answer in transport.run(20):
            return answer


def kind_of(answer: Response) -> str:
    return answer.failure.kind if answer.failure else ""


def sentence(answer: Response) -> str:
    return answer.failure.sentence if answer.failure else ""


@pytest.fixture
def trap() -> Any:
    """A server where no request may arrive."""
    with Server(replying(ok())) as server:
        yield server
        assert server.connections == 0 and not server.requests


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "localhost",
        "LocalHost",
        "0",
        "0.0.0.0",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:ffff:127.0.0.1]",
        "[::ffff:0:127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::5efe:127.0.0.1]",
        "[2600::5efe:127.0.0.1]",
        "[2600::200:5efe:127.0.0.1]",
        "[fec0::1]",
        "[fc00::1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.1.1",
        "[ff02::1]",
    ],
)
def test_every_spelling_of_what_is_not_public(trap: Server, host: str) -> None:
    answer = send(trap.url(host=host), free_form=True, connect_timeout=2)
    assert kind_of(answer) == "refused_address", answer
    assert sentence(answer).startswith("this address is not allowed: ")


@pytest.mark.parametrize(
    "host",
    [
        *("169.254.169.254", "[fe80::1]", "168.63.129.16", "[fd00:ec2::254]", "0.0.0.0", "[::]"),
        # ISATAP with the bit of a global address, and Teredo: both carry 169.254.169.254.
        *("[2600::200:5efe:169.254.169.254]", "[2001:0:4136:e378:8000:63bf:5601:5601]"),
    ],
)
def test_what_is_closed_to_the_operator_too(trap: Server, host: str) -> None:
    everywhere = (ip_network("0.0.0.0/0"), ip_network("::/0"))
    for free_form in (False, True):
        answer = send(trap.url(host=host), free_form=free_form, allow_networks=everywhere, connect_timeout=2)
        assert kind_of(answer) == "refused_address"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "localhost", "LOCALHOST"])
def test_an_endpoint_of_the_configuration_may_be_here(host: str) -> None:
    with Server(replying(ok())) as server:
        assert send(server.url(host=host)).status == 200


def test_ipv6_is_called() -> None:
    with Server(replying(ok()), host="::1") as server:
        answer = send(server.url(host="[::1]"))
    assert (answer.status, answer.address) == (200, "::1")
    assert f"\r\nHost: [::1]:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1", "10.0.0.9"),
        ("10.0.0.9", "127.0.0.1"),
        ("127.0.0.1", "fe80::1%lo"),
        ("127.0.0.1", "::ffff:10.0.0.1"),
    ],
)
def test_one_bad_address_among_the_answers_is_enough(trap: Server, addresses: tuple[str, ...]) -> None:
    """Also where the good one would have been tried first."""
    url = trap.url(host="page.test")
    answer = send(url, resolving(*addresses), free_form=True, allow_networks=LOOPBACK)
    assert kind_of(answer) == "refused_address"


def test_all_good_addresses_are_tried() -> None:
    with Server(replying(ok())) as server:
        url = server.url("/x", host="page.test")
        answer = send(url, resolving("127.0.0.9", "127.0.0.1"), free_form=True, allow_networks=LOOPBACK)
    assert (answer.status, answer.address) == (200, "127.0.0.1")
    assert f"\r\nHost: page.test:{server.port}\r\n".encode() in server.requests[0]


@pytest.mark.parametrize("host", ["page.test", "PAGE.test", "page.test.", "a_b.page.test", "x" * 63 + ".test"])
def test_what_was_judged_is_what_is_dialled(host: str) -> None:
    """A name that changes its mind after it was judged (DNS rebinding) is not asked again."""
    asked = []

    def lookup(name: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(name)
        return resolving("127.0.0.1" if len(asked) == 1 else "10.0.0.1")(name)

    with Server(replying(ok())) as server, HttpClient(lookup=lookup) as transport:
        for _ in range(3):
            answer = one(transport, server.url(host=host), free_form=True, allow_networks=LOOPBACK)
            assert answer.status == 200, answer
    assert asked == [host.lower()]


def test_new_answers_take_the_place_of_old_ones() -> None:
    answers = iter(["127.0.0.9", "127.0.0.1"])
    with (
        Server(replying(ok())) as server,
        HttpClient(lookup=lambda *_, **__: resolving(next(answers))(""), ttl=0) as transport,
    ):
        assert kind_of(one(transport, server.url(host="page.test"))) == "connect"
        assert one(transport, server.url(host="page.test")).status == 200


def test_a_kept_connection_is_not_lent_to_where_it_may_not_go() -> None:
    """An endpoint's connection to a private address; then a free-form URL of the same name, which is public by now."""
    answers = iter(["127.0.0.1", "127.0.0.2"])
    with (
        Server(replying(ok())) as server,
        HttpClient(lookup=lambda *_, **__: resolving(next(answers))(""), ttl=0) as transport,
    ):
        assert one(transport, server.url(host="page.test")).status == 200
        opened = (ip_network("127.0.0.2/32"),)
        answer = one(transport, server.url(host="page.test"), free_form=True, allow_networks=opened)
        assert kind_of(answer) == "refused_address" and "127.0.0.1" in sentence(answer)
        assert len(server.requests) == 1


def test_closed_networks_close_kept_connections() -> None:
    with Server(replying(ok())) as server, HttpClient() as transport:
        assert one(transport, server.url(), free_form=True, allow_networks=LOOPBACK).status == 200
        assert kind_of(one(transport, server.url(), free_form=True, allow_networks=())) == "refused_address"


def test_the_socket_hook_holds_by_itself(trap: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should anything get past the first look: what is about to be dialled is judged on its own."""
    monkeypatch.setattr(AddressPolicy, "check_all", lambda *_: None)
    for host in ("127.0.0.1", "0x7f.1", "localhost", "[::ffff:127.0.0.1]"):
        assert kind_of(send(trap.url(host=host), free_form=True)) == "refused_address"
    answer = send(trap.url(host="page.test"), resolving("127.0.0.9", "127.0.0.1"), free_form=True)
    assert "127.0.0.9" in sentence(answer)


@pytest.mark.parametrize("proxy", ["http://169.254.169.254:8080", "http://0x7f.1:%d", "http://localhost:%d"])
def test_an_egress_proxy_is_judged_too(trap: Server, proxy: str) -> None:
    proxy = proxy % trap.port if "%" in proxy else proxy
    own = frozenset({("0.0.0.0", trap.port)})
    answer = send("http://page.test/", resolving("1.1.1.1"), egress_proxy=proxy, own_addresses=own)
    assert kind_of(answer) == "refused_address"


def test_the_resolver_forgets() -> None:
    resolver = Resolver(lambda: None, resolving("127.0.0.1"), ttl=0)
    for number in range(3000):
        resolver.find(f"10.0.{number // 256}.{number % 256}")
    assert len(resolver._known) <= 1024
    resolver = Resolver(lambda: None, resolving("127.0.0.1"))
    for number in range(3000):
        resolver.find(f"10.0.{number // 256}.{number % 256}")
    assert len(resolver._known) <= 1024


def test_never_ourselves(trap: Server) -> None:
    for own in ("127.0.0.1", "0.0.0.0", "::", "localhost"):
        listening = frozenset({(own, trap.port)})
        for free_form in (False, True):
            answer = send(trap.url(), own_addresses=listening, free_form=free_form, allow_networks=LOOPBACK)
            assert kind_of(answer) == "refused_address" and "itself" in sentence(answer)


def test_new_addresses_of_our_own_count_at_once() -> None:
    with Server(replying(ok())) as server, HttpClient() as transport:
        ours = frozenset({("127.0.0.1", server.port)})
        for own, kind in ((frozenset(), ""), (ours, "refused_address"), (frozenset(), "")):
            assert kind_of(one(transport, server.url(), own_addresses=own)) == kind
        assert len(server.requests) == 2


def test_a_wildcard_is_every_address_of_this_machine() -> None:
    assert is_own_address("127.0.0.1") and is_own_address("127.8.9.10") and is_own_address("::1")
    assert not is_own_address("192.0.2.1") and not is_own_address("2001:db8::1") and not is_own_address("nonsense")


def test_a_wildcard_is_asked_afresh_for_every_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """Addresses of a machine come and go."""
    ours = {"10.0.0.5"}
    monkeypatch.setattr("gateway.safe_http.ssrf.is_own_address", ours.__contains__)
    policy = AddressPolicy(False, (), frozenset({("0.0.0.0", 8080), ("10.0.0.9", 9090)}))
    assert "itself" in str(policy.check("10.0.0.5", 8080)) and policy.check("10.0.0.5", 9090) is None
    assert policy.check("10.0.0.6", 8080) is None and policy.check_all(("10.0.0.6", "10.0.0.5"), 8080)
    ours.add("10.0.0.6")
    assert policy.check("10.0.0.6", 8080) and policy.check("10.0.0.9", 9090)


def test_a_policy_forgets() -> None:
    """Endpoints whose addresses change, and URLs that come with requests, are without end."""
    policy = AddressPolicy(False, (), frozenset())
    for number in range(3000):
        there = f"{number // 256}.{number % 256}"
        assert policy.check(f"10.0.{there}", 80) is None and policy.check(f"169.254.{there}", 80)
        assert len(policy.passed) + len(policy._refused) <= 1024
    assert policy.check("10.0.0.0", 80) is None and policy.check("169.254.0.0", 80), "judged anew"


def test_another_port_is_not_ourselves() -> None:
    with Server(replying(ok())) as server:
        assert send(server.url(), own_addresses=frozenset({("0.0.0.0", server.port ^ 1)})).status == 200


def test_a_name_that_is_not_known() -> None:
    def lookup(*_: object, **__: object) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer = send("http://page.test/", lookup)
    assert kind_of(answer) == "name" and "Name or service not known" in sentence(answer)


@pytest.mark.parametrize("host", ["x" * 64 + ".test", "a..b", "...", "-", "1.2.3.4.5", "999.1.1.1", "127.0.0.1."])
def test_names_that_cannot_be(host: str) -> None:
    assert kind_of(send(f"http://{host}/", connect_timeout=20)) in ("name", "refused_address")


def test_a_hanging_name_server_holds_up_nobody_else() -> None:
    hang = threading.Event()

    def lookup(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        if host == "hanging.test":
            hang.wait(30)
        return resolving("127.0.0.1")(host)

    with Server(replying(ok())) as server, HttpClient(lookup=lookup) as transport:
        slow = Request(url=server.url(host="hanging.test"), body=b"", connect_timeout=20)
        transport.start(slow, "slow")
        transport.start(slow, "slower")
        for number in range(20):
            transport.start(Request(url=server.url(host=f"page{number % 3}.test"), body=b""), number)
        done: list[Any] = []
        while len(done) < 20:
            done += [tag for tag, answer in transport.run(20) if answer.status == 200]
        assert sorted(done) == list(range(20)) and len(transport) == 2
        hang.set()
        while len(done) < 22:
            done += [tag for tag, answer in transport.run(20) if answer.status == 200]
    assert set(done[20:]) == {"slow", "slower"}


def test_a_name_that_comes_when_nobody_waits_any_more() -> None:
    go_on = threading.Event()

    def lookup(*_: object, **__: object) -> list[tuple[Any, ...]]:
        go_on.wait(20)
        return resolving("127.0.0.1")("page.test")

    with Server(replying(ok())) as server, HttpClient(lookup=lookup) as transport:
        found = one(transport, server.url(host="page.test"), connect_timeout=0.05)
        assert kind_of(found) == "timeout" and "name server gave no answer within 0." in sentence(found)
        go_on.set()
        assert transport.run(600) == [], "woken by the name"
        assert one(transport, server.url(host="page.test")).status == 200


def test_the_name_counts_for_the_deadline() -> None:
    hang = threading.Event()
    try:
        answer = send("http://hanging.test/", lambda *_, **__: [][: hang.wait(30)], connect_timeout=0.1)
    finally:
        hang.set()
    assert kind_of(answer) == "timeout" and "name server" in sentence(answer)
    assert answer.times.name >= 100 and answer.times.connect == 0


def look_up(resolver: Resolver, host: str, woken: threading.Event) -> ResolvedName:
    """The answer to a lookup that has begun."""
    assert woken.wait(30)
    woken.clear()
    ((name, found),) = resolver.collect()
    assert name == host and resolver.collect() == []
    return found


def test_an_answer_is_kept_for_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error for a second only: whoever is put right is called again soon."""
    now, asked, woken = [1000.0], [], threading.Event()
    monkeypatch.setattr("gateway.safe_http.dns.time.monotonic", lambda: now[0])

    def lookup(host: str, *rest: object, **named: object) -> list[tuple[Any, ...]]:
        asked.append((host, rest, named))
        return resolving("127.0.0.1", "::1", "127.0.0.1")(host) if host == "page.test" else []

    resolver = Resolver(woken.set, lookup)
    assert resolver.find("page.test") is None
    good = look_up(resolver, "page.test", woken)
    assert good == ResolvedName(("127.0.0.1", "::1"))
    assert asked == [("page.test", (None,), {"type": socket.SOCK_STREAM})]
    assert resolver.find("empty.test") is None
    bad = look_up(resolver, "empty.test", woken)
    assert bad == ResolvedName(error="no address")
    now[0] += 0.9
    assert resolver.find("page.test") is good and resolver.find("empty.test") is bad
    now[0] += 0.1
    assert resolver.find("page.test") is good and resolver.find("empty.test") is None
    look_up(resolver, "empty.test", woken)
    now[0] = 1059.9
    assert resolver.find("page.test") is good
    now[0] = 1060.0
    assert resolver.find("page.test") is None
    look_up(resolver, "page.test", woken)
    assert len(asked) == 4


def test_an_address_is_no_name() -> None:
    resolver = Resolver(lambda: None, resolving("10.0.0.1"))
    for _ in range(2):
        assert resolver.find("127.1") == ResolvedName(("127.0.0.1",), literal=True)
        assert resolver.find("::1") == ResolvedName(("::1",), literal=True)


def test_a_name_is_looked_up_once_at_a_time() -> None:
    asked, go, woken = [], threading.Event(), threading.Event()

    def lookup(host: str, *_: object, **__: object) -> list[tuple[Any, ...]]:
        asked.append(host)
        go.wait(30)
        return resolving("127.0.0.1")(host)

    resolver = Resolver(woken.set, lookup)
    for _ in range(3):
        assert resolver.find("page.test") is None
    (thread,) = [one for one in threading.enumerate() if one.name == "resolver"]
    assert thread.daemon, "a name server that hangs does not keep a process from its end"
    go.set()
    look_up(resolver, "page.test", woken)
    assert asked == ["page.test"]


@pytest.mark.parametrize(
    ("error", "found"),
    [
        (UnicodeError("label too long"), ResolvedName(error="no name of a host")),
        (socket.gaierror(socket.EAI_NONAME, "Not known"), ResolvedName(error="Not known")),
        (OSError("odd"), ResolvedName(error="odd")),
        (OSError(errno.EMFILE, ""), ResolvedName(error=shortage_of(OSError(errno.EMFILE, "")), short=True)),
    ],
)
def test_why_a_name_was_not_found(error: Exception, found: ResolvedName) -> None:
    woken = threading.Event()

    def lookup(*_: object, **__: object) -> Any:
        raise error

    resolver = Resolver(woken.set, lookup)
    assert resolver.find("page.test") is None
    assert look_up(resolver, "page.test", woken) == found
    # A shortage of this machine is not remembered of the name.
    assert (resolver.find("page.test") is None) is found.short
    if found.short:
        look_up(resolver, "page.test", woken)


def test_no_thread_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    woken = threading.Event()
    resolver = Resolver(woken.set, resolving("127.0.0.1"))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert resolver.find("page.test") is None
    assert look_up(resolver, "page.test", woken) == ResolvedName(error="this machine is short of threads", short=True)


def test_old_answers_go_first_when_there_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("gateway.safe_http.dns.time.monotonic", lambda: now[0])
    resolver = Resolver(lambda: None, resolving("127.0.0.1"), ttl=60)
    for number in range(1000):
        resolver.find(f"10.0.{number // 256}.{number % 256}")
    now[0] = 30.0
    for number in range(24):
        resolver.find(f"10.1.0.{number}")
    assert len(resolver._known) == 1024
    now[0] = 60.0
    resolver.find("10.2.0.1")
    assert len(resolver._known) == 25, "those that are still good, and the new one"


def test_no_name_server_is_asked_on_the_thread_of_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, woken, usual = [], threading.Event(), socket.getaddrinfo

    def numeric(host: str, port: None, **named: Any) -> Any:
        asked.append(named)
        return usual(host, port, **named | {"flags": socket.AI_NUMERICHOST})

    monkeypatch.setattr("gateway.safe_http.dns.socket.getaddrinfo", numeric)
    resolver = Resolver(woken.set, resolving("127.0.0.1"))
    assert resolver.find("page.test") is None
    look_up(resolver, "page.test", woken)
    assert asked == [{"type": socket.SOCK_STREAM, "flags": socket.AI_NUMERICHOST}]
