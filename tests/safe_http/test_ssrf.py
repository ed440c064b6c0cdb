"""Where we may connect: the list of the specification, range by range, from inside and from just outside."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.safe_http.ssrf import REFUSED, check_address, check_url, host_and_port, mask_url

DENIED_4 = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24"),
    *("224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
)
DENIED_6 = ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
NEVER = (
    *("169.254.0.0/16", "168.63.129.16/32", "224.0.0.0/4", "0.0.0.0/8", "255.255.255.255/32", "192.0.0.192/32"),
    *("100.100.100.200/32", "fe80::/10", "fec0::/10", "ff00::/8", "::/128", "fd00:ec2::254/128", "fd20:ce::254/128"),
)
EVERYWHERE = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def free(address: str, port: int = 443, **rules: object) -> str | None:
    return check_address(address, port, free_form=True, **rules)  # type: ignore[arg-type]


def operator(address: str, port: int = 443, **rules: object) -> str | None:
    return check_address(address, port, free_form=False, **rules)  # type: ignore[arg-type]


def edges(network: str) -> tuple[str, str]:
    found = ip_network(network)
    return str(found[0]), str(found[-1])


@pytest.mark.parametrize("network", (*DENIED_4, *DENIED_6))
def test_free_form_never_gets_into_these(network: str) -> None:
    for address in edges(network):
        said = free(address)
        assert said and said.startswith(f"{REFUSED}: {address} is ")


@pytest.mark.parametrize("network", DENIED_4)
def test_nor_as_ipv6(network: str) -> None:
    for address in edges(network):
        number = int(IPv4Address(address))
        for form in (
            "::ffff:%s",
            "::%s",
            "64:ff9b::%s",
            "64:ff9b:1::%s",
            "::ffff:0:%s",
            "fe80::5efe:%s",
            "2600::5efe:%s",
        ):
            assert free(form % address), form
        assert free(f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1")


@given(st.ip_addresses(v=4))
def test_every_ipv4_address(address: IPv4Address) -> None:
    denied = any(address in ip_network(network) for network in DENIED_4)
    assert bool(free(str(address))) == denied
    assert bool(free(f"::ffff:{address}")) == denied


@given(st.ip_addresses(v=6))
def test_every_ipv6_address(address: IPv6Address) -> None:
    if address.ipv4_mapped or (int(address) >> 32) & 0xFFFFFFFF in (0x5EFE, 0x02005EFE):
        return
    public = address in ip_network("2000::/3") and not any(address in ip_network(network) for network in DENIED_6)
    assert bool(free(str(address))) == (not public)


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0"),
        *(
            "169.253.255.255",
            "169.255.0.0",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.0",
            "192.0.3.0",
            "192.167.255.255",
        ),
        *("192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "168.63.129.15", "168.63.129.17"),
        *("2606:4700::1111", "2001:4860:4860::8888", "2001:200::1", "2003::1", "3ffe::1", "3fff:1000::1", "2a00::1"),
        "::ffff:8.8.8.8",
    ],
)
def test_the_public_internet_is_open(address: str) -> None:
    assert free(address) is None and operator(address) is None


@pytest.mark.parametrize(
    "address", ["10.1.2.3", "127.0.0.1", "::1", "192.168.1.1", "fd12:3456::1", "100.64.0.1", "172.16.0.1"]
)
def test_an_endpoint_of_the_configuration_may_be_private(address: str) -> None:
    assert operator(address) is None
    assert free(address)
    assert free(address, allow_networks=EVERYWHERE) is None


def test_allow_networks_open_what_they_name_and_no_more() -> None:
    opened = (ip_network("10.1.0.0/16"), ip_network("fd12::/16"))
    assert free("10.1.2.3", allow_networks=opened) is None
    assert free("::ffff:10.1.2.3", allow_networks=opened) is None
    assert free("fd12::1", allow_networks=opened) is None
    assert free("10.2.0.0", allow_networks=opened)
    assert "allow_networks can open it" in str(free("10.2.0.0", allow_networks=opened))


@pytest.mark.parametrize("network", NEVER)
def test_some_are_closed_to_everybody(network: str) -> None:
    for address in edges(network):
        assert operator(address) and free(address, allow_networks=EVERYWHERE)
        if ":" not in address:
            for form in ("::ffff:%s", "64:ff9b::%s", "64:ff9b:1:fffe::%s", "::ffff:0:%s"):
                assert operator(form % address) and free(form % address, allow_networks=EVERYWHERE)


def carrying(address: str) -> tuple[str, ...]:
    """Each IPv6 form of an IPv4 address that somebody on the way would dial."""
    number = int(IPv4Address(address))
    tails = (
        "::ffff:%s",
        "::%s",
        "64:ff9b::%s",
        "64:ff9b:1:fffe::%s",
        "::ffff:0:%s",
        "2600::5efe:%s",
        "2600::200:5efe:%s",
    )
    teredo = f"2001:0:4136:e378:8000:63bf:{~number >> 16 & 0xFFFF:x}:{~number & 0xFFFF:x}"
    return (*(form % address for form in tails), f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1", teredo)


@pytest.mark.parametrize("form", range(9))
def test_what_an_ipv6_address_carries_is_judged_whatever_is_open(form: int) -> None:
    """To open a tunnel's network opens nothing behind it, and what is closed to everybody is closed there too."""
    for address in ("169.254.169.254", "168.63.129.16", "0.0.0.0", "224.0.0.1"):
        there = carrying(address)[form]
        assert free(there, allow_networks=EVERYWHERE) and operator(there), there
    tunnels = (ip_network("::/0"),)
    assert free(carrying("10.1.2.3")[form], allow_networks=tunnels)
    assert free(carrying("10.1.2.3")[form], allow_networks=EVERYWHERE) is None
    assert free(carrying("8.8.8.8")[form], allow_networks=tunnels) is None


