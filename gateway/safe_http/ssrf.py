"""Which addresses and URLs may be called, and how a URL is shown to people.

The rule is one for every caller: deliveries, status posts, test forms, commands. The client checks every address that
a resolver gave, again the address about to be dialled, and once more that of the connection that a request is about
to use; a name is never judged by how it is spelt.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Collection, Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
OwnAddresses = frozenset[tuple[str, int]]  # (address, port) pairs that the gateway listens on

REFUSED = "this address is not allowed"  # all that a caller of an API is told. The full reason is for the operator

PORTS = frozenset((80, 443, 8080, 8443))
"""The usual ports of websites. Below 1024 no others may be called; from 1024 up every port may."""
MAX_URL_CHARACTERS = 2048
NO_ADDRESSES: OwnAddresses = frozenset()
MAX_CHECKED_ADDRESSES = 1024  # addresses whose verdict an `AddressPolicy` remembers
HIDDEN = "[hidden]"  # stands for a secret in what people see
NO_ORIGIN = "://"  # the origin of what cannot be called at all


def _table(*rows: tuple[str, str]) -> tuple[tuple[Network, str], ...]:
    return tuple((ip_network(network), meaning) for network, meaning in rows)


# `is_global` of the standard library lets too much through (IPv4 in IPv6 forms, multicast, 192.0.0.192),
# so the lists are ours. Refused to everybody, the operator's own endpoints too: nothing that serves SMS is there.
_NEVER = _table(
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

# Not the public internet: closed to free-form URLs unless `allow_networks` names them.
_NOT_PUBLIC_4 = _table(
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
_PUBLIC_6 = IPv6Network("2000::/3")
_NOT_PUBLIC_6 = _table(
    ("2001::/23", "reserved for protocols"),
    ("2001:db8::/32", "for documentation only"),
    ("2002::/16", "a 6to4 form of an IPv4 address"),
    ("3fff::/20", "for documentation only"),
)

# IPv6 networks whose last 32 bits are an IPv4 address that a router on the way will dial.
_TAILS = (
    IPv6Network("::/96"),  # IPv4-compatible
    IPv6Network("::ffff:0:0:0/96"),  # SIIT
    IPv6Network("64:ff9b::/96"),  # NAT64
    IPv6Network("64:ff9b:1::/48"),  # NAT64 of one's own network (RFC 8215), by prefixes of 96 bits
)
_ISATAP = frozenset((0x00005EFE, 0x02005EFE))


def check_address(
    address: str,
    port: int,
    *,
    free_form: bool,
    allow_networks: Collection[Network] = (),
    own: OwnAddresses = NO_ADDRESSES,
) -> str | None:
    """None if a connection may be made, else the full reason, one sentence for the operator.
    `address` is a plain IPv4 or IPv6 address, as a resolver gives it. `free_form`: the URL came with a request
    (status_url, a test form), so it may only go to the public internet and to `allow_networks`; else it is an endpoint
    of the configuration, the operator's own word, which may be private. `own`: (address, port) pairs that the gateway
    listens on; a wildcard, or a name, stands for loopback. `AddressPolicy` adds this machine's others."""
    parsed = _parse(address)
    if parsed is None:
        reason: str | None = " is no plain IP address"
    elif not 0 < port < 65536 or (port < 1024 and port not in PORTS):
        reason = f": port {port} is not one of 80, 443, 8080, 8443 or from 1024 up"
    elif any(port == listening and _is_same(parsed, host) for host, listening in own):
        reason = f": port {port} there is the gateway itself: a loop"
    else:
        reason = _fault(parsed, free_form, allow_networks)
    return reason and f"{REFUSED}: {address}{reason}"


def _parse(text: str) -> Address | None:
    """The address without its zone (`fe80::1%eth0`), which names a network interface of this machine; None if bad."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_same(address: Address, host: str) -> bool:
    """True if a socket that listens on `host` receives what is sent to `address`."""
    mine = _parse(host)
    # Dialling 0.0.0.0 reaches this machine too.
    anywhere = mine is None or mine.is_unspecified
    return mine == address or (anywhere and (address.is_loopback or address.is_unspecified))


def _fault(address: Address, free_form: bool, allowed: Collection[Network]) -> str | None:
    reason = _find(address, _NEVER)
    if not reason and free_form and not any(address in network for network in allowed):
        if isinstance(address, IPv4Address):
            reason = _find(address, _NOT_PUBLIC_4)
        elif address not in _PUBLIC_6:
            reason = " is no public IPv6 address (2000::/3)"
        else:
            reason = _find(address, _NOT_PUBLIC_6)
        reason = reason and f"{reason}; allow_networks can open it"
    carried = None if reason else _carried(address)
    return _fault(carried, free_form, allowed) if carried else reason


def _find(address: Address, table: Iterable[tuple[Network, str]]) -> str | None:
    return next((f" is {meaning} ({network})" for network, meaning in table if address in network), None)


def _carried(address: Address) -> IPv4Address | None:
    """The IPv4 address inside an IPv6 one, where a translator or tunnel would go on to it."""
    if isinstance(address, IPv4Address) or address == IPv6Address("::1"):
        return None
    number = int(address)
    if any(address in network for network in _TAILS) or (number >> 32) & 0xFFFFFFFF in _ISATAP:
        return IPv4Address(number & 0xFFFFFFFF)
    teredo = address.teredo
    return address.sixtofour or (teredo[1] if teredo else None)


class AddressPolicy:
    """`check_address` under one set of rules, with its verdicts remembered, for requests that share these rules.
    The client checks for every request, not only before it dials: a connection that one request opened is used again
    for the next to the same host. Checked only before a dial, a free-form URL's request would go to a private address
    over a connection that the operator's endpoint left open."""

    def __init__(self, free_form: bool, allow_networks: Collection[Network], own: OwnAddresses) -> None:
        self.free_form, self.allow_networks, self.own = free_form, allow_networks, own
        self._wildcard_ports = frozenset(
            port for host, port in own if (address := _parse(host)) is None or address.is_unspecified
        )
        self.passed: set[tuple[str, int]] = set()
        """(address, port) pairs that were checked and may be connected to. Others may, too: `check` knows."""
        self._refused: dict[tuple[str, int], str] = {}

    def check(self, address: str, port: int) -> str | None:
        """None, or the reason why this address may not be connected to."""
        if (address, port) in self.passed:
            return None
        if known := self._refused.get((address, port)):
            return known
        is_wildcard = port in self._wildcard_ports
        own = self.own | {(address, port)} if is_wildcard and is_own_address(address) else self.own
        refusal = check_address(address, port, free_form=self.free_form, allow_networks=self.allow_networks, own=own)
        if is_wildcard:  # addresses of this machine come and go: never remembered
            return refusal
        if len(self.passed) + len(self._refused) >= MAX_CHECKED_ADDRESSES:
            self.passed.clear()
            self._refused.clear()
        if refusal:
            self._refused[address, port] = refusal
        else:
            self.passed.add((address, port))
        return refusal

    def check_all(self, addresses: Iterable[str], port: int) -> str | None:
        """The first reason among a name's addresses: one bad answer is enough."""
        for address in addresses:
            if (address, port) not in self.passed and (reason := self.check(address, port)):
                return reason
        return None


