"""Who gets into the console, and what a foreign page cannot make a browser do there."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from flask import Flask

from gateway.config import Config
from gateway.web import context as sites
from gateway.web.auth import HEADERS, LOCAL
from gateway.web.limits import caller_key
from gateway.web.sessions import session_keys
from tests.visitor import BASE, KEY, PASSWORD, Visitor, console

TOKEN = "one-click-token-of-this-start"
VALUES: dict[str, object] = {
    "kind": "status",
    "decision": "sent",
    "event_id": 1,
    "delivery_id": UUID(int=1),
    "send_id": UUID(int=1),
    "key": "x",
    "filename": "x",
    "name": "x",
}
PAGES = (
    *("/", "/events", "/sends", "/deliveries", "/opt-outs", "/configuration", "/explain"),
    *("/test/callback", "/test/status", "/test/paste", "/account", "/audit"),
)


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, login_token=TOKEN) as made:
        yield made


@pytest.fixture
def visitor(app: Flask) -> Visitor:
    return Visitor(app)


def basic(password: str, user: str = "anybody") -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


JSON = {"Accept": "application/json"}


@pytest.mark.parametrize("page", PAGES)
def test_every_page_asks_for_the_login_first(visitor: Visitor, page: str) -> None:
    answer = visitor.get(page)
    assert answer.status_code == 303
    assert answer.headers["Location"].startswith("/login?next=")
    visitor.log_in()
    assert visitor.get(page).status_code == 200


def test_every_route_is_shut_but_for_those_that_are_named(app: Flask) -> None:
    """A page that somebody adds later is not forgotten: it is shut unless it is said to be open."""
    open_to_all = {"carrierx", "legacy", "healthz", "readyz", "metrics", "login", "static"}
    for rule in app.url_map.iter_rules():
        path = rule.build({name: VALUES[name] for name in rule.arguments})
        assert path is not None
        if path[1].split("/")[1] in open_to_all:
            continue
        for method in (rule.methods or set()) - {"OPTIONS"}:
            answer = Visitor(app).client.open(path[1], method=method, headers=JSON)
            assert answer.status_code == 401, f"{method} {path[1]}"


def test_login_and_logout(visitor: Visitor) -> None:
    assert visitor.log_in().headers["Location"] == "/"
    assert "Log out" in visitor.get("/").text
    answer = visitor.post("/logout", page="/")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/login")
    assert answer.headers["Clear-Site-Data"] == '"cache", "storage"'
    assert visitor.get("/").status_code == 303


def test_logout_ends_the_session_and_not_only_the_cookie(app: Flask, visitor: Visitor) -> None:
    visitor.log_in()
    kept = visitor.cookie
    visitor.post("/logout", page="/")
    thief = Visitor(app)
    thief.client.set_cookie("gateway_session", kept or "")
    assert thief.get("/").status_code == 303


def test_logout_is_a_post(visitor: Visitor) -> None:
    visitor.log_in()
    assert visitor.get("/logout").status_code == 405
    assert visitor.get("/").status_code == 200


def test_wrong_password(visitor: Visitor) -> None:
    answer = visitor.log_in("correct horse battery stapl")
    assert answer.status_code == 403
    assert "not the password" in answer.text
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("password", ["", "x" * 5_000, "\udcff", "päss", "\x00"])
def test_strange_passwords_are_wrong_ones(visitor: Visitor, password: str) -> None:
    assert visitor.log_in(password.encode("utf-8", "replace").decode()).status_code == 403


def test_guesses_are_limited_by_address(app: Flask) -> None:
    here, there = Visitor(app, REMOTE_ADDR="192.0.2.1"), Visitor(app, REMOTE_ADDR="192.0.2.2")
    answers = [here.log_in(f"guess {number}").status_code for number in range(11)]
    assert answers == [403] * 10 + [429]
    late = here.log_in()
    assert late.status_code == 429, "the right one is not heard either, or guessing would go on"
    assert 0 < int(late.headers["Retry-After"]) <= 60
    assert there.log_in().status_code == 303


def test_the_limit_holds_for_a_password_that_is_known_already(app: Flask) -> None:
    """The process remembers a password once it was right: the check of the limit must come before that memory."""
    assert Visitor(app, REMOTE_ADDR="192.0.2.2").log_in().status_code == 303
    guesser = Visitor(app, REMOTE_ADDR="192.0.2.1")
    assert [guesser.log_in(f"guess {number}").status_code for number in range(11)] == [403] * 10 + [429]
    assert guesser.log_in().status_code == 429
    assert guesser.get("/configuration", headers={**JSON, **basic(PASSWORD)}).status_code == 429


@pytest.mark.parametrize(
    ("address", "caller"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix:", "unix:"),
        (None, ""),
    ],
)
def test_who_is_one_caller(address: str | None, caller: str) -> None:
    assert caller_key(address) == caller


def test_guesses_by_http_basic_count_as_well(app: Flask) -> None:
    client = app.test_client()
    answers = [client.get("/", headers={**JSON, **basic(f"guess {number}")}).status_code for number in range(11)]
    assert answers == [401] * 10 + [429]


def test_the_right_password_is_no_guess_however_often(app: Flask) -> None:
    client = app.test_client()
    answers = {client.get("/configuration", headers={**JSON, **basic(PASSWORD)}).status_code for _ in range(30)}
    assert answers == {200}


def test_forwarded_addresses_of_strangers_are_no_addresses(app: Flask) -> None:
    client = app.test_client()
    for number in range(10):
        client.get("/", headers={**JSON, **basic("guess"), "X-Forwarded-For": f"192.0.2.{number}"})
    assert client.get("/", headers={**JSON, **basic("guess"), "X-Forwarded-For": "192.0.2.99"}).status_code == 429


PROXY, BEHIND = "10.0.0.7", BASE + 'trusted_proxies = ["10.0.0.0/28"]\n'


def test_the_address_that_a_trusted_proxy_forwards_is_the_callers(tmp_path: Path) -> None:
    """The last entry of `X-Forwarded-For` is the proxy's own; those before it came with the request."""

    with console(tmp_path, BEHIND) as app:

        def guess(forwarded: str, peer: str = PROXY) -> int:
            headers = {**JSON, **basic("guess"), "X-Forwarded-For": forwarded}
            return app.test_client().get("/", headers=headers, environ_overrides={"REMOTE_ADDR": peer}).status_code

        answers = [guess(f"198.51.100.{number}, 192.0.2.1") for number in range(11)]
        assert answers == [401] * 10 + [429]
        assert guess("192.0.2.1, 192.0.2.2") == 401
        assert guess("192.0.2.1", peer="10.0.0.16") == 401


