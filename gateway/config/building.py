"""Tables that passed every check → frozen `Config`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from phonenumbers import country_code_for_region

from gateway.config.model import CarrierX, Config, Credentials, Endpoint, Keyword, Number, OptOutReplies
from gateway.safe_http.error_pages import FAILURE_BODY
from schemas.credentials import CREDENTIALS
from schemas.fields import number as normalised
from schemas.message import FormatOptions

Table = Mapping[str, Any]

CONNECT_TIMEOUT = 5.0
"""Seconds, where the file says nothing and the timeout is not shorter."""
_SQLITE = "sqlite:///"


def prefix_of(country: str) -> str:
    """The calling code of a country by its two letters, ``1`` for ``US``; empty for none."""
    return str(country_code_for_region(country)) if country else ""


def build(tables: Mapping[str, Any], path: Path | None, folder: Path, warnings: tuple[str, ...]) -> Config:
    """The whole configuration. `tables` as `reading` made them, with no mistake in them."""
    gateway: Table = tables["gateway"]
    prefix = prefix_of(gateway["country"])
    return Config(
        path=path,
        folder=folder,
        data=folder / "data",
        database=database_url(gateway["database"], folder),
        public_url=gateway["public_url"],
        keys=tuple(gateway["keys"]),
        password=gateway["password"],
        allow_networks=tuple(gateway["allow_networks"]),
        retention_days=gateway["retention_days"],
        country=gateway["country"],
        prefix=prefix,
        trusted_proxies=tuple(gateway["trusted_proxies"]),
        egress_proxy=gateway["egress_proxy"],
        carrierx=CarrierX(**tables["carrierx"]),
        legacy=_credentials({name: tables["legacy"][name] for name in CREDENTIALS}),
        tickets=tables["legacy"]["tickets"],
        templates=MappingProxyType({name: each["text"] for name, each in tables["template"].items()}),
        opt_out_replies=OptOutReplies(
            stop=gateway["stop_reply"], start=gateway["start_reply"], help=gateway["help_reply"]
        ),
        endpoints=MappingProxyType(
            {name: _endpoint(name, each, folder, prefix) for name, each in tables["endpoint"].items()}
        ),
        numbers=tuple(_number(each, prefix, gateway["opt_out"]) for each in tables["number"]),
        warnings=warnings,
    )


def database_url(url: str, folder: Path) -> str:
    """For SQLAlchemy: an SQLite file by its absolute path, a server's URL as it is."""
    if not url.startswith(_SQLITE):
        return url
    return _SQLITE + (folder / url.removeprefix(_SQLITE)).as_posix()


def _credentials(table: Table | None) -> Credentials | None:
    return Credentials(**table) if table and any(table.values()) else None


def _endpoint(name: str, table: Table, folder: Path, prefix: str) -> Endpoint:
    legacy = table["format"] == "legacy"
    verify = table["verify_tls"]
    return Endpoint(
        name=name,
        url=table["url"],
        format=table["format"],
        manners=_manners(table, prefix),
        timeout=table["timeout"],
        connect_timeout=table.get("connect_timeout", min(CONNECT_TIMEOUT, table["timeout"])),
        concurrency=table["concurrency"],
        credentials=_credentials(table.get("credentials")),
        username=table["username"],
        password=table["password"],
        headers=table["headers"],
        secret=table["secret"],
        verify_tls=str(folder / verify) if isinstance(verify, str) else verify,
        tls_min=table["tls_min"],
        success=table["success"],
        success_body=table["success_body"],
        failure_body=tuple(table.get("failure_body", FAILURE_BODY if legacy else ())),
    )


def _manners(table: Table, prefix: str) -> FormatOptions:
    words = table["status_words"]
    return FormatOptions(
        shape=table["shape"],
        charset=table["charset"],
        send_charset=table["send_charset"],
        encode_twice=frozenset(table["encode_twice"]),
        status_words=None if words is None else MappingProxyType(dict(words)),
        extra_fields=tuple(table["extra_fields"]),
        media=table["media"],
        legacy_key=table["legacy_key"],
        phone=table["phone"],
        prefix=prefix,
    )


def _number(table: Table, prefix: str, opt_out: str) -> Number:
    number = normalised(table["number"], prefix)
    return Number(
        number=number,
        shortcode=normalised(table["shortcode"], prefix) if "shortcode" in table else number,
        title=table["title"],
        group=table["group"],
        default_keyword=table["default_keyword"],
        callback=_names(table["callback"]),
        status=_names(table["status"]),
        keywords=tuple(_keyword(each, table) for each in table["keyword"]),
        opt_out=table.get("opt_out", opt_out),
    )


def _keyword(table: Table, number: Table) -> Keyword:
    return Keyword(
        word=str(table["word"]),
        aliases=tuple(map(str, table["aliases"])),
        match=table["match"],
        callback=_names(table.get("callback", number["callback"])),
        title=table.get("title", number["title"]),
        group=table.get("group", number["group"]),
        reply=table["reply"],
    )


def _names(names: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(str, names)))
