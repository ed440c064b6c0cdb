"""Sessions and limits as several web processes share them, on both databases."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.exceptions import TooManyRequests

from gateway.store import Store
from gateway.web.limits import MOST, WINDOW_SECONDS, RateLimits, guesses
from tests.store_samples import count
from tests.visitor import BASE, KEY, PASSWORD, Visitor, console
from tests.web.test_login import JSON, basic, change

SECRET, OLD_SECRET = "a session secret of the tests", "an older session secret"


class Processes:
    """Web processes of one gateway, each with an application and a store of its own."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder, self._opened = folder, ExitStack()
        self.text = BASE.replace("sqlite:///data/gateway.db", database) + f'session_secret = "{SECRET}"\n'
        self.text += '[[operator]]\nname = "alice"\nrole = "admin"\npassword = "${ALICE}"\n'

    def start(self) -> Flask:
        return self._opened.enter_context(console(self.folder, self.text, environ={"ALICE": "the password of alice"}))

    def stop(self) -> None:
        self._opened.close()


@pytest.fixture
def processes(tmp_path: Path, store: Store) -> Iterator[Processes]:
    made = Processes(tmp_path, store.url)
    yield made
    made.stop()


def with_cookies(app: Flask, *of: Visitor, **environ: str) -> Visitor:
    """A browser with the cookies of another one."""
    visitor = Visitor(app, **environ)
    for other in of:
        for name in ("gateway_session", "gateway_device"):
            if cookie := other.client.get_cookie(name):
                visitor.client.set_cookie(name, cookie.value)
    return visitor


