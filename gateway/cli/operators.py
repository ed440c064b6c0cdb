"""`gateway operators`: who may log in to the console; `gateway audit`: who did what."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import click
import pyotp
import segno
from argon2 import PasswordHasher

from gateway.cli import cannot_be_written, config_option, open_store, parse_time, printable, record, write_new_file
from gateway.config import ADMIN, load
from gateway.config.operators import change_operator
from gateway.config.secrets import new_password
from gateway.config.validate import MAX_PASSWORD_CHARACTERS, MIN_PASSWORD_CHARACTERS
from gateway.store import audit as trail

READ_ROWS = 500  # entries of the audit trail in one transaction


@click.group()
def operators() -> None:
    """People and programs that may log in to the console, by name. Running processes read a change within a second."""


_generate_option = click.option("--generate", is_flag=True, help="Make a password, and print it once.")
_stdin_option = click.option("--stdin", is_flag=True, help="Read the password from the first line of stdin.")
_qr_option = click.option("--qr", type=click.Path(path_type=Path), metavar="FILE.svg", help="For the QR code.")


@operators.command()
@click.argument("name")
@click.option("--role", type=click.Choice(["read", "operate", "admin"]), default="operate", show_default=True)
@click.option("--totp", is_flag=True, help="Ask for one-time codes, too; prints the QR code for an app.")
@_qr_option
@_generate_option
@_stdin_option
@config_option
def add(name: str, role: str, totp: bool, qr: Path | None, generate: bool, stdin: bool, path: Path) -> None:
    """Add an operator. The password is asked for, and only its hash is written."""
    if name in load(path).operators:
        raise click.ClickException(f"{name} is an operator of {path} already: gateway operators passwd, totp, remove.")
    secret = pyotp.random_base32() if totp else ""
    settings = {"password": _hash_of_new_password(generate, stdin), "role": role, "totp": secret}
    _change(path, "operator added", name, settings, role=role, totp=totp)
    _show_totp(name, secret, qr)


@operators.command(name="list")
@config_option
def list_(path: Path) -> None:
    """Print every operator with the role."""
    config = load(path)
    for name, each in config.all_operators().items():
        single = "the single password of [gateway]" if name not in config.operators else ""
        click.echo(f"{name:24} {each.role:8} {'totp' if each.totp else '-':5} {single}".rstrip())


@operators.command()
@click.argument("name")
@_generate_option
@_stdin_option
@config_option
def passwd(name: str, generate: bool, stdin: bool, path: Path) -> None:
    """Set an operator's password, and end the operator's sessions."""
    _check_known(name, path)
    _change(path, "operator password", name, {"password": _hash_of_new_password(generate, stdin)})


@operators.command()
@click.argument("name")
@click.option("--off", is_flag=True, help="Ask for no codes any more.")
@_qr_option
@config_option
def totp(name: str, off: bool, qr: Path | None, path: Path) -> None:
    """Give an operator a new secret for one-time codes, and show its QR code."""
    _check_known(name, path)
    secret = "" if off else pyotp.random_base32()
    _change(path, "operator totp", name, {"totp": secret}, on=not off)
    _show_totp(name, secret, qr)


@operators.command()
@click.argument("name")
@config_option
def remove(name: str, path: Path) -> None:
    """Remove an operator; the operator's sessions end."""
    _check_known(name, path)
    _change(path, "operator removed", name, None)


def _check_known(name: str, path: Path) -> None:
    known = load(path).operators
    if name not in known:
        hint = f" {ADMIN} has the password of [gateway] until there is one." if name == ADMIN else ""
        raise click.ClickException(f"{name} is no [[operator]] of {path}. Known: {', '.join(known) or 'none'}.{hint}")


def _change(path: Path, action: str, name: str, settings: Mapping[str, str] | None, **details: object) -> None:
    with cannot_be_written(path), change_operator(path, name, settings), open_store(load(path)) as store:
        record(store, action, name, **details)
    click.echo(f"Wrote {path}. Running processes read it within a second.", err=True)


def _hash_of_new_password(generate: bool, stdin: bool) -> str:
    if generate:
        password = new_password()
        click.echo(f"Password: {password}")
    elif stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        raise click.ClickException(f"A password has {MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS} characters.")
    return PasswordHasher().hash(password.encode("utf-8", "surrogatepass"))


def _show_totp(name: str, secret: str, file: Path | None) -> None:
    """Shows a secret, if there is one, as a QR code: in the terminal, or in a file that its owner alone can read."""
    if not secret:
        return
    code = segno.make(pyotp.TOTP(secret).provisioning_uri(name=name, issuer_name="SMS gateway"))
    if file is None:
        code.terminal(compact=True)
        click.echo(f"Scan it with an authenticator app, or type: {secret}")
    else:
        image = io.BytesIO()
        code.save(image, kind="svg", scale=4)
        write_new_file(file, image.getvalue())
        click.echo(f"Scan {file} with an authenticator app, then delete it.")


@click.command()
@click.option("--since", "start", metavar="TIME", callback=parse_time, help="Only since then: 6h, 2026-11-20T08:00.")
@click.option("--who", default="", help="Only of this operator, or of this user's commands: `root (command)`.")
@click.option("--action", default="", help="Only this: login, replay, …")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@config_option
def audit(start: float | None, who: str, action: str, as_json: bool, path: Path) -> None:
    """Print who did what, from where, and when; the newest first."""
    before = trail.NEWEST_ID
    with open_store(load(path)) as store:
        while True:
            with store.reader() as conn:
                entries = trail.newest(conn, READ_ROWS, before=before, who=who, action=action)
            for entry in entries:
                if entry.at < (start or 0):
                    return
                before = entry.id
                details = " ".join(f"{name}={value}" for name, value in entry.details.items())
                at = f"{datetime.fromtimestamp(entry.at, UTC):%Y-%m-%d %H:%M:%S}"
                words = (at, entry.who, entry.remote or "-", entry.action, entry.subject, details)
                line = json.dumps(dataclasses.asdict(entry)) if as_json else "  ".join(word for word in words if word)
                click.echo(printable(line))
            if not entries:
                return
