"""Logins at a gateway with two web processes, over real sockets and on both databases."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.running import BASE, KEY, PASSWORD, Gateway, until

FORM = {"Content-Type": "application/x-www-form-urlencoded"}
LEGACY = """
[legacy]
user_name = "acme"
password = "the-password-of-programs"

[[number]]
number = "15162065919"
shortcode = "12345"
"""


@pytest.fixture
def gateway(tmp_path: Path, database_url: str) -> Iterator[Gateway]:
    made = Gateway(tmp_path / "gateway", BASE.replace("sqlite:///data/gateway.db", database_url) + LEGACY)
    made.process.command += ["--workers", "2"]
    try:
        made.start()
        yield made
    finally:
        made.kill()


def log_in(gateway: Gateway, password: str = PASSWORD, session: requests.Session | None = None) -> requests.Response:
    session = session or requests.Session()
    page = session.get(f"{gateway.url}/login").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)
    assert token, page
    data = {"csrf_token": token[1], "password": password}
    answer = session.post(f"{gateway.url}/login", data, allow_redirects=False)
    # Each request on a connection of its own, so that both processes answer some.
    answer.connection.close()
    return answer


def ask(gateway: Gateway, cookie: str, times: int = 40) -> Counter[int]:
    answers = [gateway.call("GET", "/events", headers={"Cookie": f"gateway_session={cookie}"}) for _ in range(times)]
    return Counter(answer.status for answer in answers)


def test_logged_out_is_logged_out_everywhere_and_after_a_restart(gateway: Gateway) -> None:
    session = requests.Session()
    log_in(gateway, session=session)
    cookie = session.cookies["gateway_session"]
    assert ask(gateway, cookie) == {200: 40}
    token = re.search(r'name="csrf_token" value="([^"]+)"', session.get(f"{gateway.url}/").text)
    assert token
    session.post(f"{gateway.url}/logout", {"csrf_token": token[1]})
    assert ask(gateway, cookie) == {303: 40}
    gateway.kill()
    gateway.start()
    assert ask(gateway, cookie, 10) == {303: 10}


def test_two_processes_let_no_more_guesses_through_than_one(gateway: Gateway) -> None:
    owner = requests.Session()
    log_in(gateway, session=owner)
    answers = Counter(log_in(gateway, f"guess {number}").status_code for number in range(30))
    assert answers == {403: 9, 429: 21}, "the owner's first login was counted, too"
    assert log_in(gateway).status_code == 429, "a stranger with the right password"
    owner.cookies.clear(domain="127.0.0.1", path="/", name="gateway_session")
    assert log_in(gateway, session=owner).status_code == 303


def test_guesses_at_credentials_hold_up_no_program(gateway: Gateway) -> None:
    def call(password: str) -> int:
        body = f"user_name=acme&password={password}&code=12345&sendTo=15162065515&message=hello".encode()
        return gateway.call("POST", "/legacy/sendMessage", body, FORM).status

    assert call("the-password-of-programs") == 200
    answers = Counter(call(f"guess-{number}") for number in range(300))
    assert set(answers) == {200, 429} and answers[200] <= 61, "200 is an answer with an error code"
    assert Counter(call("the-password-of-programs") for _ in range(40)) == {200: 40}


def test_guesses_at_keys_hold_up_no_platform(gateway: Gateway) -> None:
    update = b"code=12345&sendTo=15162065515&status=delivered&ticket=some-ticket"
    assert gateway.call("POST", f"/legacy/status/{KEY}", update, FORM).status == 200

    def guess() -> int:
        return gateway.call("POST", "/legacy/status/wrong-key-of-a-stranger", update, FORM).status

    answers = Counter(guess() for _ in range(300))
    assert set(answers) == {403, 429} and answers[429] > 200
    until(lambda: guess() == 429, "both processes know")
    answers = Counter(gateway.call("POST", f"/legacy/status/{KEY}", update, FORM).status for _ in range(40))
    assert answers == {200: 40}
