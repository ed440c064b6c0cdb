"""`addresses.judge` under one set of rules, remembered: the transport asks for every request, not only for every dial.

A connection that one request opened is lent to the next to the same host. Asked only when dialling, a free-form URL
would go to a private address over a connection that the operator's endpoint left open.
"""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable
from ipaddress import ip_address

from gateway.safe_http.ssrf import Network, Own, judge

_MANY = 1024


class AddressPolicy:
    """Says no to addresses, with the full reason, for requests that share `free_form`, `allow_networks` and `own`."""

    def __init__(self, free_form: bool, allow_networks: Collection[Network], own: Own) -> None:
        self.free_form, self.allow_networks, self.own = free_form, allow_networks, own
        self._wildcard_ports = frozenset(port for host, port in own if _is_wildcard(host))
        self.passed: set[tuple[str, int]] = set()
        """(address, port) that were judged and may be talked to. Others may, too: `judge` knows."""
        self._refused: dict[tuple[str, int], str] = {}

    def judge(self, address: str, port: int) -> str | None:
        """None, or why this address may not be talked to."""
        if port in self._wildcard_ports:
            # Addresses of this machine come and go: never remembered.
            return self._fresh(address, port, self.own | {(address, port)} if is_here(address) else self.own)
        place = address, port
        if place in self.passed:
            return None
        return self._refused.get(place) or self._remember(place)

    def _remember(self, place: tuple[str, int]) -> str | None:
        refusal = self._fresh(*place, self.own)
        if len(self.passed) + len(self._refused) >= _MANY:
            self.passed.clear()
            self._refused.clear()
        if refusal:
            self._refused[place] = refusal
        else:
            self.passed.add(place)
        return refusal

    def judge_all(self, addresses: Iterable[str], port: int) -> str | None:
        """The first reason among a name's addresses: one bad answer is enough."""
        for address in addresses:
            if (address, port) not in self.passed and (reason := self.judge(address, port)):
                return reason
        return None

    def _fresh(self, address: str, port: int, own: Own) -> str | None:
        return judge(address, port, free_form=self.free_form, allow_networks=self.allow_networks, own=own)


def is_here(address: str) -> bool:
    """Whether the address is one of this machine's: only such a one can be bound to. Sends nothing."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError:
        return False
    return True


def _is_wildcard(host: str) -> bool:
    try:
        return ip_address(host).is_unspecified
    except ValueError:
        return True
