"""Operators by name: what each role may do, one-time codes, the account page, and the trail of what was done."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pyotp
import pytest
from argon2 import PasswordHasher
from flask import Flask
from structlog.testing import capture_logs

from gateway.config import Settings, load
from gateway.store import Store, audit
from gateway.store.audit import AuditEntry
from tests.running import free_port
from tests.visitor import BASE, PASSWORD, Visitor, console

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
OWN = "a password of one's own"
HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(OWN)
NUMBER = (
    '\n[endpoint.page]\nurl = "http://127.0.0.1:{port}/"\n[[number]]\nnumber = "15162065919"\ncallback = ["page"]\n'
)
OPERATORS = "".join(
    f'\n[[operator]]\nname = "{name}"\npassword = "{HASH}"\n{more}\n'
    for name, more in {
        "rita": 'role = "read"',
        "olga": "# operate is the default",
        "anna": 'role = "admin"',
        "tom": f'role = "admin"\ntotp = "{SECRET}"',
    }.items()
)
JSON = {"Accept": "application/json"}


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    with console(tmp_path, BASE + NUMBER.format(port=free_port()) + OPERATORS) as made:
        yield made


def logged_in(app: Flask, name: str, password: str = OWN) -> Visitor:
    visitor = Visitor(app)
    assert visitor.log_in(password, name=name).headers["Location"] == "/"
    return visitor


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode(), **JSON}


def trail(app: Flask) -> list[AuditEntry]:
    store: Store = app.extensions["gateway"].store
    with store.reader() as conn:
        return [each for each in audit.newest(conn, 100) if each.who != audit.CONFIGURATION]


def without_token(page: str) -> str:
    return re.sub(r'name="csrf_token" value="[^"]+"', "", page)


def code(offset: int = 0) -> str:
    return pyotp.TOTP(SECRET).at(int(time.time()) + 30 * offset)


def test_each_logs_in_with_the_own_name_and_password(app: Flask) -> None:
    assert "olga" in logged_in(app, "olga").get("/account").text
    for name, password in (("olga", PASSWORD), ("nobody", OWN), ("", OWN), ("admin", OWN)):
        answer = Visitor(app).log_in(password, name=name)
        assert answer.status_code == 403 and "That is not the password." in answer.text
    assert "admin" in logged_in(app, "", PASSWORD).get("/account").text


POSTS = [
    "/events/1/route",
    "/unrouted/route",
    "/deliveries/replay",
    "/opt-outs",
    "/test/callback",
    "/test/paste",
    f"/deliveries/{'0' * 8}-0000-0000-0000-{'0' * 12}/replay",
    f"/sends/{'0' * 8}-0000-0000-0000-{'0' * 12}/again",
]


@pytest.mark.parametrize("path", POSTS)
def test_who_reads_changes_nothing(app: Flask, path: str) -> None:
    visitor = logged_in(app, "rita")
    with capture_logs() as logs:
        answer = visitor.post(path, page="/account")
    assert answer.status_code == 403 and "Your role is read" in answer.text
    assert [(line["event"], line["operator"]) for line in logs] == [("refused_by_role", "rita")]
    assert [each.action for each in trail(app)] == ["login"]
    answer = app.test_client().post(path, headers=basic("rita", OWN))
    assert answer.status_code == 403 and "Your role is read" in answer.text


def test_who_operates_may(app: Flask) -> None:
    for path in POSTS:
        assert app.test_client().post(path, headers=basic("olga", OWN)).status_code != 403


@pytest.mark.parametrize("path", ["/opt-outs", "/test/callback", "/test/paste", "/unrouted", "/deliveries"])
def test_who_reads_sees_all_but_no_button(app: Flask, path: str) -> None:
    rita, olga = logged_in(app, "rita").get(path), logged_in(app, "olga").get(path)
    assert rita.status_code == olga.status_code == 200
    posts = re.compile(r'<button(?! class="plain">Log out)(?!>(Search|Show))')
    assert not posts.search(rita.text)


def test_the_trail_is_for_admins(app: Flask) -> None:
    for name in ("rita", "olga"):
        visitor = logged_in(app, name)
        assert visitor.get("/audit").status_code == 403 and 'href="/audit"' not in visitor.get("/").text
        assert visitor.post("/account/sessions/end/anna", page="/account").status_code == 403
    visitor = logged_in(app, "anna")
    assert 'href="/audit"' in visitor.get("/").text
    page = visitor.get("/audit?who=olga")
    assert "olga" in page.text and "rita" not in page.text
    entries = app.test_client().get("/audit?action=login", headers=basic("anna", OWN)).json
    assert entries and {each["who"] for each in entries["entries"]} == {"anna", "olga", "rita"}


def test_the_trail_has_pages(app: Flask) -> None:
    visitor = logged_in(app, "anna")
    store: Store = app.extensions["gateway"].store
    for number in range(60):
        entry = AuditEntry(at=number, who="<b>", action="replay", subject=f"no {number}.")
        store.writer.write(lambda conn, entry=entry: audit.record(conn, entry))
    page = visitor.get("/audit?action=replay").text
    assert "no 59." in page and "no 10." in page and "no 9." not in page and "<b>" not in page
    older = re.search(r'href="([^"]+)" rel="next"', page)
    assert older
    page = visitor.get(older[1].replace("&amp;", "&")).text
    assert "no 9." in page and "no 10." not in page and 'rel="next"' not in page
    for strange in ("-1", "x", "9" * 40, "-" + "9" * 40):
        assert visitor.get(f"/audit?before={strange}").status_code == 200


def test_a_program_is_the_operator_of_its_name_or_has_the_single_password(app: Flask) -> None:
    client = app.test_client()
    for user, password, status in [
        ("olga", OWN, 200),
        ("olga", PASSWORD, 401),
        ("anything", PASSWORD, 200),
        ("", PASSWORD, 200),
        ("anything", OWN, 401),
    ]:
        assert client.get("/events", headers=basic(user, password)).status_code == status
    answer = client.get("/events", headers=basic("tom", OWN))
    assert answer.status_code == 403 and "one-time codes" in answer.text
    assert client.get("/events", headers=basic("tom", "wrong")).status_code == 401


def test_the_code_is_asked_for_after_the_right_password(app: Flask) -> None:
    visitor = Visitor(app)
    wrong, other = (Visitor(app).log_in("wrong", name=name) for name in ("tom", "olga"))
    assert wrong.status_code == 403 and without_token(wrong.text) == without_token(other.text), "nothing is given away"
    assert visitor.get("/login/code").headers["Location"].startswith("/login")
    answer = visitor.log_in(OWN, name="tom", next="/events")
    assert answer.headers["Location"] == "/login/code?next=/events"
    assert visitor.get("/").status_code == 303, "not yet"
    for bad in ("", "000000x", "１２３４５６", code(-3), code(3)):
        answer = visitor.post("/login/code", code=bad)
        assert answer.status_code == 403 and "That is not the code" in answer.text
        app.extensions["gateway"].limits._full.clear()
        app.extensions["gateway"].store.writer.write(lambda conn: conn.exec_driver_sql("DELETE FROM limits"))
    spaced = f"{code()[:3]} {code()[3:]}"
    assert visitor.post("/login/code", code=spaced, next="/events").headers["Location"] == "/events"
    assert visitor.get("/").status_code == 200
    assert [each.details.get("by") for each in trail(app) if each.action == "login"] == ["password and code"]


def test_a_code_counts_once_and_guesses_are_limited(app: Flask) -> None:
    first, second = Visitor(app), Visitor(app)
    used = code()
    for visitor in (first, second):
        visitor.log_in(OWN, name="tom")
    assert first.post("/login/code", code=used).status_code == 303
    assert second.post("/login/code", code=used).status_code == 403, "somebody looked over the shoulder"
    answers = [second.post("/login/code", code="000000").status_code for _ in range(6)]
    assert answers[0] == 403 and answers[-1] == 429


def test_the_right_password_is_not_remembered_for_long_nor_past_its_change(app: Flask, tmp_path: Path) -> None:
    visitor = Visitor(app)
    visitor.log_in(OWN, name="tom")
    other = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(OWN)
    path = tmp_path / "gateway.toml"
    path.write_text(path.read_text().replace(HASH, other))
    app.extensions["gateway"].settings._looked = -10.0
    assert visitor.get("/login/code").headers["Location"].startswith("/login?")


def test_one_logs_out_everywhere(app: Flask) -> None:
    here, there, other = logged_in(app, "olga"), logged_in(app, "olga"), logged_in(app, "anna")
    assert here.get("/account").text.count("127.0.0.1") == 2 and "this one" in here.get("/account").text
    assert here.post("/account/sessions/end", page="/account").status_code == 303
    assert here.get("/").status_code == there.get("/").status_code == 303 and other.get("/").status_code == 200


def test_an_admin_ends_the_sessions_of_another(app: Flask) -> None:
    olga, anna = logged_in(app, "olga"), logged_in(app, "anna")
    page = anna.get("/account").text
    assert "End all sessions of olga" in page and "rita" in page and "End all sessions of rita" not in page
    anna.post("/account/sessions/end/olga", page="/account")
    assert olga.get("/").status_code == 303 and "Ended 1 session of olga." in anna.get("/account").text
    assert (trail(app)[0].who, trail(app)[0].action, trail(app)[0].subject) == ("anna", "sessions ended", "olga")


def test_codes_are_switched_on_and_off_in_the_console(app: Flask, tmp_path: Path) -> None:
    visitor, path = logged_in(app, "olga"), tmp_path / "gateway.toml"
    page = visitor.post("/account/totp", page="/account")
    found = re.search(r'name="secret" value="(\w+)"', page.text)
    assert found and "<svg" in page.text and "script" not in page.text
    assert "style=" not in page.text and "'unsafe" not in page.headers["Content-Security-Policy"]
    totp = pyotp.TOTP(found[1])
    answer = visitor.post("/account/totp", page="/account", secret=found[1], code="000000")
    assert answer.status_code == 400 and found[1] in answer.text and load(path).operators["olga"].totp == ""
    assert visitor.post("/account/totp", page="/account", secret="short", code="000000").status_code == 400
    visitor.post("/account/totp", page="/account", secret=found[1], code=totp.now())
    assert load(path).operators["olga"].totp == found[1]
    app.extensions["gateway"].settings._looked = -10.0
    assert visitor.post("/account/totp", page="/account").status_code == 400, "who has one asks the machine's owner"
    visitor.post("/account/totp/off", page="/account", code="000000")
    assert load(path).operators["olga"].totp == found[1]
    visitor.post("/account/totp/off", page="/account", code=totp.now())
    assert load(path).operators["olga"].totp == ""
    assert [each.details["on"] for each in trail(app) if each.action == "operator totp"] == [False, True]


def test_a_file_that_cannot_be_written_is_edited_by_somebody_else(
    app: Flask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr("gateway.config.secrets.tempfile.mkstemp", refused)
    visitor = logged_in(app, "olga")
    answer = visitor.post("/account/totp", page="/account", secret=SECRET, code=code())
    assert f"totp = &#34;{SECRET}&#34;" in answer.text and "cannot write" in answer.text
    assert load(tmp_path / "gateway.toml").operators["olga"].totp == ""


def test_who_has_the_single_password_is_told_how_to_get_codes(app: Flask) -> None:
    visitor = logged_in(app, "", PASSWORD)
    assert "gateway operators add" in visitor.get("/account").text
    assert visitor.post("/account/totp", page="/account").status_code == 400


def test_everything_that_somebody_does_is_in_the_trail_and_in_the_log(app: Flask) -> None:
    with capture_logs() as logs:
        Visitor(app).log_in("wrong", name="olga" * 100)
        olga = logged_in(app, "olga")
        olga.post("/test/callback", endpoint="page", message="canary-text")
        olga.post("/opt-outs", phone="15162065515", number="15162065919", what="record")
        olga.post("/deliveries/replay", page="/account", state="dead")
        olga.post("/unrouted/route", page="/account")
        olga.post("/logout", page="/")
    done = [(each.who, each.action, each.subject, each.remote) for each in reversed(trail(app))]
    assert done == [
        (("olga" * 100)[:64], "login refused", "", "127.0.0.1"),
        ("olga", "login", "", "127.0.0.1"),
        ("olga", "test post", "page", "127.0.0.1"),
        ("olga", "opt-out", "phone …5515", "127.0.0.1"),
        ("olga", "replay", "every", "127.0.0.1"),
        ("olga", "reroute", "unrouted", "127.0.0.1"),
        ("olga", "logout", "", "127.0.0.1"),
    ]
    lines = [each for each in logs if each["event"] == "audit" and each["who"] != audit.CONFIGURATION]
    assert [each["action"] for each in lines] == [each[1] for each in done]
    assert "canary" not in str(lines) and "2065515" not in str(lines)


def test_the_configuration_is_in_the_trail_once_for_all_processes(app: Flask, tmp_path: Path) -> None:
    context, path = app.extensions["gateway"], tmp_path / "gateway.toml"
    with Store(load(path).database) as store:
        worker = Settings(path)
        audit.follow_configuration(worker, store)
        for text in (path.read_text() + "\n# changed\n", "[gateway]\ncontry = 1\n"):
            path.write_text(text)
            for settings in (context.settings, worker):
                settings._looked = -10.0
                assert settings.current
        for each in (store, context.store):
            each.writer.write(lambda conn: None)
    with context.store.reader() as conn:
        found = [(each.action, each.details) for each in audit.newest(conn, 9, who=audit.CONFIGURATION)]
    assert found == [
        ("configuration refused", {"faults": ["gateway.contry:2"]}),
        ("configuration read", {}),
        ("configuration read", {}),
    ]