def is_own_address(address: str) -> bool:
    """True if the address is one of this machine's: only such a one can be bound to. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


_URL = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(?::(?P<port>[0-9]{1,5}))?")


def check_url(url: str) -> str | None:
    """None if the URL may be called, else what is wrong with it, one sentence that holds no part of the URL."""
    if len(url) > MAX_URL_CHARACTERS:
        return f"the URL is longer than {MAX_URL_CHARACTERS} characters"
    if not url.isascii():
        return "the URL has letters outside ASCII: write them as %XX, in the host's name as xn--"
    if any(character <= " " or character in "\\\x7f" for character in url):
        return "the URL has a space, a control character or a backslash"
    found = _URL.fullmatch(url)
    if found is None or found["scheme"].lower() not in ("http", "https"):
        return "the URL does not begin with http:// or https://"
    if "@" in found["authority"]:
        return "the URL has a user name or password in it: they have settings of their own"
    host = _AUTHORITY.fullmatch(found["authority"])
    if host is None:
        return "the URL has no host that can be called"
    port = int(host["port"] or 80)
    if port in PORTS or 1024 <= port < 65536:
        return None
    return f"the URL has port {port}: only 80, 443, 8080, 8443 and from 1024 up may be called"


def host_and_port(url: str) -> tuple[str, int]:
    """(host, port) of a URL that passed `check_url`; the host in lower case, an IPv6 address without brackets."""
    scheme, _, rest = url.partition("://")
    found = _AUTHORITY.match(rest)
    if found is None:
        raise ValueError("check_url first")
    port = int(found["port"] or (443 if scheme.lower() == "https" else 80))
    return found["host"].strip("[]").lower(), port


@lru_cache(maxsize=4_096)
def origin_of(endpoint: str) -> str:
    """``https://pages.example.com:443`` for a URL; an endpoint of the configuration is an origin by itself."""
    if "://" not in endpoint or check_url(endpoint):
        return NO_ORIGIN if "://" in endpoint else endpoint
    host, port = host_and_port(endpoint)
    return f"{endpoint.partition('://')[0].lower()}://{f'[{host}]' if ':' in host else host}:{port}"


_HOST = r"(?:\[[^\]/?#@]*\]|[^:@/?#\[\],]*)(?::[0-9]*)?"
# In a database's URL a password may have slashes and question marks; in any other they end the host.
_MASKED = re.compile(
    rf"(?P<scheme>https?|(?P<other>[a-z][a-z0-9+.-]*))://(?P<user>(?(other)[^/].*|[^/?#]*)@)?"
    rf"(?P<place>{_HOST}(?:,{_HOST})*(?:/[^?#]*)?)(?:\?(?P<query>[^#]*))?(?:#.*)?",
    re.DOTALL | re.IGNORECASE,
)
_NAME = re.compile(r"@?[\w.-]*")


def mask_url(url: str, *, query: bool = True) -> str:
    """A URL as people may see it: user, password and each value of the query are hidden, a fragment is left out.
    ``https://[hidden]@pages.example.com:8443/status.php?key=[hidden]``. With `query` False the query is left out too,
    as logs have it. The name of an endpoint stays as it is; of what is neither, nothing is shown. Never raises."""
    if _NAME.fullmatch(url):
        return url
    found = _MASKED.fullmatch(url)
    if found is None:
        return "a URL that cannot be read"
    user = f"{HIDDEN}@" if found["user"] else ""
    shown = f"{found['scheme'].lower()}://{user}{found['place']}"
    if not (query and found["query"]):
        return shown
    pairs = [pair.partition("=") for pair in found["query"].split("&")]
    # A value without a name may be a key.
    return f"{shown}?" + "&".join(
        [f"{name}={value and HIDDEN}" if sign else name and HIDDEN for name, sign, value in pairs]
    )
