"""The tables of `gateway.toml`, made from the model's settings, and the model made from what was read of them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phonenumbers import country_code_for_region

from gateway.config import fields
from gateway.config.errors import FromEnvironment, Messages, unknown
from gateway.config.fields import Mistake, Setting, settings_of
from gateway.config.model import (
    FORMAT_OPTIONS,
    CarrierX,
    Config,
    Credentials,
    Endpoint,
    Key,
    Keyword,
    Number,
    Operator,
    Retention,
)
from gateway.safe_http.error_pages import FAILURE_BODY
from schemas.fields import number as normalised
from schemas.message import FormatOptions

Table = Mapping[str, Any]

_GATEWAY = settings_of(Config)
_TICKETS = _GATEWAY.pop("tickets")
_KEYWORD = settings_of(Keyword)
_KEY = settings_of(Key)
_SCOPE = _KEY.pop("wire_formats")
TABLES: Mapping[str, Mapping[str, Setting]] = {
    "gateway": _GATEWAY,
    "carrierx": settings_of(CarrierX),
    "retention": settings_of(Retention),
    "legacy": {**settings_of(Credentials), "tickets": _TICKETS},
    "template": {
        "text": Setting(
            fields.REQUIRED,
            partial(fields.template, ()),
            "At most 1,600 characters, with placeholders that the call fills: `{name}` or `{{ name }}`, of letters, "
            "digits and `_ . -`. Elsewhere `{{` and `}}` stand for braces.",
        )
    },
    "endpoint": {**settings_of(Endpoint), **FORMAT_OPTIONS},
    "number": {
        **settings_of(Number),
        "keyword": Setting(
            (), partial(fields.rows, "number.keyword", _KEYWORD), "Tables `[[number.keyword]]`.", "none"
        ),
    },
    "number.keyword": _KEYWORD,
    "key": {**_KEY, "for": _SCOPE},
    "operator": settings_of(Operator),
}
"""Every setting of the file, by the name of its table."""
_NAMED = {
    "template": ("tables with IDs, [template.ID]", "[template.ID]: a template needs an ID"),
    "endpoint": ("tables with names, [endpoint.NAME]", "[endpoint.NAME]: an endpoint needs a name"),
}
_READ: Mapping[str, Callable[[Any], Any]] = {
    **{name: partial(fields.table, TABLES[name]) for name in ("gateway", "carrierx", "retention", "legacy")},
    **{name: partial(fields.named, *words, TABLES[name]) for name, words in _NAMED.items()},
    **{name: partial(fields.rows, name, TABLES[name]) for name in ("number", "key", "operator")},
}
_SQLITE = "sqlite:///"


def prefix_of(country: str) -> str:
    """The calling code of a country by its two letters, ``1`` for ``US``; empty for none."""
    return str(country_code_for_region(country)) if country else ""


def read(written: Mapping[str, Any]) -> tuple[dict[str, Any], Messages]:
    """Every table of the file, with what is good in it, and the mistakes."""

    def read_one(name: str, value: object) -> Any:
        if name in _READ:
            return _READ[name](value)
        is_setting = name in TABLES["gateway"]
        raise Mistake("must stand under [gateway]" if is_setting else unknown(name, _READ, "a table of this file"))

    empty: dict[str, Any] = {**dict.fromkeys(_READ, {}), "number": [], "key": [], "operator": []}
    try:
        return fields.parts({**empty, **written}.items(), read_one), {}
    except Mistake as mistake:
        return {**empty, **mistake.good}, mistake.found


def build(tables: Mapping[str, Any], path: Path | None, folder: Path, warnings: tuple[str, ...]) -> Config:
    """The whole configuration, from tables without a mistake."""
    tables = _plain(tables)
    gateway, legacy = dict(tables["gateway"]), dict(tables["legacy"])
    prefix = prefix_of(gateway["country"])
    database = gateway.pop("database")
    retention = {"texts": gateway["retention_days"], **tables["retention"]}
    if database.startswith(_SQLITE):
        # For SQLAlchemy: an SQLite file by its absolute path.
        database = _SQLITE + (folder / database.removeprefix(_SQLITE)).as_posix()
    return Config(
        **gateway,
        path=path,
        folder=folder,
        data=folder / "data",
        database=database,
        prefix=prefix,
        carrierx=CarrierX(**tables["carrierx"]),
        retention=Retention(**{"phones": retention["texts"], **retention}),
        tickets=legacy.pop("tickets"),
        legacy=Credentials(**legacy) if any(legacy.values()) else None,
        templates=MappingProxyType({name: each["text"] for name, each in tables["template"].items()}),
        endpoints=MappingProxyType(
            {name: _endpoint(name, each, folder, prefix) for name, each in tables["endpoint"].items()}
        ),
        numbers=tuple(_number(each, prefix, gateway["opt_out"]) for each in tables["number"]),
        named_keys=tuple(Key(wire_formats=each.pop("for"), **each) for each in tables["key"]),
        operators=MappingProxyType({each["name"]: Operator(**each) for each in tables["operator"]}),
        warnings=warnings,
    )


def _plain(value: Any) -> Any:
    """`value` without the marks of what came from the environment."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return str(value) if isinstance(value, FromEnvironment) else value


