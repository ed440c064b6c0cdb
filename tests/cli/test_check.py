"""What a person types: check, explain, init."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from gateway.cli import LAZY_COMMANDS, main
from gateway.config import load

GOOD = """
[endpoint.crm]
url = "https://crm.example.com/sms?token=canary#part"
format = "carrierx"
[endpoint.sign-up]
url = "http://10.0.0.5/join.php"
[[number]]
number = "15162065919"
shortcode = "12345"
title = "Acme"
callback = ["crm"]
  [[number.keyword]]
  word = "JOIN"
  aliases = ["SIGNUP"]
  callback = ["sign-up", "crm"]
  [[number.keyword]]
  word = "JO"
  match = "prefix"
[[number]]
number = "15162065920"
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GATEWAY_CONFIG", raising=False)
    return tmp_path


def gateway(*arguments: str) -> Result:
    result = CliRunner().invoke(main, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def test_check_a_good_file(folder: Path) -> None:
    (folder / "gateway.toml").write_text(GOOD)
    result = gateway("check")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Warning: gateway.toml:19: number[1]: has no callback and no keyword: texts to it are kept as unrouted",
        "gateway.toml: no mistake. 2 endpoints, 2 numbers, 2 keywords, 1 warning.",
        f"Not set: keys and password. The first start makes what is missing, under {folder / 'data'}.",
    ]
    # Looking changes nothing.
    assert os.listdir(folder) == ["gateway.toml"]


def test_check_a_bad_file(folder: Path) -> None:
    (folder / "gateway.toml").write_text(
        GOOD + 'retention_days = "30"\ncallback = ["crn"]\n[endpoint.x]\nurl = "${URL}"'
    )
    result = gateway("check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        'gateway.toml:21: number[1].retention_days: "retention_days" is not a setting; '
        "known: number, shortcode, title, group, default_keyword, callback, status, opt_out, keyword",
        'gateway.toml:22: number[1].callback[0]: "crn" is not an endpoint; did you mean "crm"?',
        "gateway.toml:24: endpoint.x.url: the environment variable URL is not set",
        "Warning: gateway.toml:23: endpoint.x: is called by no number and no keyword",
        "3 mistakes, 1 warning.",
    ]


def test_check_without_a_file(folder: Path) -> None:
    result = gateway("check")
    assert result.exit_code == 1
    assert result.stdout.startswith("gateway.toml: there is no such file; `gateway init` writes one\n")


def test_the_file_is_named_by_option_or_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "a.toml").write_text(GOOD)
    assert gateway("check", "--config", "a.toml").exit_code == 0
    monkeypatch.setenv("GATEWAY_CONFIG", str(folder / "a.toml"))
    assert gateway("check").exit_code == 0
    result = gateway("check", "--config", "b.toml")
    assert result.exit_code == 1
    assert result.stdout.startswith("b.toml: there is no such file")


def test_explain_a_keyword(folder: Path) -> None:
    (folder / "gateway.toml").write_text(GOOD)
    result = gateway("explain", "--to", "12345", "“Signup” please")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "Number   15162065919 (short code 12345, Acme)",
        'Keyword  JOIN: the first word is "SIGNUP", another word for "JOIN"',
        "Goes to  sign-up  legacy    http://10.0.0.5/join.php",
        "Goes to  crm      carrierx  https://crm.example.com/sms?token=[hidden]",
    ]


def test_explain_the_losers(folder: Path) -> None:
    (folder / "gateway.toml").write_text(GOOD)
    result = gateway("explain", "--to", "+1 516 206 5919", "join", "now")
    assert result.stdout.splitlines()[-1] == (
        'Also     JO (prefix): the text begins with "JO"; but match = "word" is more exact than match = "prefix"'
    )


def test_explain_no_keyword(folder: Path) -> None:
    (folder / "gateway.toml").write_text(GOOD)
    result = gateway("explain", "--to", "12345", "singup")
    assert result.stdout.splitlines() == [
        "Number   15162065919 (short code 12345, Acme)",
        "Keyword  none matches: the text goes to the number's own callback",
        'Perhaps  "singup" is much like "SIGNUP"',
        "Goes to  crm  carrierx  https://crm.example.com/sms?token=[hidden]",
    ]


def test_explain_what_is_unrouted(folder: Path) -> None:
    (folder / "gateway.toml").write_text(GOOD)
    result = gateway("explain", "--to", "15162065920", "")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "Goes to  no endpoint: the text is kept as unrouted"


