"""Texts back to a phone: keywords' replies, endpoints' answers, STOP, START and HELP; on both databases."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Config, Number
from gateway.delivery.batch import Batch
from gateway.inbound import accept
from gateway.inbound.accept import reroute
from gateway.inbound.callback import Accepted, Callback
from gateway.matching import keywords
from gateway.outbound import replies
from gateway.store import Store, leases, message_status, replay
from gateway.store.leases import ClaimLimit, SettledDelivery
from tests import acme, sends

Text = Callable[..., Accepted]


def with_number(config: Config, **changes: Any) -> Config:
    first, *others = config.numbers
    return replace(config, numbers=(replace(first, **changes), *others))


def with_reply(config: Config, reply: str, **changes: Any) -> Config:
    keywords = tuple(replace(one, reply=reply, **changes) for one in config.numbers[0].keywords)
    return with_number(config, keywords=keywords)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return sends.config(tmp_path)


@pytest.fixture
def text(store: Store, config: Config) -> Text:
    times = iter(range(1000))

    def texting(message: str, config: Config = config, **changes: Any) -> Accepted:
        number = next(times)
        body = acme.text(message=message, message_sid=f"sid-{number}", **changes)
        now = acme.NOW + timedelta(seconds=number)
        callback = Callback(format="carrierx", body=body, content_type=None, remote="", now=now)
        return accept.accept(callback, config, store)

    return texting


def texted_back(store: Store) -> list[str]:
    owed = sends.rows(store, "SELECT body FROM deliveries WHERE endpoint = '@carrierx' ORDER BY id")
    return [json.loads(row.body)["message"] for row in owed]


def is_out(store: Store, phone: str = sends.PHONE) -> bool:
    with store.reader() as conn:
        return message_status.has_opted_out(conn, sends.NUMBER, phone)


def test_a_keyword_replies(store: Store, config: Config, text: Text) -> None:
    kept = text("join", with_reply(config, "Welcome! é"))
    assert "@carrierx" in kept.endpoints and texted_back(store) == ["Welcome! é"]
    entry = sends.entry(store)
    assert (entry.origin, entry.phone, entry.number) == ("reply", sends.PHONE, sends.NUMBER)
    assert (entry.ticket_number, entry.custom_ticket, entry.status_url) == (kept.event_id, "", "")


def test_a_text_that_comes_twice_is_answered_once(store: Store, config: Config) -> None:
    config = with_reply(config, "Welcome!")
    for _ in range(2):
        callback = Callback(format="carrierx", body=acme.text(), content_type=None, remote="", now=acme.NOW)
        accept.accept(callback, config, store)
    assert texted_back(store) == ["Welcome!"]


def test_a_reply_alone_is_an_answer(store: Store, config: Config, text: Text) -> None:
    assert text("join", with_reply(config, "Welcome!", callback=())).state == "accepted"


def test_a_keyword_of_the_platform_replies_too(store: Store, config: Config) -> None:
    callback = Callback(
        format="legacy-callback", body=acme.keyword_callback(), content_type=None, remote="", now=acme.NOW
    )
    config = replace(with_reply(config, "Welcome!"), legacy=None)
    assert accept.accept(callback, config, store).state == "accepted" and texted_back(store) == ["Welcome!"]


def test_the_custom_ticket_of_the_last_send_survives_a_reply(store: Store, config: Config, text: Text) -> None:
    sends.accept(store, config)
    for _ in range(2):
        text("join", with_reply(config, "Welcome!"))
    pages = sends.rows(store, "SELECT body FROM deliveries WHERE endpoint = 'page'")
    assert [b"custom_ticket=order-7" in bytes(row.body) for row in pages] == [True, True]


@pytest.mark.parametrize(
    "word", ["STOP", "stop.", " “Stop”! ", "Stop all", "STOPALL", "unsubscribe", "Cancel", "END", "quit"]
)
def test_words_that_opt_out(store: Store, text: Text, word: str) -> None:
    """Recorded, and still delivered to the application."""
    kept = text(word)
    assert kept.state == "accepted" and kept.endpoints == ("app",)
    assert is_out(store) and texted_back(store) == []


def test_a_word_that_opts_out_counts_though_the_text_goes_nowhere(store: Store, text: Text) -> None:
    assert text("STOP", to_did="15162065900").state == "unrouted"
    with store.reader() as conn:
        assert message_status.has_opted_out(conn, "15162065900", sends.PHONE)


@pytest.mark.parametrize("words", ["Stop by at 5", "the END", "don't stop", "STOP" * 11, "", "STOP ACME"])
def test_words_that_do_not(store: Store, text: Text, words: str) -> None:
    text(words)
    assert not is_out(store)


@pytest.mark.parametrize("word", ["START", "unstop!"])
def test_words_that_come_back(store: Store, text: Text, word: str) -> None:
    text("STOP")
    text(word)
    assert not is_out(store)


@pytest.mark.parametrize("word", ["HELP", "info?"])
def test_words_that_ask(store: Store, text: Text, word: str) -> None:
    text("STOP")
    text(word)
    assert is_out(store)


def test_every_word_is_known() -> None:
    kinds = {
        word: keywords.opt_out_word(word.lower()) for word in ("STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "INFO")
    }
    assert kinds == {
        "STOP": ("stop", "STOP"),
        "STOPALL": ("stop", "STOPALL"),
        "STOP ALL": ("stop", "STOPALL"),
        "UNSUBSCRIBE": ("stop", "UNSUBSCRIBE"),
        "INFO": ("help", "INFO"),
    }
    assert keywords.opt_out_word(None) is None


def test_each_number_has_its_own(store: Store, text: Text) -> None:
    text("STOP", to_did="15162065900")
    assert not is_out(store)


def test_by_the_keyword_platform_too(store: Store, config: Config) -> None:
    body = acme.keyword_callback(message="STOP", keyword="")
    callback = Callback(format="legacy-callback", body=body, content_type=None, remote="", now=acme.NOW)
    accept.accept(callback, replace(config, legacy=None), store)
    assert is_out(store)


def test_switched_off(store: Store, config: Config, text: Text) -> None:
    text("STOP", with_number(config, opt_out="off"))
    assert not is_out(store) and texted_back(store) == []


def test_answered(store: Store, config: Config, text: Text) -> None:
    """STOP is answered once: a phone that says it again may be a machine that answers every text."""
    config = with_number(config, opt_out="reply")
    for word in ("STOP", "stop", "HELP", "START", "START"):
        text(word, config)
    kinds = [("unsubscribed" in said, "HELP" not in said and "rates" in said) for said in texted_back(store)]
    assert kinds == [(True, False), (False, True), (False, False)]
    assert all(said.startswith("Acme alerts: ") for said in texted_back(store))
    assert {entry.origin for entry in sends.entries(store)} == {"opt-out"}


def test_a_keyword_of_its_own_answers_instead(store: Store, config: Config, text: Text) -> None:
    keyword = replace(config.numbers[0].keywords[0], word="HELP", reply="Call 555-1234", callback=())
    config = with_number(config, opt_out="reply", keywords=(keyword,))
    text("help", config)
    assert texted_back(store) == ["Call 555-1234"]


def test_who_is_out_gets_no_reply(store: Store, config: Config, text: Text) -> None:
    text("STOP")
    kept = text("join", with_reply(config, "Welcome!"))
    assert kept.state == "accepted" and texted_back(store) == []


def test_an_unknown_number_has_no_opt_outs(store: Store, text: Text) -> None:
    assert text("STOP", to_did="15550001111").state == "unrouted"
    assert sends.rows(store, "SELECT * FROM opt_outs") == []


def test_rerouted_texts_are_not_answered(store: Store, config: Config, text: Text) -> None:
    kept = text("join", with_number(config, keywords=(), callback=()))
    assert kept.state == "unrouted"
    assert reroute(kept.event_id, with_reply(config, "Welcome!"), store)
    assert texted_back(store) == []


def answer(store: Store, config: Config, reply: str, *, too_late: bool = False) -> frozenset[str]:
    """Settles as the worker does, with this answer of the endpoint. `too_late`: another worker has the deliveries."""

    def settle(conn: Any) -> frozenset[str]:
        now, limits, seconds = sends.AT + 60, {"page": ClaimLimit(9), "app": ClaimLimit(9)}, {"page": 45.0, "app": 45.0}
        claimed = leases.claim(conn, "me", limits, now, seconds)
        if too_late:
            now += 45
            leases.claim(conn, "another", limits, now, seconds)
        said = [
            SettledDelivery(claimed=one, outcome="succeeded", finished_at=now, reply=reply if one.replies else "")
            for one in claimed
        ]
        batch = Batch(owner="me", config=config, now=now, settled=said, owe_replies=replies.owe_replies)
        return frozenset(batch.write(conn).owed)

    return store.writer.write(settle)


def test_what_the_first_endpoint_answers(store: Store, config: Config, text: Text) -> None:
    config = with_reply(config, "response")
    text("join", config)
    assert texted_back(store) == []
    assert [row.replies for row in sends.rows(store, "SELECT replies FROM deliveries ORDER BY id")] == [True, None]
    assert answer(store, config, "You are in, Zoë") == {"@carrierx"}
    assert texted_back(store) == ["You are in, Zoë"] and sends.entry(store).origin == "reply"


def test_no_answer_no_reply(store: Store, config: Config, text: Text) -> None:
    config = with_reply(config, "response")
    text("join", config)
    assert answer(store, config, "") == frozenset() and texted_back(store) == []


def test_an_answer_of_a_lease_that_was_lost(store: Store, config: Config, text: Text) -> None:
    """The worker that has the delivery by now gets an answer of its own, and that one is texted."""
    config = with_reply(config, "response")
    text("join", config)
    assert answer(store, config, "Too late", too_late=True) == frozenset() and texted_back(store) == []


def test_an_answer_is_texted_once_whatever_is_replayed(store: Store, config: Config, text: Text) -> None:
    config = with_reply(config, "response")
    text("join", config)
    answer(store, config, "You are in")
    which = replay.ReplayFilter(state="succeeded", endpoint="page")
    assert replay.replay_all(store, which, sends.AT, 0.0) == 1
    assert answer(store, config, "You are in") == frozenset() and texted_back(store) == ["You are in"]


def test_an_answer_to_whom_is_out(store: Store, config: Config, text: Text) -> None:
    config = with_reply(config, "response")
    text("join", config)
    text("STOP", config)
    assert answer(store, config, "You are in") == frozenset()


def test_what_endpoints_answer_to_a_rerouted_text_is_not_texted(store: Store, config: Config, text: Text) -> None:
    kept = text("join", with_number(config, keywords=(), callback=()))
    config = with_reply(config, "response")
    assert reroute(kept.event_id, config, store)
    assert answer(store, config, "You are in") == frozenset() and texted_back(store) == []


def test_an_answer_from_a_number_that_is_no_more(store: Store, config: Config, text: Text) -> None:
    text("join", with_reply(config, "response"))
    assert answer(store, replace(config, numbers=()), "You are in") == frozenset()


def test_a_number_without_a_title_is_called_by_its_code() -> None:
    assert Number(number="1", shortcode="2").opt_out == "record"