def test_a_translators_network_can_be_opened_and_what_it_carries_is_judged_too() -> None:
    """In networks without IPv4 every old server is behind 64:ff9b::/96."""
    opened = (ip_network("64:ff9b::/96"),)
    assert free("64:ff9b::808:808", allow_networks=opened) is None
    assert free("64:ff9b::7f00:1", allow_networks=opened)
    assert free("64:ff9b::808:808")


def test_a_local_translators_network_is_no_way_to_what_is_closed() -> None:
    """Its prefix may be shorter than 96 bits (RFC 6052): then the last 32 bits are zero, and nothing is opened."""
    local = (ip_network("64:ff9b:1::/48"),)
    assert operator("64:ff9b:1::808:808") is None and free("64:ff9b:1::808:808", allow_networks=local) is None
    assert operator("64:ff9b:1::a00:1") is None and free("64:ff9b:1::a00:1", allow_networks=local)
    assert operator("64:ff9b:1::a9fe:a9fe") and operator("64:ff9b:1:a9fe:a9:fe00::")


@pytest.mark.parametrize("address", ["fe80::1%eth0", "fe80::1%1", "ff02::1%lo", "169.254.1.1%x", "::1%lo"])
def test_a_zone_changes_nothing(address: str) -> None:
    assert free(address)
    assert operator("fe80::1%eth0")


@pytest.mark.parametrize(
    "address", ["", "localhost", "127.1", "2130706433", "0x7f000001", "1.2.3.4.5", "[::1]", "::g", "1.1.1.1 "]
)
def test_what_is_no_plain_address(address: str) -> None:
    assert "no plain IP address" in str(operator(address))


@pytest.mark.parametrize("port", [80, 443, 8080, 8443, 1024, 5000, 65535])
def test_ports(port: int) -> None:
    assert free("1.1.1.1", port) is None
    assert check_url(f"http://page.test:{port}/") is None


@pytest.mark.parametrize("port", [0, 1, 21, 22, 25, 79, 81, 110, 445, 993, 1023, 65536, 99999])
def test_closed_ports(port: int) -> None:
    assert "port" in str(free("1.1.1.1", port)) and operator("1.1.1.1", port)
    assert "port" in str(check_url(f"http://page.test:{port}/"))


def test_never_ourselves() -> None:
    own = frozenset({("10.0.0.5", 8080), ("0.0.0.0", 9090), ("::", 9191), ("localhost", 9292)})
    assert "the gateway itself" in str(operator("10.0.0.5", 8080, own=own))
    assert operator("::ffff:10.0.0.5", 8080, own=own)
    assert operator("10.0.0.5", 8081, own=own) is None and operator("10.0.0.6", 8080, own=own) is None
    for port in (9090, 9191, 9292):
        for address in ("127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::ffff:127.0.0.1"):
            assert "the gateway itself" in str(operator(address, port, own=own))
            assert "the gateway itself" in str(free(address, port, own=own, allow_networks=EVERYWHERE))
        assert operator("10.0.0.5", port, own=own) is None


