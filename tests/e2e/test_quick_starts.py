"""The vendor's quick-start applications, unchanged but for the Core API's URL, at a running gateway and the stand-in.

A text comes in at the stand-in; the gateway gets its callback and delivers it to the application; the application
answers through the stand-in's Core API; what becomes of its answer comes back through the gateway.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from gateway.sandbox.carrierx import CarrierXStub, Setup
from tests.running import HOST, KEY, Gateway, Process, free_port, running_gateway, until

QUICK_STARTS = Path(__file__).parent / "quick_starts"
VENDOR = "https://api.carrierx.com/core/v2/sms/messages"
TOKEN = "5ebc03d6-8b2b-44ad-bf65-72d4f1491dda"
"""That of the vendor's code."""
NUMBER, HANDSET = "15162065919", "15165550100"
FLOW = ["queued", "sent", "delivered"]

CONFIG = """
[endpoint.app]
url = "http://127.0.0.1:{port}/"
format = "carrierx"
shape = "{shape}"

[[number]]
number = "15162065919"
callback = ["app"]
status = ["app"]
"""


@contextmanager
def application(folder: Path, kind: str, messages: str) -> Iterator[int]:
    """As the guide starts it; its port. `messages`: what stands in it for the vendor's URL."""
    code = (QUICK_STARTS / f"{kind}_callback.py.txt").read_text("utf-8")
    assert code.count(VENDOR) == 1
    (folder / "sms_callback.py").write_text(code.replace(VENDOR, messages), "utf-8")
    port = free_port()
    command = [sys.executable, "-m", "flask", "run", "--host", HOST, "--port", str(port)]
    process = Process(command, folder / "app.log", port, {"FLASK_APP": str(folder / "sms_callback.py")})
    try:
        process.start()
        yield port
    finally:
        process.kill()


def delivered(gateway: Gateway) -> list[dict[str, Any]]:
    """What the application took, in the order in which it came in."""
    rows = gateway.rows("SELECT body, state FROM deliveries ORDER BY id")
    return [json.loads(row["body"]) for row in rows if row["state"] == "succeeded"]


@pytest.mark.parametrize(
    ("kind", "text", "sender", "receiver"),
    [
        ("sms", {"from_did": HANDSET, "to_did": NUMBER, "message": "Hello"}, "from_did", "to_did"),
        ("mms", {"from": HANDSET, "to": NUMBER, "media_urls": ["https://x.example/y"]}, "from", "to"),
    ],
    ids=["sms", "mms"],
)
def test_a_quick_start(tmp_path: Path, kind: str, text: dict[str, Any], sender: str, receiver: str) -> None:
    port = free_port()
    messages = f"http://{HOST}:{port}/core/v2/sms/messages"
    with (
        application(tmp_path, kind, messages) as app,
        running_gateway(tmp_path / "gateway", CONFIG.format(port=app, shape=kind)) as gateway,
        CarrierXStub(
            Setup(token=TOKEN, numbers=[NUMBER], callback=f"{gateway.url}/carrierx/callback/{KEY}", pace=0.02),
            port=port,
        ) as standin,
    ):
        requests.post(f"{standin.address}/sandbox/inbound", json=text, timeout=10).raise_for_status()
        told = until(lambda: found if len(found := delivered(gateway)) == 4 else [], "a text and three updates")
        assert [one["status"] for one in told] == ["received", *FLOW]
        assert [one["direction"] for one in told] == ["inbound", *["outbound"] * 3]
        assert {(one[sender], one[receiver]) for one in told[1:]} == {(NUMBER, HANDSET)}
        until(lambda: not standin.engine.poster.outstanding, "the stand-in idle")
        _, answer = standin.engine.messages.all()
        assert (answer.request.sender, answer.request.to) == (NUMBER, HANDSET)
        assert answer.request.message == f"The {kind.upper()} status is: received"
        assert answer.acknowledged == FLOW and {one["message_sid"] for one in told[1:]} == {answer.sid}
