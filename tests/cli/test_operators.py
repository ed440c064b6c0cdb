"""`gateway operators` and `gateway audit`."""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyotp
import pytest
from argon2 import PasswordHasher
from click.testing import CliRunner, Result

from gateway.__main__ import main
from gateway.config import load
from gateway.config.operators import change_operator
from gateway.store import Store, audit
from tests import acme
from tests.config_cases import HASH, OPERATOR

PASSWORD = "correct horse battery"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "gateway.toml"
    file.write_text("# mine\n" + acme.TOML.format(database="sqlite:///data/gateway.db"), encoding="utf-8")
    return file


def gateway(path: Path, *arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(main, [*arguments, "--config", str(path)], input=given)


def done(path: Path, *arguments: str, given: str = "") -> str:
    result = gateway(path, *arguments, given=given)
    assert result.exit_code == 0, result.output
    return result.output


def trail(path: Path) -> list[audit.AuditEntry]:
    with Store(load(path).database) as store, store.reader() as conn:
        return audit.newest(conn, 100)


def test_an_operator_is_added_and_all_else_stays(path: Path) -> None:
    before, config = path.read_text(), load(path)
    done(path, "operators", "add", "alice", "--role", "read", given=f"{PASSWORD}\n{PASSWORD}\n")
    assert path.read_text().startswith(before)
    changed = load(path)
    alice = changed.operators["alice"]
    assert PasswordHasher().verify(alice.password, PASSWORD) and (alice.role, alice.totp) == ("read", "")
    assert replace(changed, operators={}, warnings=()) == replace(config, warnings=())
    (entry,) = trail(path)
    assert (entry.action, entry.subject, entry.details) == ("operator added", "alice", {"role": "read", "totp": False})
    assert entry.who.endswith(" (command)") and not entry.remote


def test_a_second_one_of_that_name_is_refused_and_so_is_a_short_password(path: Path) -> None:
    done(path, "operators", "add", "alice", "--stdin", given=PASSWORD)
    before = path.read_bytes()
    assert "already" in gateway(path, "operators", "add", "alice", "--generate").output
    assert "10 to 1024" in gateway(path, "operators", "add", "bob", "--stdin", given="short\n").output
    assert "alice b" not in gateway(path, "operators", "add", "a b", "--generate").output
    assert path.read_bytes() == before and len(trail(path)) == 1


def test_a_password_is_made_and_printed_once(path: Path) -> None:
    found = re.search(r"Password: (\S{20,})", done(path, "operators", "add", "alice", "--generate"))
    assert found and PasswordHasher().verify(load(path).operators["alice"].password, found[1])
    assert found[1] not in path.read_text()
    done(path, "operators", "passwd", "alice", "--stdin", given=PASSWORD + "\n")
    assert PasswordHasher().verify(load(path).operators["alice"].password, PASSWORD)
    assert [entry.action for entry in trail(path)] == ["operator password", "operator added"]


def test_codes_are_switched_on_and_off(path: Path, tmp_path: Path) -> None:
    output = done(path, "operators", "add", "alice", "--totp", "--generate")
    secret = load(path).operators["alice"].totp
    assert secret in output and "█" in output and len(pyotp.TOTP(secret).now()) == 6
    image = tmp_path / "alice.svg"
    assert secret not in done(path, "operators", "totp", "alice", "--qr", str(image))
    assert b"<svg" in image.read_bytes() and stat.S_IMODE(image.stat().st_mode) == 0o600
    assert load(path).operators["alice"].totp not in ("", secret)
    done(path, "operators", "totp", "alice", "--off")
    assert load(path).operators["alice"].totp == ""


def test_operators_are_listed_and_removed(path: Path) -> None:
    before = path.read_bytes()
    done(path, "operators", "add", "alice", "--generate", "--role", "admin")
    lines = done(path, "operators", "list").splitlines()
    assert [line.split()[:2] for line in lines] == [["admin", "admin"], ["alice", "admin"]]
    done(path, "operators", "remove", "alice")
    assert path.read_bytes().rstrip() == before.rstrip()
    for command in ("remove", "passwd", "totp"):
        assert "admin has the password of [gateway]" in gateway(path, "operators", command, "admin").output


def test_the_mode_and_a_link_to_the_file_stay(path: Path, tmp_path: Path) -> None:
    path.chmod(0o640)
    link = tmp_path / "link.toml"
    link.symlink_to(path)
    done(link, "operators", "add", "alice", "--generate")
    assert link.is_symlink() and "alice" in load(path).operators
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


def test_a_file_that_changed_meanwhile_is_not_written_over(path: Path) -> None:
    settings = {"password": "$argon2id$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$0HjLHlmfUiCD0mW2U9YPJw"}
    with pytest.raises(Exception, match="changed meanwhile"), change_operator(path, "alice", settings):
        path.write_text(path.read_text() + "# another's\n")
    assert path.read_text().endswith("# another's\n")


def test_operators_among_other_tables_are_changed_with_their_comments(path: Path) -> None:
    path.write_text(
        f"{OPERATOR}{HASH}# of alice\n{path.read_text()}\n{OPERATOR.replace('alice', 'bob')}{HASH}# of bob\n"
    )
    done(path, "operators", "passwd", "bob", "--stdin", given=PASSWORD)
    assert list(load(path).operators) == ["alice", "bob"]
    for comment in ("# mine", "# of alice", "# of bob"):
        assert comment in path.read_text()


@pytest.mark.parametrize("text", ["[gateway]\ncontry = 1\n", "operator = []\n", "a = [\n"])
def test_a_file_that_cannot_be_edited_is_left_alone(path: Path, text: str) -> None:
    path.write_text(text)
    assert gateway(path, "operators", "add", "alice", "--generate").exit_code == 1
    assert path.read_text() == text


def test_without_a_file_it_says_how_to_get_one(tmp_path: Path) -> None:
    assert "`gateway init` writes one" in gateway(tmp_path / "none.toml", "operators", "list").output


def test_the_trail_is_printed_filtered_and_harmless(path: Path) -> None:
    entries = [
        audit.AuditEntry(at=1_790_000_000, who="alice", action="login", remote="192.0.2.1", details={"by": "password"}),
        audit.AuditEntry(at=1_790_000_060, who="bob\x1b[2J", action="login refused", remote="192.0.2.2"),
    ]
    with Store(load(path).database) as store:
        store.migrate()
        for entry in entries:
            store.writer.write(partial(audit.record, entry=entry))
    lines = done(path, "audit").splitlines()
    assert "bob\\x1b[2J" in lines[0] and lines[1].endswith("alice  192.0.2.1  login  by=password")
    assert len(done(path, "audit", "--who", "alice").splitlines()) == 1
    assert "bob" in done(path, "audit", "--action", "login refused")
    assert "alice" not in done(path, "audit", "--since", "2026-09-21T14:14")
    assert [json.loads(line)["who"] for line in done(path, "audit", "--json").splitlines()] == ["bob\x1b[2J", "alice"]