def test_explain_a_number_that_is_not_known(folder: Path) -> None:
    (folder / "gateway.toml").write_text(GOOD)
    result = gateway("explain", "--to", "999", "join")
    assert result.exit_code == 1
    assert result.stderr == (
        "999 is no number or short code of gateway.toml. Known: 15162065919 (short code 12345, Acme), 15162065920\n"
    )
    (folder / "gateway.toml").write_text("")
    assert gateway("explain", "--to", "999", "join").stderr.endswith("It has none at all: add a [[number]].\n")


def test_explain_with_a_broken_file(folder: Path) -> None:
    (folder / "gateway.toml").write_text("[gateway]\nkeys = 1")
    result = gateway("explain", "--to", "999", "join")
    assert result.exit_code == 1
    assert result.stderr == "gateway.toml:2: gateway.keys: must be a list, not a whole number\n"


def test_init_writes_a_file_that_is_good_as_it_stands(folder: Path) -> None:
    result = gateway("init")
    assert result.exit_code == 0
    assert result.stdout.startswith("Wrote gateway.toml.")
    assert stat.S_IMODE((folder / "gateway.toml").stat().st_mode) == 0o600
    assert os.listdir(folder) == ["gateway.toml"]
    assert load(folder / "gateway.toml", {}).warnings == ()
    assert gateway("check").exit_code == 0
    assert "JOIN" in gateway("explain", "--to", "12345", "join us").stdout


def test_everything_that_the_sample_leaves_out_is_good_too(folder: Path) -> None:
    """The examples behind a # are settings that can be switched on."""
    gateway("init")
    sample = (folder / "gateway.toml").read_text()
    lines = [
        line[2:] if line.startswith("# ") and ("= " in line or line.startswith("# [")) else line
        for line in sample.splitlines()
    ]
    lines = [line for line in lines if "postgresql" not in line]
    environ = dict.fromkeys(
        ["GATEWAY_KEY", "GATEWAY_PASSWORD", "CARRIERX_TOKEN", "LEGACY_PASSWORD", "LEGACY_API_KEY"], "x" * 20
    ) | dict.fromkeys(["SIGNUP_PASSWORD", "SIGNUP_BASIC_PASSWORD", "CRM_SECRET", "CARRIERX_KEY"], "y" * 20)
    environ |= {"ALICE_PASSWORD": "z" * 20, "ALICE_TOTP": "A" * 32, "GATEWAY_SESSION_SECRET": "s" * 32}
    (folder / "gateway.toml").write_text("\n".join(lines))
    config = load(folder / "gateway.toml", environ)
    assert config.warnings == ()
    assert config.legacy is not None
    assert config.carrierx.token
    assert config.endpoints["signup"].format_options.charset == "windows-1252"
    assert config.endpoints["signup"].credentials is not None
    assert config.endpoints["crm"].headers == (("X-Tenant", "acme"),)


def test_init_does_not_write_over_a_file(folder: Path) -> None:
    (folder / "gateway.toml").write_text("mine")
    result = gateway("init")
    assert result.exit_code == 1
    assert "gateway.toml is there already; --force writes over it." in result.stderr
    assert (folder / "gateway.toml").read_text() == "mine"
    assert gateway("init", "--force").exit_code == 0
    assert stat.S_IMODE((folder / "gateway.toml").stat().st_mode) == 0o600
    assert gateway("check").exit_code == 0


def test_init_where_it_cannot(folder: Path) -> None:
    result = gateway("init", "--config", "no/folder/gateway.toml")
    assert result.exit_code == 1
    assert "no/folder/gateway.toml cannot be written: No such file or directory." in result.stderr


def test_python_m_gateway(folder: Path) -> None:
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-m", "gateway", "check"], capture_output=True, text=True, cwd=folder, env=environ, check=False
    )
    assert (result.returncode, result.stderr) == (1, "")
    assert "there is no such file" in result.stdout


@pytest.mark.parametrize("name", [*LAZY_COMMANDS, "check", "explain", "init"])
def test_every_command_is_there_under_its_name(name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert command.name == name
    assert command.help


def test_help_lists_the_commands(folder: Path) -> None:
    result = gateway("--help")
    assert result.exit_code == 0
    listed = {line.split()[0] for line in result.stdout.partition("Commands:\n")[2].splitlines() if line.strip()}
    assert {*LAZY_COMMANDS, "check", "explain", "init"} - {"sandbox-page"} <= listed


def test_check_needs_neither_web_nor_database_nor_libcurl(folder: Path) -> None:
    program = "import sys; from gateway.__main__ import main; main(['check'], standalone_mode=False)"
    heavy = "assert not {'flask', 'sqlalchemy', 'pycurl', 'requests', 'granian'} & set(sys.modules)"
    (folder / "gateway.toml").write_text("")
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    result = subprocess.run(
        [sys.executable, "-c", f"{program}; {heavy}"], capture_output=True, text=True, env=environ, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