def _endpoint(name: str, table: Table, folder: Path, prefix: str) -> Endpoint:
    settings = dict(table)
    options = {option: settings.pop(option) for option in FORMAT_OPTIONS if option in settings}
    options["encode_twice"] = frozenset(options["encode_twice"])
    usual = TABLES["endpoint"]["connect_timeout"].default
    settings.setdefault("connect_timeout", min(usual, settings["timeout"]))
    settings.setdefault("failure_body", FAILURE_BODY if settings["format"] == "legacy" else ())
    if isinstance(settings["verify_tls"], str):
        settings["verify_tls"] = str(folder / settings["verify_tls"])
    return Endpoint(name=name, format_options=FormatOptions(prefix=prefix, **options), **settings)


def _number(table: Table, prefix: str, opt_out: str) -> Number:
    settings = {"shortcode": table["number"], "opt_out": opt_out, **table}
    settings |= {name: normalised(settings[name], prefix) for name in ("number", "shortcode")}
    inherited = {name: settings[name] for name in ("callback", "title", "group")}
    keywords = tuple(Keyword(**_each_once({**inherited, **keyword})) for keyword in settings.pop("keyword", ()))
    return Number(**_each_once(settings), keywords=keywords)


def _each_once(table: Table) -> dict[str, Any]:
    """`table` with no endpoint twice in one of its lists."""
    return {**table, **{name: tuple(dict.fromkeys(table[name])) for name in ("callback", "status") if name in table}}


def sample() -> str:
    """The file that `gateway init` writes: the examples of sample.toml, each setting with its sentence above it.
    Where a table comes for the first time, its settings without an example are added with their defaults."""
    lines: list[str] = []
    explained: set[tuple[str, str]] = set()
    text = resources.files(__package__).joinpath("sample.toml").read_text("utf-8")
    for block in re.split(r"\n(?=\n *(?:# )?\[)", text):
        header = re.search(r"^( *)(?:# )?\[+(number\.keyword|\w+)", block, re.MULTILINE)
        if not header:
            lines += block.split("\n")
            continue
        indent, table = header.groups()
        format = re.search(r'format = "(\w+)"', block)
        formats = ("", format[1] if format else "")
        rows = block.rstrip().split("\n")
        for name, setting in TABLES[table].items():
            is_new = (table, name) not in explained and not re.search(rf"(?m)^ *(?:# )?{name} = ", block)
            if is_new and setting.format in formats and setting.example not in ("", '""'):
                rows.append(f"{indent}# {name} = {setting.example}")
        for row in rows:
            found = re.match(r" *(?:# )?(\w+) = ", row)
            if found and (table, found[1]) not in explained:
                explained.add((table, found[1]))
                sentence = textwrap.wrap(TABLES[table][found[1]].sentence, 110, break_on_hyphens=False)
                lines += ["", *(f"{indent}## {line}" for line in sentence)]
            lines.append(row)
    return "\n".join(lines) + "\n"
