"""The console says when everybody seems to come from one proxy that the configuration does not name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.visitor import BASE, KEY, Visitor, console
from tests.web.test_login import change

PROXY = "10.0.0.7"
SAID = "All callers seem to have one address."


def call(visitor: Visitor, times: int, **headers: str) -> None:
    for _ in range(times):
        visitor.client.post("/legacy/callback/wrong", headers=headers, environ_overrides=visitor._environ)


def test_a_proxy_is_named_until_it_is_trusted(tmp_path: Path) -> None:
    with console(tmp_path) as app:
        visitor = Visitor(app, REMOTE_ADDR=PROXY)
        visitor.client.environ_base["HTTP_X_FORWARDED_FOR"] = "192.0.2.1"
        visitor.log_in()
        assert SAID not in visitor.get("/").text, "a few requests say nothing"
        call(visitor, 10)
        assert SAID in visitor.get("/").text and f'trusted_proxies = ["{PROXY}"]' in visitor.get("/events").text
        change(app, tmp_path, BASE + f'trusted_proxies = ["{PROXY}"]\n')
        assert SAID not in visitor.get("/").text


@pytest.mark.parametrize(
    ("direct", "through", "said"), [(4, 40, True), (20, 40, False), (60, 0, False)], ids=["nearly all", "some", "none"]
)
def test_it_takes_nearly_all_requests(tmp_path: Path, direct: int, through: int, said: bool) -> None:
    with console(tmp_path) as app:
        visitor = Visitor(app)
        call(visitor, direct)
        call(Visitor(app, REMOTE_ADDR=PROXY), through, Forwarded="for=192.0.2.1")
        visitor.log_in()
        assert (SAID in visitor.get("/").text) is said


def test_visitors_and_monitors_are_told_nothing_and_count_for_nothing(tmp_path: Path) -> None:
    with console(tmp_path) as app:
        call(Visitor(app, REMOTE_ADDR=PROXY), 40, **{"X-Forwarded-For": "192.0.2.1"})
        for _ in range(90):
            app.test_client().get("/healthz")
        visitor = Visitor(app)
        assert SAID not in visitor.get("/login").text
        visitor.log_in()
        assert SAID in visitor.get("/").text
        assert app.test_client().post(f"/legacy/callback/{KEY}", data={"phone": "1"}).status_code == 400


def test_who_claims_to_be_a_proxy_takes_no_memory(tmp_path: Path) -> None:
    with console(tmp_path) as app:
        for number in range(200):
            call(Visitor(app, REMOTE_ADDR=f"192.0.2.{number}"), 1, Forwarded="for=x")
        assert len(app.extensions["gateway"].proxies._forwarded) == 64
