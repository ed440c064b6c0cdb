"""Keys and secrets are renewed while the gateway runs: nothing is refused or unsigned between the old and the new."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

from standardwebhooks import Webhook

from tests import acme
from tests.running import BASE, Gateway, running_gateway, until
from tests.servers import Server, ok, replying

NEW, OLD = ("whsec_" + b64encode(word * 8).decode() for word in (b"new", b"old"))
CONFIG = """
[[key]]
name = "crm"
value = {keys}
for = ["carrierx"]

[endpoint.crm]
url = "{url}"
format = "carrierx"
secret = {secrets}

[[number]]
number = "15162065919"
callback = ["crm"]
"""


def post(gateway: Gateway, key: str, sid: str) -> int:
    return gateway.call("POST", f"/carrierx/callback/{key}", acme.text(message_sid=sid)).status


def verifies(request: bytes, secret: str) -> bool:
    head, _, body = request.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    try:
        Webhook(secret).verify(body, {name.lower(): value for name, value in headers.items()})
    except Exception:
        return False
    return True


def test_keys_and_signing_secrets_are_renewed_with_overlap(tmp_path: Path) -> None:
    with Server(replying(ok())) as endpoint:
        steps = (
            ('"old-key-0123456789"', f'"{OLD}"'),
            ('["new-key-0123456789", "old-key-0123456789"]', f'["{NEW}", "{OLD}"]'),
            ('"new-key-0123456789"', f'"{NEW}"'),
        )
        texts = [CONFIG.format(keys=keys, secrets=secrets, url=endpoint.url("/sms")) for keys, secrets in steps]
        with running_gateway(tmp_path, texts[0]) as gateway:
            assert [post(gateway, f"{age}-key-0123456789", "a") for age in ("old", "new")] == [200, 403]
            endpoint.wait_for(1)
            (tmp_path / "gateway.toml").write_text(BASE + texts[1])
            until(lambda: post(gateway, "new-key-0123456789", "b") == 200, "the new key is good")
            assert post(gateway, "old-key-0123456789", "c") == 200, "and the old one as well"
            endpoint.wait_for(3)
            # The worker reads the file by itself.
            sids = iter(range(1_000))
            until(lambda: signed_by(gateway, endpoint, next(sids)) == (True, True), "both sign")
            (tmp_path / "gateway.toml").write_text(BASE + texts[2])
            until(lambda: post(gateway, "old-key-0123456789", "d") == 403, "the old key is gone")
            until(lambda: signed_by(gateway, endpoint, next(sids)) == (True, False), "so is the old secret")
            events = gateway.rows("SELECT DISTINCT key FROM events")
            assert events == [{"key": "crm"}]
        assert verifies(endpoint.requests[0], OLD) and not verifies(endpoint.requests[0], NEW)
        assert all(verifies(request, OLD) or verifies(request, NEW) for request in endpoint.requests)


def signed_by(gateway: Gateway, endpoint: Server, number: int) -> tuple[bool, bool]:
    before = len(endpoint.requests)
    assert post(gateway, "new-key-0123456789", f"text-{number}") == 200
    endpoint.wait_for(before + 1)
    return verifies(endpoint.requests[-1], NEW), verifies(endpoint.requests[-1], OLD)
