"""How things stand, for the console and for `/metrics`: breakers, the worker, silent keywords."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask

from gateway.config import Config, Keyword, Number
from gateway.store import Connection, Store, events, health
from gateway.store.health import MAX_TEXTS, gauges, newest_texts
from gateway.web.console import templating
from gateway.web.status_cache import FRESH_SECONDS, KEYWORDS_FRESH_SECONDS, Cached, KeywordActivity
from tests.visitor import Visitor, console
from tests.web.test_console import CONFIG, call, store_of
from tests.web.test_console import words as read

NOW = 1_700_000_000.0
ONE, OTHER = "15162065919", "15162065920"
STATE = health.BreakerState(endpoint="page", state="open", since=NOW, until=NOW + 20, reason="", failures=7)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, CONFIG) as made:
        yield made


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    made = Visitor(app)
    made.log_in()
    return made


def config(**numbers: tuple[str, ...]) -> Config:
    """Number (``n15162065919``) → its words."""
    made = (
        Number(number=name[1:], shortcode="1", keywords=tuple(Keyword(word=word) for word in words))
        for name, words in numbers.items()
    )
    return Config(folder=Path(), data=Path(), database="", numbers=tuple(made))


def came(store: Store, number: str, word: str, at: float, times: int = 1) -> None:
    def work(conn: Connection) -> None:
        for more in range(times):
            new = events.NewEvent(
                source="carrierx", state="accepted", received_at=at + more, body=b"", number=number, keyword=word
            )
            events.add(conn, new)

    store.writer.write(work)


def heard(store: Store, silence: KeywordActivity, asked: Config) -> dict[tuple[str, str], float]:
    with store.reader() as conn:
        return dict(silence.look(conn, asked, 5.0))


def test_silence(store: Store) -> None:
    silence, asked = KeywordActivity(), config(n15162065919=("JOIN", "STOP"), n15162065920=("JOIN",))
    assert heard(store, silence, asked) == {(ONE, "JOIN"): 5.0, (ONE, "STOP"): 5.0, (OTHER, "JOIN"): 5.0}
    came(store, ONE, "JOIN", NOW)
    came(store, ONE, "join", NOW + 10)  # as a platform may spell it
    came(store, OTHER, "JOIN", NOW - 10)
    assert heard(store, silence, asked) == {(ONE, "JOIN"): NOW + 10, (ONE, "STOP"): 5.0, (OTHER, "JOIN"): NOW - 10}
    assert heard(store, silence, config()) == {}


def test_a_loud_number_does_not_hide_what_was_seen_of_a_quiet_one(store: Store) -> None:
    silence, asked = KeywordActivity(), config(n15162065919=("JOIN",), n15162065920=("JOIN",))
    came(store, OTHER, "JOIN", NOW)
    heard(store, silence, asked)
    came(store, ONE, "JOIN", NOW + 1, times=MAX_TEXTS + 50)
    assert heard(store, silence, asked)[OTHER, "JOIN"] == NOW
    # Who starts now looks back only so far, and says what he knows; from then on it grows.
    fresh = KeywordActivity()
    horizon = heard(store, fresh, asked)[OTHER, "JOIN"]
    assert horizon == NOW + 51
    came(store, ONE, "JOIN", NOW + 2000, times=MAX_TEXTS)
    assert heard(store, fresh, asked)[OTHER, "JOIN"] == horizon


def test_each_look_at_a_word_ends_after_so_many_events(store: Store) -> None:
    came(store, ONE, "JOIN", NOW, times=MAX_TEXTS + 50)
    with store.reader() as conn:
        alone = newest_texts(conn, ["JOIN"], [ONE])
        both = newest_texts(conn, ["JOIN"], [ONE, OTHER])
        none = newest_texts(conn, ["NEVER"], [ONE])
    assert (alone.by_number, alone.horizon) == ({ONE: NOW + MAX_TEXTS + 49}, None)
    assert (both.by_number, both.horizon) == ({ONE: NOW + MAX_TEXTS + 49}, NOW + 50)
    assert (none.by_number, none.horizon) == ({}, None)


def test_gauges_of_an_empty_store(store: Store) -> None:
    with store.reader() as conn:
        found = gauges(conn)
    assert (found.owed, found.oldest, found.dead, found.oldest_event, found.worker) == ({}, {}, {}, None, None)


def test_signs_of_life_are_apart(store: Store) -> None:
    assert store.ready()
    with store.reader() as conn:
        assert gauges(conn).worker is None
    store.writer.write(lambda conn: health.beat(conn, health.WORKER))
    with store.reader() as conn:
        assert abs(time.time() - (gauges(conn).worker or 0)) < 60


def test_answers_are_kept_while_they_are_good() -> None:
    answers = iter(range(10))
    kept: Cached[int] = Cached(FRESH_SECONDS)
    config_now, changed = object(), object()
    assert [kept.get(lambda: next(answers), config_now) for _ in range(3)] == [0, 0, 0]
    assert kept.get(lambda: next(answers), changed) == 1
    anew: Cached[int] = Cached(0.0)
    assert anew.get(lambda: 1) == 1 and anew.get(lambda: 2) in (1, 2)
    assert FRESH_SECONDS < KEYWORDS_FRESH_SECONDS


@pytest.mark.parametrize(
    ("state", "badge", "text"),
    [
        (STATE, "paused", "until 22:13:40: 7 failures in a row; next probe in 20 s"),
        (
            replace(STATE, reason="it asks", failures=1),
            "paused",
            "until 22:13:40: it asks; next probe in 20 s",
        ),
        (replace(STATE, state="half_open"), "probed", "since 22:13:20, one delivery at a time: 7 failures in a row"),
        (replace(STATE, state="ramp"), "recovering", "since 22:13:20: more and more deliveries side by side"),
    ],
)
def test_breakers_in_words(state: health.BreakerState, badge: str, text: str) -> None:
    assert templating.breaker_label(state, NOW) == templating.BreakerLabel(badge, text)


def test_the_worker_in_words() -> None:
    assert "ever" in templating.worker_warning(None, NOW)
    assert templating.worker_warning(NOW - 59, NOW) == ""
    assert templating.worker_warning(NOW - 180, NOW).startswith("No worker has been seen for 3 min")


def test_the_overview_says_all_of_it(app: Flask, visitor: Visitor) -> None:
    said = read(visitor.get("/"))
    assert "No worker has ever run" in said and "Silent keywords" not in said
    now = time.time()
    state = replace(STATE, since=now, until=now + 20)

    def work(conn: Connection) -> None:
        health.beat(conn, health.WORKER)
        health.record_breakers(conn, "worker-1", [state], now)

    store_of(app).writer.write(work)
    came(store_of(app), ONE, "JOIN", now - 3 * 86_400 - 60)
    call(app, b"{")
    app.extensions["gateway"].status_cache.__init__(store_of(app))  # as after five seconds
    said = read(visitor.get("/"))
    assert "No worker" not in said and "Worker seen 0 s ago" in said
    assert "page paused until" in said and "7 failures in a row; next probe in" in said
    assert "app working" in said
    assert "Silent keywords" in said and "JOIN 12345 no event kept Acme alerts" in said
    came(store_of(app), ONE, "", now - 4 * 86_400)
    app.extensions["gateway"].status_cache.__init__(store_of(app))
    assert "JOIN 12345 3 d since" in read(visitor.get("/"))
