"""Between `start` and the wire: a request waits here for its name, and is judged by all the addresses that come.

Behind an egress proxy that is done too, and then the proxy looks the name up again: its own rules have the last word.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from gateway.safe_http import shortage
from gateway.safe_http.dns import ResolvedName, Resolver
from gateway.safe_http.gate import AddressPolicy
from gateway.safe_http.models import Request
from gateway.safe_http.options import Target, target_of


@dataclass(slots=True)
class PendingRequest:
    """A request that is about to leave."""

    request: Request
    tag: object
    target: Target
    begun: float
    waited: float = 0.0
    """Seconds spent on the name."""

    @property
    def deadline(self) -> float:
        return self.begun + min(self.request.connect_timeout, self.request.timeout)


class PendingRequests:
    """Calls `fly` with those that may leave, their addresses and the gate that their connection must pass too, and
    `fail` with a kind and a sentence for those that may not."""

    def __init__(
        self,
        resolver: Resolver,
        fly: Callable[[PendingRequest, ResolvedName, AddressPolicy], None],
        fail: Callable[[PendingRequest, str, str], None],
    ) -> None:
        self._resolver, self._fly, self._fail = resolver, fly, fail
        self._waiting: dict[str, list[PendingRequest]] = {}
        self._gates: dict[str, AddressPolicy] = {}

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def enter(self, request: Request, tag: object) -> None:
        target = target_of(request.url)
        start = PendingRequest(request, tag, target, time.monotonic())
        if target.fault:
            self._fail(start, "url", target.fault)
        elif found := self._resolver.find(target.host):
            self._judge(start, found)
        else:
            self._waiting.setdefault(target.host, []).append(start)

    def go_on(self) -> None:
        """Let those leave whose name came, give up those that waited too long."""
        for host, found in self._resolver.collect():
            for start in self._waiting.pop(host, ()):
                start.waited = time.monotonic() - start.begun
                self._judge(start, found)
        if self._waiting:
            self._give_up(time.monotonic())

    def next(self) -> float | None:
        """When `go_on` is needed though no name came: a time of the monotonic clock."""
        return min((start.deadline for starts in self._waiting.values() for start in starts), default=None)

    def _judge(self, start: PendingRequest, found: ResolvedName) -> None:
        request = start.request
        gate = self._gate("free" if request.free_form else "own", request)
        # Behind a proxy names may be known to the proxy alone. The operator's own go on unjudged then, to be
        # judged by the operator's own proxy; those that came with a request do not.
        if found.short:
            self._fail(start, shortage.KIND, found.error)
        elif found.error and (request.free_form or not request.egress_proxy):
            self._fail(start, "name", f"the name of the host was not found: {found.error}")
        elif refusal := gate.judge_all(found.addresses, start.target.port):
            self._fail(start, "refused_address", refusal)
        elif request.egress_proxy:
            # The socket goes to the proxy, which is the operator's own word, whatever is asked of it.
            self._fly(start, found, self._gate("proxy", request))
        else:
            self._fly(start, found, gate)

    def _gate(self, name: str, request: Request) -> AddressPolicy:
        gate = self._gates.get(name)
        # By identity: the rules are the configuration's own objects, and new ones with every configuration.
        if gate is None or gate.allow_networks is not request.allow_networks or gate.own is not request.own_addresses:
            gate = self._gates[name] = AddressPolicy(name == "free", request.allow_networks, request.own_addresses)
        return gate

    def _give_up(self, now: float) -> None:
        for host, starts in list(self._waiting.items()):
            late = [start for start in starts if start.deadline <= now]
            self._waiting[host] = [start for start in starts if start.deadline > now]
            if not self._waiting[host]:
                del self._waiting[host]
            for start in late:
                start.waited = now - start.begun
                self._fail(start, "timeout", f"the name server gave no answer within {start.waited:.1f} s")