def test_the_address_that_a_trusted_proxy_forwards_is_kept_with_a_callback(tmp_path: Path) -> None:
    with console(tmp_path, BEHIND) as app:
        for phone, peer in (("15162065515", PROXY), ("15162065516", "10.0.0.16")):
            app.test_client().post(
                f"/legacy/callback/{KEY}",
                data={"phone": phone, "shortcode": "12345"},
                headers={"X-Forwarded-For": "192.0.2.1"},
                environ_overrides={"REMOTE_ADDR": peer},
            )
        visitor = Visitor(app)
        visitor.log_in()
        shown = [visitor.get(f"/events/{event_id}").text for event_id in (1, 2)]
    assert "from 192.0.2.1</dd>" in shown[0] and "from 10.0.0.16</dd>" in shown[1]


@pytest.mark.parametrize(("peer", "status"), [(PROXY, 303), ("10.0.0.16", 403)])
def test_the_host_that_a_trusted_proxy_forwards_is_ours(tmp_path: Path, peer: str, status: int) -> None:
    """A proxy that rewrites `Host` says in `X-Forwarded-Host` what the browser called: the origin of our own pages."""
    with console(tmp_path, BEHIND) as app:
        visitor = Visitor(app, REMOTE_ADDR=peer)
        visitor.log_in()
        headers = {"Origin": "https://sms.example.com", "X-Forwarded-Host": "sms.example.com"}
        assert visitor.raw_post("/logout", {"csrf_token": visitor.token("/")}, **headers).status_code == status


