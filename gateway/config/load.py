"""`gateway.toml` → `Config`, or every mistake in it at once."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marshmallow import Schema, ValidationError

from gateway.config.building import build, prefix_of
from gateway.config.environment import environment, filled
from gateway.config.errors import Findings
from gateway.config.model import Config, ConfigError, Fault
from gateway.config.number_checks import check_numbers
from gateway.config.places import Place, lines_of
from gateway.config.schema import (
    TABLES,
    CarrierXTable,
    EndpointTable,
    GatewayTable,
    KeywordTable,
    LegacyTable,
    NumberTable,
    TemplateTable,
)
from gateway.config.sending_checks import check_sending
from gateway.config.spelling import kind_of, unknown
from gateway.config.validate import check_carrierx, check_endpoint, check_gateway

Raw = dict[str, Any]

_AT = re.compile(r" \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)$")
# What `tomllib` says of common slips, and what to do about them.
_HINTS = {
    "Cannot overwrite a value": "this setting is there twice",
    "Unescaped '\\' in a string": "a backslash must be doubled, or the text put in 'single quotes'",
    "Invalid hex value": "a backslash must be doubled, or the text put in 'single quotes'",
    "Invalid value": "is the text not in quotes?",
    "Expected '=' after a key in a key/value pair": "every line is a [table], or name = value",
}


def load(path: Path, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a file. Raises `ConfigError`, also where there is no such file.

    `environ`: what ``${NAME}`` is taken from; this process's own variables if None.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise _whole(path, "there is no such file; `gateway init` writes one") from None
    except OSError as error:
        raise _whole(path, f"cannot be read: {error.strerror or 'unknown error'}") from None
    except UnicodeDecodeError:
        raise _whole(path, "is not UTF-8; save it as UTF-8, without or with a byte order mark") from None
    return loads(text, path=path, environ=environ)


def _whole(path: Path, text: str) -> ConfigError:
    return ConfigError([Fault("", None, text)], str(path))


def loads(text: str, *, path: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """The configuration in a text. Relative paths are taken from the folder of `path`, else from the current one."""
    findings = Findings(str(path) if path else "gateway.toml")
    folder = (path.absolute().parent if path else Path.cwd()).absolute()
    raw = _parse(text, findings)
    findings.stop()
    findings.lines = lines_of(text, raw)
    raw = filled(raw, environment() if environ is None else environ, findings)
    tables = _tables(raw, findings)
    _check(tables, raw, findings, folder)
    findings.stop()
    return build(tables, path.absolute() if path else None, folder, findings.warnings)


def _parse(text: str, findings: Findings) -> Raw:
    try:
        return tomllib.loads(text)
    except RecursionError:
        findings.on_line(None, "holds lists or tables too deep in one another")
    except ValueError as error:
        findings.on_line(*_located(str(error), text))
    return {}


def _located(said: str, text: str) -> tuple[int, str]:
    found = _AT.search(said)
    said = _AT.sub("", said)
    hint = next((f"; {hint}" for start, hint in _HINTS.items() if said == start), "")
    if found is None or found["line"] is None:
        return len(text.rstrip().split("\n")), f"{said} (at the end of the file){hint}"
    return int(found["line"]), f"{said} (column {found['column']}){hint}"


def _tables(raw: Raw, findings: Findings) -> dict[str, Any]:
    """Every table as its schema reads it; of a bad one what is good in it."""
    for name in raw.keys() - set(TABLES):
        findings.fault((name,), _misplaced(name) or unknown(name, TABLES, "a table of this file"))
    return {
        "gateway": _table(GatewayTable(), raw.get("gateway", {}), ("gateway",), findings),
        "carrierx": _table(CarrierXTable(), raw.get("carrierx", {}), ("carrierx",), findings),
        "legacy": _table(LegacyTable(), raw.get("legacy", {}), ("legacy",), findings),
        "template": _named(TemplateTable(), raw.get("template", {}), _TEMPLATE, findings),
        "endpoint": _named(EndpointTable(), raw.get("endpoint", {}), _ENDPOINT, findings),
        "number": _numbers(raw.get("number", []), findings),
    }


def _misplaced(name: str) -> str:
    return "must stand under [gateway]" if name in GatewayTable().fields else ""


def _table(schema: Schema, raw: object, here: Place, findings: Findings) -> Raw:
    try:
        read: Raw = schema.load(raw)  # type: ignore[arg-type]
    except ValidationError as error:
        findings.faults(here, error.messages)
        good = error.valid_data
        return good if isinstance(good, dict) else {}
    return read


_ENDPOINT = ("endpoint", "tables with names, [endpoint.NAME]", "[endpoint.NAME]: an endpoint needs a name")
_TEMPLATE = ("template", "tables with IDs, [template.ID]", "[template.ID]: a template needs an ID")


def _named(schema: Schema, raw: object, said: tuple[str, str, str], findings: Findings) -> Raw:
    """The tables under one name. `said`: that name, what they must be, and where a setting must stand."""
    table, kind, where = said
    if not isinstance(raw, dict):
        findings.fault((table,), f"must be {kind}, not {kind_of(raw)}")
        return {}
    for name, each in raw.items():
        if not isinstance(each, dict):
            findings.fault((table, name), f"must stand under {where}")
    tables = {name: each for name, each in raw.items() if isinstance(each, dict)}
    return {name: _table(schema, each, (table, name), findings) for name, each in tables.items()}


def _numbers(raw: object, findings: Findings) -> list[Raw]:
    numbers = []
    for place, each in _rows(raw, ("number",), findings):
        number = _table(NumberTable(), each, place, findings)
        rows = _rows(number.get("keyword", []), (*place, "keyword"), findings)
        number["keyword"] = [_table(KeywordTable(), row, at, findings) for at, row in rows]
        numbers.append(number)
    return numbers


def _rows(raw: object, here: Place, findings: Findings) -> list[tuple[Place, object]]:
    if isinstance(raw, list):
        return [((*here, index), each) for index, each in enumerate(raw)]
    name = ".".join(str(step) for step in here if isinstance(step, str))
    findings.fault(here, f"must be written with two brackets, [[{name}]]")
    return []


def _check(tables: Mapping[str, Any], raw: Raw, findings: Findings, folder: Path) -> None:
    check_gateway(tables["gateway"], _dict(raw.get("gateway")), findings)
    check_carrierx(tables["carrierx"], findings)
    written = _dict(raw.get("endpoint"))
    for name, endpoint in tables["endpoint"].items():
        check_endpoint(name, endpoint, _dict(written.get(name)), findings, folder)
    prefix = prefix_of(tables["gateway"].get("country", ""))
    check_numbers(tables["number"], written, prefix, findings)
    check_sending(tables, findings)


def _dict(value: object) -> Raw:
    return value if isinstance(value, dict) else {}
