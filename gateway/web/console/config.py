"""The configuration as it was read, for people: every setting, no secret. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from urllib.parse import urlsplit

from gateway.config import Config, Credentials, Endpoint
from gateway.delivery.redaction import shown_url
from schemas import FormatOptions
from schemas.credentials import CREDENTIALS

Row = tuple[str, str]
NONE = "–"


def gateway(config: Config) -> list[Row]:
    """The tables `[gateway]`, `[carrierx]` and `[legacy]`."""
    carrierx = config.carrierx
    login = "a token" if carrierx.token else "a login and its password" if carrierx.login else NONE
    return [
        ("file", str(config.path or "none: the sandbox's own")),
        ("database", _database(config.database)),
        ("public_url", config.public_url or NONE),
        ("keys", f"{len(config.keys)} set"),
        ("password", "set" if config.password else NONE),
        ("allow_networks", _listed(config.allow_networks)),
        ("retention_days", str(config.retention_days)),
        ("country", f"{config.country or NONE}, prefix {config.prefix or NONE}"),
        ("trusted_proxies", _listed(config.trusted_proxies)),
        ("egress_proxy", _without_user(config.egress_proxy) or NONE),
        *_replies(config),
        ("carrierx.base_url", carrierx.base_url),
        ("carrierx login", login),
        ("carrierx.partner_sid", carrierx.partner_sid or NONE),
        ("carrierx requests", f"{carrierx.timeout:g} s each, {carrierx.concurrency} side by side"),
        ("carrierx.doubt", f"{carrierx.doubt:g} s"),
        ("carrierx.missing_after", f"{carrierx.missing_after:g} s"),
        ("legacy credentials, checked", _trio(config.legacy)),
        ("legacy.tickets", config.tickets),
    ]


def _replies(config: Config) -> Iterator[Row]:
    """What answers STOP, START and HELP, if there is a number that answers."""
    if any(number.opt_out == "reply" for number in config.numbers):
        for field in fields(config.opt_out_replies):
            yield f"{field.name}_reply", getattr(config.opt_out_replies, field.name)


def endpoint(each: Endpoint) -> list[Row]:
    """One `[endpoint.NAME]`."""
    checks = "on" if each.verify_tls is True else "off" if each.verify_tls is False else each.verify_tls
    return [
        ("url", shown_url(each.url)),
        ("format", each.format),
        ("timeout", f"{each.timeout:g} s, to connect {each.connect_timeout:g} s"),
        ("concurrency", str(each.concurrency)),
        ("credentials", _trio(each.credentials)),
        ("HTTP Basic", f"user {each.username}" if each.username else "set" if each.password else NONE),
        ("headers", _listed(f"{name}: set" for name, _ in each.headers)),
        ("secret", "set: signs each post" if each.secret else NONE),
        ("verify_tls", f"{checks}, from TLS {each.tls_min}"),
        ("success", each.success + (f", body matches {each.success_body.pattern}" if each.success_body else "")),
        ("failure_body", f"{len(each.failure_body)} patterns" if each.failure_body else NONE),
        *_manners(each.manners),
    ]


def _manners(manners: FormatOptions) -> Iterator[Row]:
    """Only what differs from the documented format."""
    usual = FormatOptions(prefix=manners.prefix)
    for field in fields(manners):
        value = getattr(manners, field.name)
        if value != getattr(usual, field.name):
            yield field.name, _said(value)


def _said(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (frozenset, tuple)):
        return _listed(sorted(map(str, value)))
    if isinstance(value, Mapping):
        return _listed(f"{word} → {said}" for word, said in value.items())
    return str(value)


def _listed(values: Iterable[object]) -> str:
    return ", ".join(map(str, values)) or NONE


def _trio(credentials: Credentials | None) -> str:
    return _listed(name for name in CREDENTIALS if credentials and getattr(credentials, name))


def _database(url: str) -> str:
    """Where it is, without who logs in there."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _without_user(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if url else ""