def test_the_session_is_a_new_one_after_the_login(visitor: Visitor) -> None:
    visitor.get("/login")
    before = visitor.cookie
    with visitor.client.session_transaction() as session:
        prepared = dict(session)
    visitor.log_in()
    with visitor.client.session_transaction() as session:
        assert not set(prepared.values()) & set(session.values())
    assert visitor.cookie != before


def test_cookie_under_http(visitor: Visitor) -> None:
    cookie = visitor.log_in().headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and "Path=/" in cookie
    assert "Secure" not in cookie and "Domain" not in cookie


def test_cookie_under_https(tmp_path: Path) -> None:
    with console(tmp_path, BASE + 'public_url = "https://sms.example.com"\n') as app:
        cookie = Visitor(app, "https://sms.example.com").log_in().headers["Set-Cookie"]
    assert "Secure" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_the_session_ends_twelve_hours_after_the_login(app: Flask, visitor: Visitor) -> None:
    visitor.log_in()
    login, answers = datetime.now(UTC), []
    for minutes in (*range(20, 12 * 60, 20), 12 * 60 + 1):  # it is not idle
        object.__setattr__(app.extensions["gateway"], "clock", lambda m=minutes: login + timedelta(minutes=m))
        answers.append(visitor.get("/").status_code)
    assert answers == [200] * 35 + [303]


def test_a_changed_password_ends_every_session(app: Flask, visitor: Visitor, tmp_path: Path) -> None:
    visitor.log_in()
    change(app, tmp_path, BASE.replace(PASSWORD, "another one"))
    assert visitor.get("/").status_code == 303
    assert visitor.log_in().status_code == 403
    assert visitor.log_in("another one").status_code == 303


@pytest.mark.parametrize("keys", ['"another-key-of-the-tests"', f'"{KEY}", "another-key-of-the-tests"'])
def test_changed_keys_end_every_session(app: Flask, visitor: Visitor, tmp_path: Path, keys: str) -> None:
    visitor.log_in()
    change(app, tmp_path, BASE.replace(f'"{KEY}"', keys))
    assert visitor.get("/").status_code == 303
    visitor.log_in()
    assert visitor.get("/").status_code == 200


def change(app: Flask, folder: Path, text: str) -> None:
    """A changed configuration, seen at once."""
    (folder / "gateway.toml").write_text(text, encoding="utf-8")
    settings: sites.WebContext = app.extensions["gateway"]
    settings.settings._looked = float("-inf")
    assert settings.settings.current


def test_processes_with_one_configuration_share_sessions(tmp_path: Path) -> None:
    with console(tmp_path) as one, console(tmp_path) as other:
        here, there = Visitor(one), Visitor(other)
        here.log_in()
        there.client.set_cookie("gateway_session", here.cookie or "")
        assert there.get("/").status_code == 200
        token = here.token("/")
        answer = there.raw_post("/logout", {"csrf_token": token}, **{"Sec-Fetch-Site": "same-origin"})
        assert answer.status_code == 303
        assert here.get("/").status_code == 303


def test_another_password_or_key_is_another_session_key() -> None:
    def session_key(password: str, *keys: str) -> bytes:
        made = Config(folder=Path(), data=Path(), database="", password=password, keys=keys)
        return session_keys(made)[-1]

    keys = {session_key(*each) for each in (("a", "k"), ("b", "k"), ("a", "l"), ("a", "k", "l"))}
    assert len(keys) == 4
    assert session_key("a", "k", "l") == session_key("a", "l", "k")


def test_a_hash_may_stand_in_the_configuration(tmp_path: Path) -> None:
    from argon2 import PasswordHasher

    hashed = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    with console(tmp_path, BASE.replace(PASSWORD, hashed)) as app:
        assert Visitor(app).log_in(hashed).status_code == 403
        assert Visitor(app).log_in(PASSWORD).status_code == 303


