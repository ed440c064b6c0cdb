"""Runs the golden vectors in ``tests/vectors``: files of bytes, and the messages that they hold.

``FORMAT/NAME.http`` is read (headers, an empty line, the body) and compared with ``NAME.json``: `message` or `errors`,
`notes`, `receipt`, and `credentials`, which ``NAME.scrubbed.http`` is without. ``crossing/NAME`` has ``in.http``, its
``out.http`` in the other format, and ``how.json``: `from`, `to`, `facts`, `manners`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, fields
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schemas import (
    FORMATS,
    BadCallback,
    CannotSay,
    FormatOptions,
    Message,
    NumberContext,
    ReceiveContext,
    credentials,
    enrich,
    for_recipient,
)
from schemas.status import NUMERIC

VECTORS = Path(__file__).parents[1] / "vectors"
CROSSINGS = "crossing"
AT_LEAST = {"legacy-callback": 100, "legacy-status": 55, "carrierx": 140, CROSSINGS: 100}
"""A folder that is lost, or not found, must be a failure and not a quiet success."""

RECEIPT = {"now": "2026-03-01T12:00:00.250Z", "sid": "5f1c0f3e-8f3a-4b52-9d0e-3a1f5b7c9d11"}
ANY = "*"

LOADS = sorted(path for name in FORMATS for path in (VECTORS / name).glob("*.json"))
CROSSED = sorted((VECTORS / CROSSINGS).glob("*/how.json"))


def named(path: Path) -> str:
    parts = path.relative_to(VECTORS).with_suffix("").parts
    return "/".join(parts[:-1] if parts[0] == CROSSINGS else parts)


def http_of(path: Path) -> tuple[dict[str, str], bytes]:
    """Header lines up to the first empty line, and every byte behind it."""
    head, _, body = (b"\n" + path.read_bytes()).partition(b"\n\n")
    lines = head.decode("latin-1").splitlines()[1:]
    return dict(line.split(": ", 1) for line in lines), body


def told(path: Path) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(path.read_text("utf-8"), parse_float=Decimal)
    return said


def load(name: str, path: Path, receipt: Mapping[str, str]) -> Message:
    headers, body = http_of(path)
    told_by = {**RECEIPT, **receipt}
    now = datetime.fromisoformat(told_by.pop("now"))
    return FORMATS[name].load(body, headers.get("Content-Type"), ReceiveContext(now=now, **told_by))


def plain(value: object) -> object:
    """The value as JSON writes it, but a number with a fraction keeps every digit: 0.10 is not 0.1."""
    if isinstance(value, Decimal):
        return ("number", str(value))
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, Mapping):
        return {name: plain(inner) for name, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (tuple, list)) else value


def said_by(message: Message) -> dict[str, object]:
    """Every attribute that is not at its default. Notes are compared by themselves."""
    said = {}
    for one in fields(message):
        value = getattr(message, one.name)
        default = {} if one.default is MISSING else one.default
        if one.name != "notes" and (one.default is one.default_factory is MISSING or plain(value) != plain(default)):
            said[one.name] = plain(value)
    return said


def expected(message: Mapping[str, Any]) -> dict[str, object]:
    price = message.get("price")
    numbered = {**message, "price": Decimal(price)} if isinstance(price, int) else message
    return {name: plain(value) for name, value in numbered.items()}


def check_notes(notes: tuple[str, ...], words: list[str]) -> None:
    """Wants one note for each word, in that order: the wording is the code's, the subject the vector's."""
    assert len(notes) == len(words) and all(w in n for w, n in zip(words, notes, strict=True)), (notes, words)


@pytest.mark.parametrize("folder", AT_LEAST)
def test_no_vector_is_lost(folder: str) -> None:
    found = CROSSED if folder == CROSSINGS else [path for path in LOADS if path.parent.name == folder]
    assert len(found) >= AT_LEAST[folder]
    used = {path for one in found for path in (one.parent.iterdir() if folder == CROSSINGS else _files(one))}
    left = {path for path in (VECTORS / folder).rglob("*") if path.is_file()} - used
    assert not left, "files that no vector reads"


def _files(vector: Path) -> list[Path]:
    return [vector, vector.with_suffix(".http"), vector.with_suffix(".scrubbed.http")]


@pytest.mark.parametrize("path", LOADS, ids=named)
def test_load(path: Path) -> None:
    said = told(path)
    name, body = path.parent.name, path.with_suffix(".http")
    if "errors" in said:
        with pytest.raises(BadCallback) as refused:
            load(name, body, said.get("receipt", {}))
        assert sorted(refused.value.errors) == sorted(said["errors"])
        assert all(faults and all(faults) for faults in refused.value.errors.values())
        return
    message = load(name, body, said.get("receipt", {}))
    wanted, got = expected(said["message"]), said_by(message)
    if wanted.get("message_sid") == ANY:
        wanted["message_sid"] = got["message_sid"]
    assert got == wanted
    check_notes(message.notes, said.get("notes", []))


@pytest.mark.parametrize("path", [path for path in LOADS if path.parent.name.startswith("legacy")], ids=named)
def test_credentials(path: Path) -> None:
    """The trio is read for checking, blanked for keeping, and every other byte is kept as it came."""
    headers, body = http_of(path.with_suffix(".http"))
    content_type, said = headers.get("Content-Type"), told(path)
    scrubbed = path.with_suffix(".scrubbed.http")
    wanted = http_of(scrubbed)[1] if scrubbed.exists() else body
    if "errors" in said:
        assert credentials.scrub_refused(body) == wanted
        assert "body" not in said["errors"] or credentials.read(body, content_type) == {}
        return
    assert credentials.scrub(body, content_type) == wanted
    assert credentials.read(body, content_type) == said.get("credentials", {})
    assert not set(credentials.CREDENTIALS) & set(load(path.parent.name, path.with_suffix(".http"), {}).extra)


@pytest.mark.parametrize("path", CROSSED, ids=named)
def test_crossing(path: Path) -> None:
    how = told(path)
    message = load(how["from"], path.with_name("in.http"), how.get("receipt", {}))
    message = enrich(message, NumberContext(**how.get("facts", {})))
    recipient = how.get("recipient", message.to)
    assert recipient in message.recipients
    message = for_recipient(message, recipient)
    options = _options(how.get("manners", {}))
    if how.get("cannot_say"):
        with pytest.raises(CannotSay, match=r"\w+ .*\.$"):
            FORMATS[how["to"]].dump(message, options)
        return
    body = FORMATS[how["to"]].dump(message, options)
    data = credentials.append(body.data, how.get("credentials", {}), options)
    headers, wanted = http_of(path.with_name("out.http"))
    assert {"Content-Type": body.content_type, **dict(body.headers)} == headers
    assert _read(data, how["to"]) == _read(wanted, how["to"])
    check_notes(body.notes, how.get("notes", []))


def _options(said: Mapping[str, Any]) -> FormatOptions:
    shaped: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in said.items()}
    if "encode_twice" in shaped:
        shaped["encode_twice"] = frozenset(shaped["encode_twice"])
    if shaped.get("status_words") == "numeric":
        shaped["status_words"] = NUMERIC
    return FormatOptions(**shaped)


def _read(data: bytes, name: str) -> object:
    """A form is compared byte for byte, JSON token by token and in order: its white space does not matter."""
    if name != "carrierx":
        return data
    return json.loads(
        data.decode(),
        object_pairs_hook=list,
        parse_float=lambda text: ("number", text),
        parse_int=lambda text: ("number", text),
    )
