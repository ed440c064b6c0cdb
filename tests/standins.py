"""A stand-in for CarrierX for tests: running, with somebody who takes its callbacks.

with Standing() as at:
    at.send("15165550002")
    assert at.told() == ["queued", "sent", "undelivered"]
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import requests

from gateway.sandbox.carrierx import CarrierXStub, Setup
from tests.running import until
from tests.servers import Script, Server, ok, replying

NUMBER, HANDSET = "15162065919", "15165550100"
BEARER = {"Authorization": "Bearer sandbox"}


class Standing:
    """`taker`: what answers the callbacks; 200 if nothing is said."""

    def __init__(self, taker: Script | None = None, **setup: Any) -> None:
        self.taker = Server(taker or replying(ok(b"{}")))
        given = {"callback": self.taker.url("/callback"), "pace": 0.005, **setup}
        self.standin = CarrierXStub(Setup(**given))
        self._stack = ExitStack()

    def __enter__(self) -> Standing:
        self._stack.enter_context(self.taker)
        self._stack.enter_context(self.standin)
        self.session = self._stack.enter_context(requests.Session())
        self.session.headers.update(BEARER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send(self, to: str = HANDSET, **fields: Any) -> requests.Response:
        return self.post({"from": NUMBER, "to": to, "message": "Welcome!", **fields})

    def post(self, body: Mapping[str, Any]) -> requests.Response:
        return self.session.post(f"{self.standin.url}/sms/messages", json=body, timeout=30)

    def get(self, path: str) -> requests.Response:
        return self.session.get(f"{self.standin.url}{path}", timeout=30)

    def control(self, path: str, values: Mapping[str, Any] | None = None) -> requests.Response:
        """`/sandbox/…`; with values a POST."""
        url = f"{self.standin.address}/sandbox/{path}"
        return requests.get(url, timeout=30) if values is None else requests.post(url, json=values, timeout=30)

    def settle(self) -> dict[str, Any]:
        """Until nothing more is to come; the counts."""
        until(lambda: self.control("idle").json()["idle"], "the stand-in idle")
        counts: dict[str, Any] = self.control("idle").json()
        return counts

    def callbacks(self) -> list[dict[str, Any]]:
        """What came so far, in order."""
        return [json.loads(request.partition(b"\r\n\r\n")[2]) for request in self.taker.requests]

    def told(self) -> list[str]:
        """The statuses that came, once nothing more is to come."""
        self.settle()
        return [one["status"] for one in self.callbacks()]

    def accepted(self) -> list[dict[str, Any]]:
        """All outbound messages that it has, as it tells tests of them."""
        found: list[dict[str, Any]] = self.control("messages?direction=outbound").json()["messages"]
        return found
