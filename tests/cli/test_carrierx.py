"""`gateway point`, against a small account that is kept in a dictionary and asked over HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from click.testing import CliRunner, Result

from gateway.__main__ import main
from tests.running import free_port

KEY = "key-of-the-tests"
OURS = "https://sms.example.com/carrierx/callback"
PARTNER = "/partners/p-1"
DIDS, GROUPS = "/phonenumber/dids", "/phonenumber/did_groups"
PRECEDENCE = "the DID's callback, else its DID group's, else the partner's"

TOML = """
[gateway]
public_url = "https://sms.example.com"
keys = ["key-of-the-tests", "the-next-key"]
password = "password-of-the-tests"

[carrierx]
base_url = "{base_url}"
token = "token-of-the-tests"
partner_sid = "p-1"

[[number]]
number = "15162065919"
"""


@dataclass
class Account:
    """Objects by their paths, and everything that was asked."""

    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    fails: dict[tuple[str, str], tuple[int, str]] = field(default_factory=dict)
    """Method and path to status and body."""

    def answer(self, method: str, path: str, body: Any) -> tuple[int, str]:
        self.asked.append((method, path, body))
        if failure := self.fails.get((method, path)):
            return failure
        if path in (DIDS, GROUPS):
            items = [one for name, one in self.objects.items() if name.startswith(f"{path}/")]
            return 200, json.dumps({"items": items, "count": len(items), "total": len(items), "has_more": False})
        if path not in self.objects:
            return 404, '{"message": "Not found", "errors": []}'
        self.objects[path].update(body or {})
        return 200, json.dumps(self.objects[path])

    def did(self, sid: str, number: str, url: str | None = None, group: str | None = None) -> None:
        values = {"did_sid": sid, "phonenumber": number, "callback_url": url, "did_group_sid": group}
        self.objects[f"{DIDS}/{sid}"] = {**values, "partner_sid": "p-1"}

    def group(self, sid: str, name: str, url: str | None = None) -> None:
        self.objects[f"{GROUPS}/{sid}"] = {"did_group_sid": sid, "name": name, "callback_url": url}

    def patches(self) -> list[tuple[str, Any]]:
        return [(path, body) for method, path, body in self.asked if method == "PATCH"]


@contextmanager
def listening(account: Account) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.headers["Authorization"] == "Bearer token-of-the-tests"
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, said = account.answer(self.command, urlsplit(self.path).path, json.loads(body or b"null"))
            self.send_response(status)
            self.send_header("Content-Length", str(len(said)))
            self.end_headers()
            self.wfile.write(said.encode())

        do_PATCH = do_GET

        def log_message(self, format: str, *args: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def account() -> Account:
    made = Account()
    made.objects[PARTNER] = {"partner_sid": "p-1", "name": "Acme", "callbacks": {}}
    made.did("d-1", "15162065919")
    return made


@pytest.fixture
def config(tmp_path: Path, account: Account) -> Iterator[Path]:
    with listening(account) as base_url:
        path = tmp_path / "gateway.toml"
        path.write_text(TOML.format(base_url=base_url), "utf-8")
        yield path


def point(config: Path, *arguments: str) -> Result:
    result = CliRunner().invoke(main, ["point", *arguments, "--config", str(config)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
    assert KEY not in result.output and "token-of-the-tests" not in result.output
    return result


def good(config: Path, *arguments: str) -> str:
    result = point(config, *arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_a_partner(config: Path, account: Account) -> None:
    account.objects[PARTNER]["callbacks"] = {"sms": "https://me:secret@old.example/sms?token=secret"}
    said = good(config, "--partner")
    assert account.patches() == [(PARTNER, {"callbacks": {"sms": f"{OURS}/{KEY}"}})]
    assert said.splitlines()[:3] == [
        "partner Acme (p-1)",
        "  was   https://[hidden]@old.example/sms?token=[hidden]",
        f"  is    {OURS}/[key 1]",
    ]
    assert PRECEDENCE in said and "No DID or DID group has one of its own." in said


def test_a_partner_by_its_sid(config: Path, account: Account) -> None:
    account.objects["/partners/p-2"] = {"callbacks": None}
    assert "partner p-2\n  was   not set\n" in good(config, "--partner", "p-2")


def test_a_did(config: Path, account: Account) -> None:
    said = good(config, "--did", "d-1")
    assert account.patches() == [(f"{DIDS}/d-1", {"callback_url": f"{OURS}/{KEY}"})]
    assert said.startswith(f"DID 15162065919 (d-1)\n  was   not set\n  is    {OURS}/[key 1]\n")
    assert f"  1  DID        {OURS}/[key 1]   <- this one is called\n" in said
    assert "  2  DID group  not set\n  3  partner    not set\n" in said and "For this DID the DID's wins." in said


def test_a_group(config: Path, account: Account) -> None:
    account.group("g-1", "Sales")
    account.did("d-2", "15162065920", "https://other.example/", "g-1")
    account.did("d-3", "15162065921", "https://elsewhere.example/")
    said = good(config, "--group", "g-1")
    assert account.patches() == [(f"{GROUPS}/g-1", {"callback_url": f"{OURS}/{KEY}"})]
    assert "which wins over this DID group's:\n  DID        15162065920 (d-2)  https://other.example/\n" in said
    assert "elsewhere" not in said


@pytest.mark.parametrize(
    ("urls", "winner"), [(("a", "b", "c"), "DID"), (("", "b", "c"), "DID group"), (("", "", "c"), "partner")]
)
def test_who_wins_is_shown_and_nothing_is_set(
    config: Path, account: Account, urls: tuple[str, ...], winner: str
) -> None:
    did, group, partner = (f"https://{url}.example/" if url else None for url in urls)
    account.did("d-1", "15162065919", did, "g-1")
    account.group("g-1", "Sales", group)
    account.objects[PARTNER]["callbacks"] = {"sms": partner}
    said = good(config, "--did", "d-1", "--show")
    assert f"For this DID the {winner}'s wins." in said and not account.patches()
    assert said.count("<- this one is called") == 1 and "  was " not in said


def test_none_is_set(config: Path) -> None:
    assert "CarrierX calls nobody for this DID." in good(config, "--did", "d-1", "--show")
    assert "This partner has none" in good(config, "--partner", "--show")


def test_who_wins_over_a_partner(config: Path, account: Account) -> None:
    account.did("d-0", "15550000000", "https://other.example/")
    account.did("d-1", "15162065919", f"{OURS}/the-next-key")
    account.group("g-1", "Sales", f"{OURS}/some-key-of-before")
    said = good(config, "--partner")
    assert "These have one of their own, which wins over this partner's:\n" in said
    assert f"  DID        15162065919 (d-1)  {OURS}/[key 2]   one of this gateway's numbers\n  DID        15550" in said
    assert f"  DID group  Sales (g-1)  {OURS}/[a key that is not ours]\n" in said


def test_a_callback_that_is_no_url(config: Path, account: Account) -> None:
    account.did("d-1", "15162065919", "http://[half")
    assert "  was   a URL that cannot be read\n" in good(config, "--did", "d-1")


def test_many_winners_are_counted(config: Path, account: Account) -> None:
    for number in range(30):
        account.did(f"d-{number}", f"1555000{number:04}", "https://other.example/")
    assert "  and 10 more\n" in good(config, "--partner")


def test_other_callbacks_that_change_are_told(config: Path, account: Account) -> None:
    account.objects[PARTNER]["callbacks"] = {"app_mediator": "https://calls.example/", "sms": "https://old.example/"}
    said = good(config, "--partner")
    assert "Callbacks for other things have changed, set them again in the portal: app_mediator." in said
    assert "have changed" not in good(config, "--partner")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "one of --partner, --did SID and --group SID"),
        (("--partner", "--did", "d-1"), "one of --partner, --did SID and --group SID"),
        (("--did",), "There is no SID"),
        (("--group",), "There is no SID"),
        (("--did", "nobody"), "knows no DID by this SID"),
    ],
)
def test_what_is_wrong_is_said(config: Path, account: Account, arguments: tuple[str, ...], said: str) -> None:
    result = point(config, *arguments)
    assert result.exit_code != 0 and said in result.output and not account.patches()


def test_all_that_is_missing_is_said_at_once(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    path.write_text("", "utf-8")
    result = point(path, "--partner")
    assert result.exit_code == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        "There is no account",
        "There is no SID",
        "CarrierX must be told a URL",
        "There is no key yet",
    ]
    assert not (tmp_path / "data").exists()
    assert "public_url" not in point(path, "--partner", "--show").output


def test_a_key_that_the_gateway_made(config: Path, account: Account, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace('keys = ["key-of-the-tests", "the-next-key"]', ""))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "keys").write_text(f"{KEY}\n")
    good(config, "--did", "d-1")
    assert account.patches() == [(f"{DIDS}/d-1", {"callback_url": f"{OURS}/{KEY}"})]


def test_keys_that_cannot_be_read(config: Path, tmp_path: Path) -> None:
    config.write_text(config.read_text().replace('keys = ["key-of-the-tests", "the-next-key"]', ""))
    (tmp_path / "data" / "keys").mkdir(parents=True)
    result = point(config, "--partner")
    assert result.exit_code == 1 and "There is no key yet" in result.output


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        ((401, "{}"), "under [carrierx] are not valid"),
        ((403, "{}"), "may not read or change this DID"),
        ((200, "no json"), "It is not known whether it was done: look with --show."),
        ((400, '{"errors": [{"field": "callback_url", "message": "is no URL"}]}'), "callback_url: is no URL"),
    ],
)
def test_carrierx_refuses(
    config: Path, account: Account, monkeypatch: pytest.MonkeyPatch, failure: tuple[int, str], said: str
) -> None:
    monkeypatch.setattr("gateway.carrierx.responses.FIRST_PAUSE_SECONDS", 0.0)
    account.fails["PATCH", f"{DIDS}/d-1"] = failure
    result = point(config, "--did", "d-1")
    assert result.exit_code == 1 and said in result.output


def test_the_rest_is_told_though_a_list_is_refused(config: Path, account: Account) -> None:
    account.fails["GET", DIDS] = (403, "{}")
    said = good(config, "--partner")
    assert f"  is    {OURS}/[key 1]" in said and "could not be found out: CarrierX answered 403 Forbidden." in said


def test_carrierx_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.carrierx.responses.FIRST_PAUSE_SECONDS", 0.0)
    path = tmp_path / "gateway.toml"
    path.write_text(TOML.format(base_url=f"http://127.0.0.1:{free_port()}"), "utf-8")
    result = point(path, "--partner")
    assert result.exit_code == 1 and "CarrierX was not reached: connection refused." in result.output


def test_an_account_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "gateway.toml"
    text = TOML.format(base_url="http://127.0.0.1:8080").replace('token = "t', 'login = "a:b"\npassword = "t')
    path.write_text(text, "utf-8")
    result = point(path, "--partner")
    assert result.exit_code == 1 and "no colon in a login" in result.output
