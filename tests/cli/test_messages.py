"""`gateway translate` and `gateway replay`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import text as sql

from gateway.__main__ import main
from gateway.config import load
from gateway.inbound import accept
from gateway.inbound.callback import Callback
from gateway.store import Connection, Store, leases
from gateway.store.retention import blank
from tests import acme


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text(acme.TOML.format(database="sqlite:///data/gateway.db"), encoding="utf-8")
    return file


def gateway(path: Path, *arguments: str, given: bytes = b"") -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(path)], input=given)


def translated(path: Path, source: str, target: str, body: bytes) -> bytes:
    result = gateway(path, "translate", "--from", source, "--to", target, given=body)
    assert result.exit_code == 0, result.output
    return result.stdout_bytes


def fields(body: bytes) -> dict[str, list[str]]:
    return parse_qs(body.decode(), keep_blank_values=True)


def test_json_becomes_a_form_with_what_the_configuration_knows(path: Path) -> None:
    form = fields(translated(path, "carrierx", "legacy-callback", acme.text()))
    assert form["message"] == ["join é 🎉 &=+%"] and form["shortcode"] == ["12345"] and form["keyword"] == ["JOIN"]
    assert form["title"] == ["Summer sign-up"] and form["carrier"] == ["T-Mobile US"]


def test_there_and_back_is_the_same(path: Path) -> None:
    there = translated(path, "legacy-callback", "carrierx", acme.keyword_callback())
    assert json.loads(there)["to_did"] == "15162065919"
    assert fields(translated(path, "carrierx", "legacy-callback", there)) == fields(acme.keyword_callback())
    post = acme.status_post(status="Delivered")
    there = translated(path, "legacy-status", "carrierx", post)
    assert json.loads(there)["status"] == "delivered"
    assert fields(translated(path, "carrierx", "legacy-status", there)) == fields(post)


def test_a_group_is_a_line_each(path: Path) -> None:
    body = acme.update(group_recipients=["15162065516", "15162065515"])
    lines = translated(path, "carrierx", "legacy-status", body).splitlines()
    assert [fields(line)["sendTo"] for line in lines] == [["15162065515"], ["15162065516"]]


def test_what_is_wrong_is_said(path: Path) -> None:
    result = gateway(path, "translate", "--from", "legacy-callback", "--to", "carrierx", given=b"message=hello")
    assert result.exit_code == 1 and "phone: Missing" in result.output and "shortcode" in result.output
    result = gateway(path, "translate", "--from", "carrierx", "--to", "legacy-status", given=acme.text())
    assert result.exit_code == 1 and "cannot be written" in result.output


def test_notes_are_said_beside_it(path: Path) -> None:
    given = acme.status_post(status="on its way")
    result = gateway(path, "translate", "--from", "legacy-status", "--to", "carrierx", given=given)
    assert result.exit_code == 0 and "Note: " in result.stderr and b"Note" not in result.stdout_bytes


def owe(path: Path, *bodies: bytes) -> None:
    config = load(path, {})
    with Store(config.database) as store:
        store.migrate()
        for body in bodies:
            now = datetime.now(UTC)
            accept.accept(Callback(format="carrierx", body=body, content_type=None, remote="", now=now), config, store)


def bury(path: Path, endpoint: str) -> None:
    """Everything owed to this endpoint is dead."""

    def work(connection: Connection) -> None:
        claimed = leases.claim(connection, "tests", {endpoint: leases.ClaimLimit(100)}, 2e9, {endpoint: 10.0})
        dead = [leases.SettledDelivery(claimed=one, outcome="dead", finished_at=1e9, sentence="no") for one in claimed]
        leases.settle_all(connection, "tests", dead, 1e9)

    with Store(load(path, {}).database) as store:
        store.writer.write(work)


def rows(path: Path, query: str) -> list[Any]:
    with Store(load(path, {}).database) as store, store.reader() as connection:
        return list(connection.execute(sql(query)))


def states(path: Path) -> list[tuple[str, str]]:
    return [(row.endpoint, row.state) for row in rows(path, "SELECT endpoint, state FROM deliveries ORDER BY id")]


def test_replay_puts_the_dead_of_an_endpoint_back(path: Path) -> None:
    owe(path, acme.text())
    bury(path, "page")
    bury(path, "app")
    assert states(path) == [("page", "dead"), ("app", "dead")]
    result = gateway(path, "replay", "--endpoint", "page")
    assert result.exit_code == 0 and "Put back 1" in result.output
    assert states(path) == [("page", "pending"), ("app", "dead")]


@pytest.mark.parametrize(
    ("since", "count"), [("2001-09-09", 1), ("2001-09-10T00:00", 0), ("2d", 0), ("2001-09-09T03:40+02:00", 1)]
)
def test_replay_since(path: Path, since: str, count: int) -> None:
    owe(path, acme.text())
    bury(path, "page")
    result = gateway(path, "replay", "--since", since)
    assert result.exit_code == 0 and f"Put back {count}" in result.output


def test_replay_routes_the_unrouted(path: Path) -> None:
    owe(path, acme.text(to_did="15550001111"), acme.text(to_did="15550002222", message_sid="another"))
    assert "Routed 0; 2 still" in gateway(path, "replay", "--state", "unrouted").output
    with path.open("a") as file:
        file.write('\n[[number]]\nnumber = "15550001111"\ncallback = ["page"]\n')
    assert "Routed 1; 1 still" in gateway(path, "replay", "--state", "unrouted").output
    assert states(path) == [("page", "pending")]


def test_what_is_blanked_is_not_put_back_and_it_is_said(path: Path) -> None:
    owe(path, acme.text(), acme.text(to_did="15550001111", message_sid="another"))
    bury(path, "page")
    bury(path, "app")
    with Store(load(path, {}).database) as store:
        assert store.writer.write(partial(blank, before=4e9, now=4e9, seconds=60.0)).events == 2
    result = gateway(path, "replay", "--endpoint", "page")
    assert "Put back 0" in result.stdout and "1 cannot be sent again: their bodies are deleted" in result.stderr
    result = gateway(path, "replay", "--state", "unrouted")
    assert "Routed 0; 0 still" in result.stdout and "1 cannot be routed: their texts are deleted" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--endpoint", "pgae"), "Known: page, app"),
        (("--endpoint", "page", "--state", "unrouted"), "no endpoint yet"),
        (("--since", "yesterday"), "how long ago"),
        (("--since", "999999d"), "how long ago"),
    ],
)
def test_replay_says_what_is_wrong(path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = gateway(path, "replay", *arguments)
    assert result.exit_code != 0 and said in result.output