@pytest.mark.parametrize(
    "url",
    [
        "http://page.test",
        "HTTPS://Page.Test/a",
        "http://page.test:8080?x=1",
        "http://10.0.0.5/sms/join.php?a=b&c=%20#top",
        "http://[2606:4700::1111]:8443/",
        "http://a_b.page.test./~x/{y}|z",
        "http://xn--bcher-kva.example/",
        "http://page.test/@user:x",
        "http://page.test/?u=http://user:pw@other.test/",
        "http://page.test/" + "a" * (2048 - 17),
    ],
)
def test_urls_that_may_be_called(url: str) -> None:
    assert check_url(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("", "http://"),
        ("page.test/x", "http://"),
        ("//page.test/x", "http://"),
        ("http:/page.test", "http://"),
        ("http:page.test", "http://"),
        ("ftp://page.test/", "http://"),
        ("file:///etc/passwd", "http://"),
        ("gopher://page.test/", "http://"),
        ("javascript:alert(1)", "http://"),
        ("http://", "host"),
        ("http:///path", "host"),
        ("http://:80/", "host"),
        ("http://page.test:/", "host"),
        ("http://page.test:80x/", "host"),
        ("http://page.test:٨٠/", "ASCII"),
        ("http://[::1", "host"),
        ("http://[fe80::1%25eth0]/", "host"),
        ("http://exa%6dple.test/", "host"),
        ("http://page.test,other.test/", "host"),
        ("http://user@page.test/", "user name"),
        ("http://user:pass@page.test/", "user name"),
        ("http://page.test:80@other.test/", "user name"),
        ("http://page.test/ x", "space"),
        (" http://page.test/", "space"),
        ("http://page.test/\n", "space"),
        ("http://page.test/\r\nHost: x", "space"),
        ("http://page.test/\t", "space"),
        ("http://page.test/\0", "space"),
        ("http://page.test/\x7f", "space"),
        ("http://page.test\\@other.test/", "backslash"),
        ("http://bücher.example/", "ASCII"),
        ("http://page.test/é", "ASCII"),
        ("http://127。0。0。1/", "ASCII"),
        ("http://page.test/" + "a" * 2048, "2048"),
        ("http://page.test:22/", "port 22"),
    ],
)
def test_urls_that_may_not(url: str, fault: str) -> None:
    assert fault in str(check_url(url))


@given(st.text(max_size=60))
def test_any_text_is_judged(text: str) -> None:
    for url in (text, f"http://{text}", f"https://page.test{text}"):
        if check_url(url) is None:
            host, port = host_and_port(url)
            assert host == host.lower() and 0 < port < 65536 and not set(host) & set("/?#@[] ")
        check_address(text, 80, free_form=True)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://Page.test", ("page.test", 80)),
        ("https://page.test?x:9", ("page.test", 443)),
        ("HTTPS://[2606::1]:8443/", ("2606::1", 8443)),
        ("http://[2606::1]/", ("2606::1", 80)),
        ("http://page.test:8080#x", ("page.test", 8080)),
    ],
)
def test_host_and_port(url: str, expected: tuple[str, int]) -> None:
    assert host_and_port(url) == expected


