"""`gateway forget` and `gateway export`."""

from __future__ import annotations

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gateway.__main__ import main
from gateway.config import load
from gateway.store import Connection, Store, audit, leases, message_status
from tests import acme
from tests.cli.test_messages import owe
from tests.running import running_gateway

PHONE, OTHER = "15162065515", "15162065516"
PAGE = """
[endpoint.page]
url = "http://127.0.0.1:9999/page.php?token=canary-query-secret"
secret = "canary-signing-secret"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    routes = '[[number]]\nnumber = "15162065919"\nshortcode = "12345"\ncallback = ["page"]\n'
    file.write_text(PAGE + routes, encoding="utf-8")
    return file


def gateway(path: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(path)])


def receive(path: Path, *bodies: bytes) -> None:
    owe(path, *bodies)
    with Store(load(path, {}).database) as store:
        opt_out = partial(
            message_status.record_opt_out, number="15162065919", phone=PHONE, word="STOP", at=1.0, out=True
        )
        store.writer.write(opt_out)


def answer(path: Path) -> None:
    """Every delivery is made, and the page echoes what it should not."""

    def work(connection: Connection) -> None:
        claimed = leases.claim(connection, "tests", {"page": leases.ClaimLimit(100)}, 2e9, {"page": 10.0})
        ends: dict[str, Any] = {"outcome": "succeeded", "finished_at": 1e9, "status": 200}
        settled = [
            leases.SettledDelivery(claimed=each, answer_body=b"caf\xe9 canary-query-secret", **ends) for each in claimed
        ]
        leases.settle_all(connection, "tests", settled, 1e9)

    with Store(load(path, {}).database) as store:
        store.writer.write(work)


def trail(path: Path) -> list[tuple[str, str, dict[str, Any]]]:
    with Store(load(path, {}).database) as store, store.reader() as conn:
        return [(each.action, each.subject, dict(each.details)) for each in audit.newest(conn, 9)]


@pytest.mark.parametrize("spelling", [PHONE, "+1 516 206-5515", "(516) 206.5515"])
def test_a_phone_is_forgotten_in_any_spelling(path: Path, spelling: str) -> None:
    receive(path, acme.text(from_did=PHONE), acme.text(from_did=OTHER, message_sid="other"))
    answer(path)
    result = gateway(path, "forget", "--dry-run", spelling)
    assert result.output.startswith("Would erase 1 events") and result.exit_code == 0
    result = gateway(path, "forget", spelling)
    assert (result.exit_code, result.output) == (
        0,
        "Erased 1 events of this phone alone; blanked in 0 events of several people.\n",
    )
    assert gateway(path, "forget", spelling).output.startswith("Erased 0 events")
    exported = json.loads(gateway(path, "export", spelling).stdout)
    assert (exported["events"], exported["sends"]) == ([], []) and exported["opt_outs"][0]["word"] == "STOP"
    assert len(json.loads(gateway(path, "export", OTHER).stdout)["events"]) == 1
    assert trail(path)[-1] == ("forget", "…5515", {"events": 1, "blanked": 0, "kept": 0})
    assert PHONE not in str(trail(path))


def test_what_is_owed_stays_and_the_command_says_so(path: Path) -> None:
    receive(path, acme.text(from_did=PHONE))
    result = gateway(path, "forget", PHONE)
    assert result.exit_code == 1
    assert result.stdout.startswith("Erased 0 events")
    assert result.stderr.startswith("Event 1 stays: delivery to page.\nRun it again when these are settled")
    assert trail(path) == [("forget", "…5515", {"events": 0, "blanked": 0, "kept": 1})]
    answer(path)
    assert gateway(path, "forget", PHONE).exit_code == 0


@pytest.mark.parametrize("command", ["forget", "export"])
@pytest.mark.parametrize(("phone", "said"), [("nobody", "is no phone number"), ("12345", "one of your own numbers")])
def test_only_a_phone_is_taken(path: Path, command: str, phone: str, said: str) -> None:
    result = gateway(path, command, phone)
    assert result.exit_code == 1 and said in result.stderr
    assert not (path.parent / "data").exists()


def test_all_of_a_phone_is_exported_for_its_owner_alone_and_no_secret(path: Path) -> None:
    receive(path, acme.text(from_did=PHONE, message="what I wrote"))
    answer(path)
    file = path.parent / "person.json"
    assert gateway(path, "export", PHONE, "--to", str(file)).output == ""
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    written = file.read_text()
    (event,) = json.loads(written)["events"]
    (delivery,) = event["deliveries"]
    assert "what I wrote" in event["body"] and "what+I+wrote" in delivery["body"]
    (attempt,) = delivery["attempts"]
    assert attempt["status"] == 200 and "base64" in attempt["answer_body"]
    assert "canary" not in written
    assert trail(path)[0] == ("export", "…5515", {"events": 1, "sends": 0})
    result = gateway(path, "export", PHONE, "--to", str(file))
    assert result.exit_code == 1 and "cannot be written" in result.stderr and file.read_text() == written


def test_a_running_gateway_goes_on_taking_callbacks_while_a_phone_is_forgotten(tmp_path: Path) -> None:
    routes = '[[number]]\nnumber = "15162065919"\nshortcode = "12345"\n'
    with running_gateway(tmp_path, routes) as running, ThreadPoolExecutor(2) as pool:
        path = tmp_path / "gateway.toml"
        receive(path, *(acme.text(from_did=PHONE, message_sid=f"sid-{turn}") for turn in range(200)))
        forgotten, sent = pool.submit(gateway, path, "forget", PHONE), 0
        while not forgotten.done():
            body = acme.text(from_did=OTHER, message_sid=f"other-{sent}")
            assert running.post("/carrierx/callback", body, "application/json").status == 200
            sent += 1
        assert forgotten.result().exit_code == 0 and sent > 0
        found = running.rows("SELECT phone, count(*) AS many FROM events GROUP BY phone")
        assert found == [{"phone": OTHER, "many": sent}]
