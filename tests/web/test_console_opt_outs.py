"""The console's page about who wants no texts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from structlog.testing import capture_logs

from gateway.store import message_status
from tests.visitor import Visitor, console
from tests.web.test_console import CONFIG, HOSTILE, store_of, words


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, CONFIG) as made:
        yield made


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    made = Visitor(app)
    made.log_in()
    return made


def out(app: Flask, phone: str, number: str = "15162065919") -> message_status.OptOut | None:
    with store_of(app).reader() as connection:
        return message_status.opt_out_of(connection, number, phone)


def test_opt_outs_are_recorded_and_lifted_by_hand(app: Flask, visitor: Visitor) -> None:
    assert "None found." in words(visitor.get("/opt-outs"))
    with capture_logs() as logs:
        answer = visitor.post("/opt-outs", phone="+1 (516) 206-5515", number="12345", what="record")
    assert [each["event"] for each in logs] == ["audit", "opt_out_noted"] and "206551" not in str(logs), (
        "no whole phone"
    )
    assert (answer.status_code, answer.headers["Location"]) == (303, "/opt-outs?phone=15162065515")
    said = words(visitor.get("/opt-outs?phone=15162065515"))
    assert "15162065515 15162065919 out by hand" in said and "Recorded: 15162065515 gets no texts" in said
    found = out(app, "15162065515")
    assert found and found.out
    with capture_logs() as logs:
        visitor.post("/opt-outs", phone="15162065515", number="15162065919", what="lift")
    assert (logs[0]["action"], logs[0]["subject"], logs[1]["out"]) == ("opt-out lifted", "phone …5515", False)
    assert "Lifted: 15162065515 gets texts from 15162065919 again." in words(visitor.get("/opt-outs"))
    found = out(app, "15162065515")
    assert found and not found.out


@pytest.mark.parametrize(
    "data", [{"phone": "", "number": "12345"}, {"phone": "x", "number": "12345"}, {"phone": "15162065515"}]
)
def test_an_opt_out_of_nobody(visitor: Visitor, data: dict[str, str]) -> None:
    assert visitor.post("/opt-outs", **data).status_code == 400


def test_opt_outs_are_searched_and_paged(app: Flask, visitor: Visitor) -> None:
    for turn in range(51):
        work = partial(
            message_status.record_opt_out,
            number="15162065919",
            phone=f"1516555{turn:04}",
            word="STOP",
            at=1.0,
            out=True,
        )
        store_of(app).writer.write(work)
    store_of(app).writer.write(
        partial(message_status.record_opt_out, number="99", phone="15165550000", word=HOSTILE, at=1.0, out=True)
    )
    for path, count in (("/opt-outs", 50), ("/opt-outs?number=12345", 50)):
        first = visitor.get(path)
        assert first.text.count(">Lift</button></form>") == count
        (following,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
        second = visitor.get(html.unescape(following))
        assert second.text.count(">Lift</button></form>") == (2 if path == "/opt-outs" else 1)
        assert "First page" in second.text and 'rel="next"' not in second.text
    said = visitor.get("/opt-outs?phone=15165550000")
    assert said.text.count(">Lift</button></form>") == 2 and "<script" not in said.text
    assert "15165550000 99 out" in words(visitor.get("/opt-outs?phone=15165550000&number=99"))
    assert "None found." in words(visitor.get(f"/opt-outs?phone={HOSTILE}"))
