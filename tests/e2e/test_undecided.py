"""A text of which nobody can tell whether it was sent, through the whole gateway: seen, decided by a person, told."""

from __future__ import annotations

import base64
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest

from tests.running import PASSWORD, ROOT, Gateway, running_gateway, until
from tests.servers import Caller, Server, answer, ok, replying

CONFIG = """
[carrierx]
base_url = "{carrierx}"
token = "canary-token"
doubt = 0

[endpoint.page]
url = "{page}"

[[number]]
number = "15162065919"
shortcode = "12345"
status = ["page"]
"""
AGAIN, SENT, GIVEN_UP = "15162065511", "15162065512", "15162065513"


class CarrierX:
    """Takes each text without saying so; its listing shows what may be them, without the sender's own data.

    A text that comes a second time it answers.
    """

    def __init__(self) -> None:
        self.taken: list[str] = []
        """Phones."""
        self._date = datetime.now(UTC).isoformat()

    def __call__(self, caller: Caller) -> None:
        while (request := caller.read_request()) is not None:
            caller.send(self._answer(request))

    def _answer(self, request: bytes) -> bytes:
        if request.startswith(b"POST "):
            phone = json.loads(request.partition(b"\r\n\r\n")[2])["to"]
            self.taken.append(phone)
            return answer(500) if self.taken.count(phone) == 1 else said(self._message(phone, "queued"))
        if one := re.match(rb"GET /sms/messages/sid-([0-9]+)", request):
            return said(self._message(one[1].decode(), "delivered"))
        begins = re.search(rb"offset=([0-9]+)", request)
        every = [self._message(phone, "sent") for phone in (AGAIN, SENT, GIVEN_UP)]
        items = every[int(begins[1]) if begins else 0 :]
        return said({"items": items, "count": len(items), "total": len(every), "has_more": False})

    def _message(self, phone: str, status: str) -> dict[str, object]:
        parties = {"direction": "outbound", "from": "15162065919", "to": phone}
        dates = dict.fromkeys(("date_created", "date_status_changed"), self._date)
        return {"message_sid": f"sid-{phone}", "message": "hi", "status": status, **parties, **dates}


def said(what: dict[str, object]) -> bytes:
    return ok(json.dumps(what).encode(), "Content-Type: application/json")


@pytest.fixture
def carrierx() -> CarrierX:
    return CarrierX()


@pytest.fixture
def page() -> Iterator[Server]:
    with Server(replying(ok())) as made:
        yield made


@pytest.fixture
def gateway(tmp_path: Path, carrierx: CarrierX, page: Server) -> Iterator[Gateway]:
    with Server(carrierx) as server:
        text = CONFIG.format(carrierx=server.url().rstrip("/"), page=page.url("/status.php"))
        with running_gateway(tmp_path, text) as made:
            yield made


def send(gateway: Gateway, *phones: str) -> dict[str, str]:
    """Phone → send_id. None of them can be decided."""
    command = [sys.executable, "-m", "gateway", "send", "--config", str(gateway.folder / "gateway.toml")]
    command += ["--from", "12345", *(part for phone in phones for part in ("--to", phone)), "--wait", "60", "hi"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    assert done.stdout.count("nobody can tell whether it was sent") == len(phones), done.stdout
    return {row["phone"]: row["send_id"] for row in gateway.rows("SELECT phone, send_id FROM ledger")}


def decide(gateway: Gateway, send_id: str, what: str, **fields: str) -> None:
    """As a program does, with the console's password."""
    known = base64.b64encode(f":{PASSWORD}".encode()).decode()
    headers = {"Authorization": f"Basic {known}", "Content-Type": "application/x-www-form-urlencoded"}
    body = urlencode({"confirmed": "yes", **fields}).encode()
    assert gateway.call("POST", f"/sends/{send_id}/{what}", body, headers).status == 303


def told(page: Server) -> dict[str, list[str]]:
    """Phone → the statuses that the application was told, in the order in which they came."""
    found: dict[str, list[str]] = {}
    for request in list(page.requests):
        post = dict(parse_qsl(request.partition(b"\r\n\r\n")[2].decode()))
        found.setdefault(post["sendTo"], []).append(post["status"])
    return found


def test_a_person_decides_and_the_application_is_told(gateway: Gateway, carrierx: CarrierX, page: Server) -> None:
    ids = send(gateway, AGAIN, SENT, GIVEN_UP)
    assert sorted(carrierx.taken) == [AGAIN, SENT, GIVEN_UP]
    assert told(page) == {}, "nobody is told what nobody knows"
    decide(gateway, ids[AGAIN], "again")
    decide(gateway, ids[SENT], "sent", message_sid=f"sid-{SENT}")
    decide(gateway, ids[GIVEN_UP], "given-up")
    expected = {AGAIN: ["queued"], SENT: ["queued", "delivered"], GIVEN_UP: ["failed"]}
    until(lambda: told(page) == expected, "the application is told")
    assert sorted(carrierx.taken) == [AGAIN, AGAIN, SENT, GIVEN_UP], "one alone was sent again"
    states = {row["phone"]: row["state"] for row in gateway.rows("SELECT phone, state FROM ledger")}
    assert states == {AGAIN: "sent", SENT: "sent", GIVEN_UP: "refused"}