def test_who_logs_out_is_out_of_every_process_and_stays_out(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    visitor = Visitor(one)
    visitor.log_in()
    thief = with_cookies(other, visitor)
    assert thief.get("/").status_code == 200
    visitor.post("/logout", page="/")
    assert thief.get("/").status_code == 303
    assert with_cookies(processes.start(), thief).get("/").status_code == 303, "a process that was started later"


def test_the_store_has_no_cookie_in_it(processes: Processes, store: Store) -> None:
    visitor = Visitor(processes.start())
    visitor.log_in()
    with visitor.client.session_transaction() as session:
        secret = session["id"]
    with store.reader() as conn:
        rows = conn.exec_driver_sql("SELECT * FROM sessions").fetchall()
    assert len(rows) == 1 and secret not in str(rows) and PASSWORD not in str(rows)


def test_guesses_count_before_the_store_has_them(store: Store) -> None:
    limits, release, guess = RateLimits(store), threading.Event(), partial(guesses, "key")
    store.writer.submit(lambda _: release.wait(60))
    for _ in range(MOST["key"]):
        limits.count_later(1e9, *guess("10.0.0.1"))
    with pytest.raises(TooManyRequests):
        limits.count_later(1e9, *guess("10.0.0.1"))
    limits.count_later(1e9, *guess("10.0.0.2"))
    release.set()
    later = 1e9 + WINDOW_SECONDS + 1
    store.writer.write(lambda _: None)
    for _ in range(MOST["key"]):
        limits.count_later(later, *guess("10.0.0.1"))
        store.writer.write(lambda _: None)
    with pytest.raises(TooManyRequests):
        limits.count_later(later, *guess("10.0.0.1"))


def test_guesses_at_all_processes_count_together(processes: Processes) -> None:
    visitors = [Visitor(processes.start()), Visitor(processes.start())]
    answers = [visitors[number % 2].log_in(f"guess {number}").status_code for number in range(12)]
    assert answers == [403] * 10 + [429] * 2
    assert visitors[0].log_in().status_code == 429
    assert Visitor(processes.start()).log_in().status_code == 429, "a process that was started later"


def test_guesses_from_many_addresses_count_against_the_operator(processes: Processes) -> None:
    app = processes.start()
    answers = [
        Visitor(app, REMOTE_ADDR=f"192.0.2.{number}").log_in(f"guess {number}", name="alice").status_code
        for number in range(22)
    ]
    assert answers == [403] * 20 + [429] * 2
    assert Visitor(app, REMOTE_ADDR="192.0.2.99").log_in(name="admin").status_code == 303, "another operator"


def test_the_owner_gets_in_beside_a_guesser_of_the_same_address(processes: Processes) -> None:
    one, other = processes.start(), processes.start()
    owner, guesser = Visitor(one), Visitor(one)
    owner.log_in()  # counts, as it was not known to be right
    owner.post("/logout", page="/")
    assert [guesser.log_in(f"guess {number}").status_code for number in range(10)] == [403] * 9 + [429]
    assert guesser.log_in().status_code == 429
    assert owner.log_in().status_code == 303
    owner.post("/logout", page="/")
    assert with_cookies(other, owner).log_in().status_code == 303, "a process that never saw the password"


def test_a_device_that_is_known_has_a_limit_of_its_own(processes: Processes) -> None:
    app = processes.start()
    owner = Visitor(app)
    owner.log_in()
    owner.post("/logout", page="/")
    thief = with_cookies(app, owner, REMOTE_ADDR="192.0.2.7")
    assert [thief.log_in(f"guess {number}").status_code for number in range(11)] == [403] * 10 + [429]
    assert thief.log_in().status_code == 429


@pytest.mark.parametrize("of", ["another operator", "nobody"])
def test_a_device_is_known_to_one_operator_alone(processes: Processes, of: str) -> None:
    app = processes.start()
    visitor = Visitor(app)
    if of == "another operator":
        visitor.log_in("the password of alice", name="alice")
        visitor.post("/logout", page="/")
    else:
        visitor.client.set_cookie("gateway_device", "e30.x.y")
    guesser = Visitor(app)
    for number in range(10):
        guesser.log_in(f"guess {number}")
    assert visitor.log_in().status_code == 429


def test_a_program_is_not_held_up_by_guesses_from_elsewhere_or_beside_it(processes: Processes) -> None:
    app = processes.start()

    def ask(password: str, address: str = "192.0.2.1", of: Flask = app) -> int:
        headers = {**JSON, **basic(password)}
        return of.test_client().get("/events", headers=headers, environ_base={"REMOTE_ADDR": address}).status_code

    assert ask(PASSWORD) == 200
    assert [ask(f"guess {number}", "192.0.2.2") for number in range(11)] == [401] * 10 + [429]
    assert ask(PASSWORD, "192.0.2.2") == 429, "who guesses does not learn which guess is right"
    assert ask(PASSWORD) == 200
    assert {ask(f"guess {number}") for number in range(30)} == {401}
    assert ask(PASSWORD) == 200
    assert ask(PASSWORD, of=processes.start()) == 200, "a process that never saw the password"


def test_an_idle_session_ends_earlier(processes: Processes) -> None:
    processes.text = processes.text.replace("[gateway]", "[gateway]\nsession_idle_minutes = 10")
    app = processes.start()
    visitor = Visitor(app)
    visitor.log_in()
    at = datetime.now(UTC)
    answers = []
    for minutes in (9, 9, 9, 11):
        at += timedelta(minutes=minutes)
        object.__setattr__(app.extensions["gateway"], "clock", lambda at=at: at)
        answers.append(visitor.get("/").status_code)
    assert answers == [200, 200, 200, 303]


def test_sessions_that_are_over_go_with_the_next_login(processes: Processes, store: Store) -> None:
    app = processes.start()
    Visitor(app).log_in()
    object.__setattr__(app.extensions["gateway"], "clock", lambda: datetime.now(UTC) + timedelta(hours=1))
    Visitor(app).log_in()
    assert count(store, "sessions") == 1


def test_the_session_secret_is_renewed_without_anybody_logged_out(processes: Processes) -> None:
    app = processes.start()
    visitor = Visitor(app)
    visitor.log_in()

    def renew(written: str) -> None:
        change(
            app, processes.folder, re.sub("(?m)^session_secret = .*$", f"session_secret = {written}", processes.text)
        )

    renew(f'["{OLD_SECRET}", "{SECRET}"]')
    assert visitor.get("/").status_code == 200
    younger = Visitor(app)
    younger.log_in()
    renew(f'["{OLD_SECRET}"]')
    assert visitor.get("/").status_code == 303
    assert younger.get("/").status_code == 200


def test_keys_and_others_passwords_end_no_session_where_there_is_a_secret(processes: Processes) -> None:
    app = processes.start()
    admin, alice = Visitor(app), Visitor(app)
    admin.log_in()
    alice.log_in("the password of alice", name="alice")
    change(
        app, processes.folder, processes.text.replace(PASSWORD, "another password").replace(KEY, "another-key-of-us")
    )
    assert (admin.get("/").status_code, alice.get("/").status_code) == (303, 200)


def test_an_operator_who_is_gone_is_out(processes: Processes) -> None:
    app = processes.start()
    alice = Visitor(app)
    alice.log_in("the password of alice", name="alice")
    change(app, processes.folder, processes.text.replace('"alice"', '"bob"'))
    assert alice.get("/").status_code == 303


def test_a_name_that_nobody_has_is_refused_like_a_wrong_password(processes: Processes) -> None:
    visitor = Visitor(processes.start())
    answers = [visitor.log_in(PASSWORD, name="nobody"), visitor.log_in("a wrong password", name="alice")]
    texts = {re.sub('value="[^"]*"', "", answer.text).replace("nobody", "alice") for answer in answers}
    assert [answer.status_code for answer in answers] == [403, 403] and len(texts) == 1