def test_host_and_port_of_nothing() -> None:
    with pytest.raises(ValueError, match="check_url first"):
        host_and_port("http://@")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://pages.example.com/status.php", "https://pages.example.com/status.php"),
        (
            "HTTPS://alice:s3cret@Pages.example.com:8443/a%2fb?key=s3cret&mode=&a=s3=cret#s3cret",
            "https://[hidden]@Pages.example.com:8443/a%2fb?key=[hidden]&mode=&a=[hidden]",
        ),
        ("http://alice@page.test", "http://[hidden]@page.test"),
        ("http://page.test?s3cret&&a=1", "http://page.test?[hidden]&&a=[hidden]"),
        ("http://page.test/?", "http://page.test/"),
        ("http://page.test/@user:x", "http://page.test/@user:x"),
        ("http://[2606::1]:80/x", "http://[2606::1]:80/x"),
        ("http://bücher.example/", "http://bücher.example/"),
        # No URLs, for all that people write them.
        ("http://alice:s3/cret@page.test/x", "http://[hidden]@page.test/x"),
        ("http://alice:s3?cret@page.test/x", "http://[hidden]@page.test/x"),
        ("http://alice:s3#cret@page.test/x", "http://[hidden]@page.test/x"),
        ("http://alice:s3cret/page.test", "a URL that cannot be read"),
        ("alice:s3cret@page.test", "a URL that cannot be read"),
        ("//alice:s3cret@page.test/", "a URL that cannot be read"),
        ("page.test/?key=s3cret", "a URL that cannot be read"),
        ("http://[::1", "a URL that cannot be read"),
        ("x://[", "a URL that cannot be read"),
        # The database, several hosts of it, and passwords as SQLAlchemy takes them.
        ("sqlite:////srv/@data/gateway.db", "sqlite:////srv/@data/gateway.db"),
        ("postgresql://me:s3@cret@db/sms?sslmode=x", "postgresql://[hidden]@db/sms?sslmode=[hidden]"),
        ("postgresql://me:12/s3cret?@db:5432/sms", "postgresql://[hidden]@db:5432/sms"),
        ("postgresql://me:s3cret@db1:5432,db2/sms", "postgresql://[hidden]@db1:5432,db2/sms"),
        # Names of endpoints, which may have any letters and digits.
        ("a", "a"),
        ("störung-日本_2", "störung-日本_2"),
        ("sign-up_2.old", "sign-up_2.old"),
        ("@carrierx", "@carrierx"),
        ("", ""),
    ],
)
def test_what_people_see_of_a_url(url: str, shown: str) -> None:
    assert mask_url(url) == shown
    assert mask_url(url, query=False) == shown.partition("?")[0]


@given(st.text(max_size=60), st.text(max_size=20))
def test_any_text_is_masked(text: str, secret: str) -> None:
    for url in (text, f"http://{text}", f"postgresql://me:{text}@db/x"):
        assert isinstance(mask_url(url), str)
    hidden = f"§{secret}§".replace("&", "").replace("#", "")
    assert "§" not in mask_url(f"https://page.test/?key={hidden}")
    assert "§" not in mask_url(f"https://alice:{hidden}@page.test/")
    assert "§" not in mask_url(f"postgresql://alice:{hidden}@page.test/")


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("http://page.test/" + "a" * 2032, "the URL is longer than 2048 characters"),
        ("http://bücher.test/", "the URL has letters outside ASCII: write them as %XX, in the host's name as xn--"),
        ("http://page.test/\\", "the URL has a space, a control character or a backslash"),
        ("ftp://page.test/", "the URL does not begin with http:// or https://"),
        ("http://u@page.test/", "the URL has a user name or password in it: they have settings of their own"),
        ("http://:80/", "the URL has no host that can be called"),
        ("http://page.test:81/", "the URL has port 81: only 80, 443, 8080, 8443 and from 1024 up may be called"),
    ],
)
def test_what_is_said_of_a_url(url: str, fault: str) -> None:
    assert check_url(url) == fault


def test_what_is_said_of_an_address() -> None:
    assert operator("nonsense") == f"{REFUSED}: nonsense is no plain IP address"
    assert operator("1.1.1.1", 25) == f"{REFUSED}: 1.1.1.1: port 25 is not one of 80, 443, 8080, 8443 or from 1024 up"
    assert free("fd12::1") == f"{REFUSED}: fd12::1 is no public IPv6 address (2000::/3); allow_networks can open it"
    assert operator("fe80::1") == f"{REFUSED}: fe80::1 is a link-local address (fe80::/10)"
    own = frozenset({("fd12::5", 8080)})
    assert operator("fd12::5%eth0", 8080, own=own) == (
        f"{REFUSED}: fd12::5%eth0: port 8080 there is the gateway itself: a loop"
    )


@pytest.mark.parametrize(
    ("url", "host", "port"),
    [
        ("http://XBOX.test/X", "xbox.test", 80),
        ("HTTPS://page.test", "page.test", 443),
        ("http://page.test:8080/?u=https://other.test:9090/", "page.test", 8080),
        ("https://[2606:4700::ABCD]:8443/", "2606:4700::abcd", 8443),
    ],
)
def test_the_host_and_the_port_that_are_called(url: str, host: str, port: int) -> None:
    assert check_url(url) is None and host_and_port(url) == (host, port)
