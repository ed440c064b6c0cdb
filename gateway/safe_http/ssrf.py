"""Where the gateway may connect. Pure: it judges addresses that a resolver gave; it looks nothing up.

The one rule for every caller: deliveries, status posts, test forms, commands. The transport asks `judge`
for every answer of the resolver, again for the address about to be dialled, and once more for the
connection that a request is about to use; a name is never judged by how it is spelt.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Own = frozenset[tuple[str, int]]

REFUSED = "this address is not allowed"
"""All that a caller of an API is told. The full reason is for the operator."""

PORTS = frozenset((80, 443, 8080, 8443))
"""Ports below 1024 that are websites; from 1024 up every port is open."""
MAX_URL = 2048
NOBODY: Own = frozenset()


def _table(rows: Iterable[tuple[str, str]]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), what) for network, what in rows)


# `is_global` of the standard library lets too much through (IPv4 in IPv6 forms, multicast, 192.0.0.192),
# so the lists are ours. Refused to everybody, the operator's own endpoints too: nothing that serves SMS is there.
_NEVER = _table(
    (
        ("0.0.0.0/8", "an unspecified address"),
        ("169.254.0.0/16", "a link-local address, where clouds keep their metadata"),
        ("168.63.129.16/32", "a cloud's metadata service"),
        ("100.100.100.200/32", "a cloud's metadata service"),
        ("192.0.0.192/32", "a cloud's metadata service"),
        ("224.0.0.0/4", "a multicast address"),
        ("255.255.255.255/32", "a broadcast address"),
        ("::/128", "an unspecified address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a site-local address, given up long ago"),
        ("fd00:ec2::/32", "a cloud's metadata service"),
        ("fd20:ce::254/128", "a cloud's metadata service"),
        ("ff00::/8", "a multicast address"),
    )
)

# Not the public internet: closed to free-form URLs unless `allow_networks` names them.
_NOT_PUBLIC_4 = _table(
    (
        ("10.0.0.0/8", "a private network"),
        ("100.64.0.0/10", "a carrier's shared network"),
        ("127.0.0.0/8", "this machine itself"),
        ("172.16.0.0/12", "a private network"),
        ("192.0.0.0/24", "reserved for protocols"),
        ("192.0.2.0/24", "for documentation only"),
        ("192.88.99.0/24", "a 6to4 relay"),
        ("192.168.0.0/16", "a private network"),
        ("198.18.0.0/15", "for benchmarks only"),
        ("198.51.100.0/24", "for documentation only"),
        ("203.0.113.0/24", "for documentation only"),
        ("240.0.0.0/4", "reserved"),
    )
)
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = _table(
    (
        ("2001::/23", "reserved for protocols"),
        ("2001:db8::/32", "for documentation only"),
        ("2002::/16", "a 6to4 form of an IPv4 address"),
        ("3fff::/20", "for documentation only"),
    )
)

# IPv6 networks whose last 32 bits are an IPv4 address that somebody on the way will dial.
_TAILS = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0:0/96"),  # SIIT
    IPv6Network("64:ff9b::/96"),  # NAT64
)
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))


def judge(
    address: str,
    port: int,
    *,
    free_form: bool,
    allow_networks: Collection[Network] = (),
    own: Own = NOBODY,
) -> str | None:
    """None where a connection may be made, else the full reason, one sentence for the operator.

    `address` is what a resolver gave, a plain IPv4 or IPv6 address. `free_form`: the URL came with a request
    (status_url, a test form), so it may only go to the public internet and to `allow_networks`; else it is an
    endpoint of the configuration, the operator's own word, which may be private. `own`: (address, port) pairs that
    the gateway listens on; a wildcard, or a name, stands for loopback. `gate` adds this machine's other addresses.
    """
    parsed = _parse(address)
    if parsed is None:
        return _refusal(address, "is no plain IP address")
    if not 0 < port < 65536 or (port < 1024 and port not in PORTS):
        return _refusal(address, f"port {port} is not one of 80, 443, 8080, 8443 or from 1024 up")
    if _is_own(parsed, port, own):
        return _refusal(address, f"port {port} there is the gateway itself: a loop")
    fault = _fault(parsed, free_form, allow_networks)
    return fault and _refusal(address, fault)


def _refusal(address: str, reason: str) -> str:
    return f"{REFUSED}: {address} {reason}" if reason.startswith("is ") else f"{REFUSED}: {address}: {reason}"


def _parse(text: str) -> Address | None:
    """A zone (`fe80::1%eth0`) goes first: it names a wire of this machine, not another address."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_own(address: Address, port: int, own: Own) -> bool:
    for host, listening in own:
        if listening != port:
            continue
        mine = _parse(host)
        # Dialling 0.0.0.0 reaches this machine too.
        anywhere = mine is None or mine.is_unspecified
        if mine == address or (anywhere and (address.is_loopback or address.is_unspecified)):
            return True
    return False


def _fault(address: Address, free_form: bool, allowed: Collection[Network]) -> str | None:
    carried = _carried(address)
    return (
        _find(address, _NEVER)
        or (None if not free_form or _within(address, allowed) else _not_public(address))
        or (_fault(carried, free_form, allowed) if carried else None)
    )


def _find(address: Address, table: Iterable[tuple[Network, str]]) -> str | None:
    return next((f"is {what} ({network})" for network, what in table if address in network), None)


def _within(address: Address, networks: Collection[Network]) -> bool:
    return any(address in network for network in networks)


def _not_public(address: Address) -> str | None:
    if isinstance(address, IPv4Address):
        fault = _find(address, _NOT_PUBLIC_4)
    elif address not in _PUBLIC_6:
        fault = "is no public IPv6 address (2000::/3)"
    else:
        fault = _find(address, _NOT_PUBLIC_6)
    return fault and f"{fault}; allow_networks can open it"


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 one, where a translator or tunnel would go on to it."""
    if isinstance(address, IPv4Address) or address == IPv6Address("::1"):
        return None
    number = int(address)
    if _within(address, _TAILS) or (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    teredo = address.teredo
    return address.sixtofour or (teredo[1] if teredo else None)


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")


def check_url(url: str) -> str | None:
    """None where the URL may be called, else what is wrong with it, one sentence that holds no part of the URL."""
    if len(url) > MAX_URL:
        return f"the URL is longer than {MAX_URL} characters"
    if not url.isascii():
        return "the URL has letters outside ASCII: write them as %XX, in the host's name as xn--"
    if any(character <= " " or character in "\\\x7f" for character in url):
        return "the URL has a space, a control character or a backslash"
    return _check_parts(url)


def _check_parts(url: str) -> str | None:
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in ("http", "https"):
        return "the URL does not begin with http:// or https://"
    if "@" in found["authority"]:
        return "the URL has a user name or password in it: they have settings of their own"
    host = _AUTHORITY.fullmatch(found["authority"])
    if host is None:
        return "the URL has no host that can be called"
    return _check_port(int(host["port"])) if host["port"] else None


def _check_port(port: int) -> str | None:
    if port in PORTS or 1024 <= port < 65536:
        return None
    return f"the URL has port {port}: only 80, 443, 8080, 8443 and from 1024 up may be called"


def place(url: str) -> tuple[str, int]:
    """(host, port) of a URL that passed `check_url`; the host in lower case, an IPv6 address without brackets."""
    scheme, _, rest = url.partition("://")
    found = _AUTHORITY.match(rest)
    if found is None:
        raise ValueError("check_url first")
    port = int(found["port"] or (443 if scheme.lower() == "https" else 80))
    return found["host"].strip("[]").lower(), port