def test_forged_cookies_are_none(app: Flask, visitor: Visitor) -> None:
    visitor.log_in()
    good = visitor.cookie or ""
    for cookie in ("", "x", "e30.x.y", good[:-1], good[:-4] + "AAAA", good + ".x", "\u00e9" * 9):
        forger = Visitor(app)
        forger.client.set_cookie("gateway_session", cookie)
        assert forger.get("/").status_code == 303


# One-click login


def test_one_click_login(visitor: Visitor) -> None:
    answer = visitor.get(f"/login?token={TOKEN}")
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    assert visitor.get("/").status_code == 200


@pytest.mark.parametrize("token", ["", "x", TOKEN[:-1], TOKEN + "x", "%ff", "%F0%9F%8E%89"])
def test_a_wrong_link_is_none(visitor: Visitor, token: str) -> None:
    assert visitor.get(f"/login?token={token}").status_code == 403
    assert visitor.get("/").status_code == 303


def test_links_cannot_be_guessed(visitor: Visitor) -> None:
    answers = [visitor.get(f"/login?token=guess{number}").status_code for number in range(11)]
    assert answers == [403] * 10 + [429]


@pytest.mark.parametrize("token", ["", "None", TOKEN])
def test_no_link_unless_the_supervisor_made_one(tmp_path: Path, token: str) -> None:
    with console(tmp_path) as app:
        assert Visitor(app).get(f"/login?token={token}").status_code == 403


def test_the_sandbox_starts_on_its_own_page(tmp_path: Path) -> None:
    with console(tmp_path, login_token=TOKEN, sandbox=True) as app:
        visitor = Visitor(app)
        assert visitor.get(f"/login?token={TOKEN}").headers["Location"] == "/sandbox"
        assert 'href="/sandbox">Sandbox</a>' in visitor.get("/").text
        assert Visitor(app).get("/sandbox").status_code == 303


# Where to after the login


@pytest.mark.parametrize("path", ["/events?phone=1%20516&state=dead", "/test/callback", "/"])
def test_after_the_login_where_one_wanted_to_go(visitor: Visitor, path: str) -> None:
    asked = visitor.get(path).headers["Location"]
    form = visitor.get(asked)
    assert form.status_code == 200
    assert visitor.log_in(next=path).headers["Location"] == path


@pytest.mark.parametrize(
    "path",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example/",
        "/\n/evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "evil.example",
        "/%0d%0aSet-Cookie:x=y\r\nX: y",
        "/x\u2028y",
        "",
    ],
)
def test_and_nowhere_else(visitor: Visitor, path: str) -> None:
    assert not LOCAL.fullmatch(path)
    assert visitor.log_in(next=path).headers["Location"] == "/"


# Other people's pages


def test_a_post_without_its_token_is_refused(visitor: Visitor) -> None:
    visitor.log_in()
    for data in ({}, {"csrf_token": ""}, {"csrf_token": "x"}):
        assert visitor.raw_post("/logout", data, **{"Sec-Fetch-Site": "same-origin"}).status_code == 400
    assert visitor.get("/").status_code == 200


def test_the_login_form_needs_its_token_too(visitor: Visitor) -> None:
    assert visitor.raw_post("/login", {"password": PASSWORD}).status_code == 400
    assert visitor.get("/").status_code == 303


def test_somebody_elses_token_is_none(app: Flask, visitor: Visitor) -> None:
    visitor.log_in()
    other = Visitor(app)
    other.log_in()
    assert visitor.raw_post("/logout", {"csrf_token": other.token("/")}).status_code == 400


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 303),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "http://inner.name:8080"}, 303),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost.evil.example"}, 403),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "http://[evil"}, 403),
        ({"Origin": "http://localhost"}, 303),
        ({"Origin": "https://sms.example.com"}, 303),
        ({}, 303),
    ],
)
def test_where_a_post_comes_from(tmp_path: Path, headers: dict[str, str], status: int) -> None:
    with console(tmp_path, BASE + 'public_url = "https://sms.example.com"\n') as app:
        app.session_interface.get_cookie_secure = lambda app: False  # type: ignore[method-assign]
        visitor = Visitor(app)
        visitor.log_in()
        data = {"csrf_token": visitor.token("/")}
        assert visitor.raw_post("/logout", data, **headers).status_code == status


@pytest.mark.parametrize("origin", ["null", "file://", "http://[evil"])
def test_an_origin_without_a_host_is_foreign_also_without_public_url(visitor: Visitor, origin: str) -> None:
    """`null` is what a sandboxed frame or a redirect from another site sends."""
    visitor.log_in()
    assert visitor.raw_post("/logout", {"csrf_token": visitor.token("/")}, Origin=origin).status_code == 403
    assert visitor.get("/").status_code == 200


def test_a_browser_that_remembers_http_basic_is_no_way_in_for_other_pages(app: Flask) -> None:
    client = app.test_client()
    foreign = {**basic(PASSWORD), "Origin": "https://evil.example"}
    assert client.post("/test/callback", data={"url": "http://x/"}, headers=foreign).status_code == 403


def test_programs_need_no_token(app: Flask) -> None:
    answer = app.test_client().post("/test/callback", data={}, headers={**JSON, **basic(PASSWORD)})
    assert answer.status_code == 400
    assert set(answer.get_json()["errors"]) == {"endpoint"}


@pytest.mark.parametrize("user", ["", "admin", "é", "a b"])
def test_any_user_will_do(app: Flask, user: str) -> None:
    assert app.test_client().get("/configuration", headers=basic(PASSWORD, user)).status_code == 200


@pytest.mark.parametrize(
    "value", ["Basic", "Basic !!!", "Basic eA==", "Bearer " + PASSWORD, "Basic " + "A" * 9_999, "x"]
)
def test_broken_authorization_is_none(app: Flask, value: str) -> None:
    answer = app.test_client().get("/", headers={**JSON, "Authorization": value})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Basic ")
    assert "errors" in answer.get_json()


def test_platforms_need_neither_login_nor_token(app: Flask) -> None:
    answer = app.test_client().post(f"/legacy/callback/{KEY}", data={"phone": "15162065515", "shortcode": "12345"})
    assert answer.status_code == 200
    assert "Set-Cookie" not in answer.headers and "Content-Security-Policy" not in answer.headers


# What every page says


@pytest.mark.parametrize(
    "path", ["/login", "/", "/nowhere", "/logout", "/static/console.css", "/events/999999", *PAGES]
)
def test_headers(visitor: Visitor, path: str) -> None:
    visitor.log_in()
    answer = visitor.get(path)
    answer.close()
    for name, value in HEADERS.items():
        if name == "Cache-Control" and path.startswith("/static/"):
            value = "public, max-age=3600"
        assert answer.headers[name] == value


@pytest.mark.parametrize("page", PAGES)
def test_pages_hold_to_their_own_policy(visitor: Visitor, page: str) -> None:
    """No script, no style in the page, nothing from elsewhere; and what is needed to find one's way by keyboard."""
    visitor.log_in()
    text = visitor.get(page).text
    assert "<script" not in text and "<style" not in text and " style=" not in text and "javascript:" not in text
    assert ' href="http' not in text and ' src="http' not in text
    assert '<html lang="en">' in text and 'href="#main"' in text and '<main id="main"' in text
    assert text.count("<h1") == 1


def test_errors_speak_the_callers_language(visitor: Visitor) -> None:
    assert "<h1>Not Found</h1>" in visitor.get("/nowhere").text
    assert "Log out" not in visitor.get("/nowhere").text
    visitor.log_in()
    assert "Log out" in visitor.get("/nowhere").text
    assert visitor.client.get("/nowhere", headers=JSON).get_json()["errors"]
    assert visitor.client.get("/nowhere").content_type.startswith("text/plain")
    for path, status in (("/nowhere", 404), ("/legacy/calback/key", 404), ("/healthz", 405), ("/events", 405)):
        answer = visitor.client.post(path)
        assert answer.status_code == status and answer.content_type.startswith("text/plain")
        assert status == 404 or "GET" in answer.headers["Allow"]


def test_the_hostile_host_header_leads_nowhere(visitor: Visitor) -> None:
    answer = visitor.get("/", headers={"Host": "evil.example"})
    assert "evil.example" not in answer.headers["Location"]
