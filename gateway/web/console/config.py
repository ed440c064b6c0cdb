"""The configuration as it was read, for people: every setting under its name, no secret. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.config import TABLES, Config, Credentials, Endpoint, Setting
from gateway.safe_http.ssrf import mask_url
from schemas.credentials import CREDENTIALS

Row = tuple[str, str]
NONE = "–"


def gateway_rows(config: Config) -> list[Row]:
    """The tables `[gateway]`, `[[key]]`, `[carrierx]`, `[retention]` and `[legacy]`."""
    # Where no number answers STOP, START and HELP, the answers are of no use.
    answers = any(number.opt_out == "reply" for number in config.numbers)
    return [
        ("file", str(config.path or "none: the sandbox's own")),
        ("prefix", config.prefix or NONE),
        *(row for row in setting_rows("gateway", config) if answers or not row[0].endswith("_reply")),
        *((f"key.{key.name}", ", ".join(key.wire_formats)) for key in config.named_keys),
        *((f"carrierx.{name}", value) for name, value in setting_rows("carrierx", config.carrierx)),
        *((f"retention.{name}", value) for name, value in setting_rows("retention", config.retention)),
        *((f"legacy.{name}", value) for name, value in setting_rows("legacy", config.legacy or Credentials())),
        ("legacy.tickets", config.tickets),
    ]


def endpoint_rows(each: Endpoint) -> list[Row]:
    """One `[endpoint.NAME]`; of the settings of its format those that differ from the documented format."""
    usual = {name: setting.default for name, setting in TABLES["endpoint"].items()}
    options = each.format_options
    changed = [row for row in setting_rows("endpoint", options) if getattr(options, row[0]) != usual[row[0]]]
    return setting_rows("endpoint", each) + changed


def setting_rows(table: str, values: object) -> list[Row]:
    """The settings of a table that are attributes of `values`."""
    settings = TABLES[table].items()
    return [(name, _shown(name, setting, getattr(values, name))) for name, setting in settings if hasattr(values, name)]


def _shown(name: str, setting: Setting, value: Any) -> str:
    if value in ("", None, ()):
        return NONE
    if name in ("url", "database", "egress_proxy"):
        return mask_url(value)
    if name == "credentials":
        return ", ".join(each for each in CREDENTIALS if getattr(value, each))
    if name == "headers":
        return ", ".join(f"{header}: set" for header, _ in value)
    if setting.secret or name == "failure_body":  # the default patterns would fill a screen for each endpoint
        return f"{len(value)} set" if isinstance(value, tuple) else "set"
    return _plain(value)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g} s"
    if isinstance(value, Mapping):
        return ", ".join(f"{word} → {other}" for word, other in value.items())
    if isinstance(value, frozenset | tuple):
        return ", ".join(sorted(map(_plain, value)) if isinstance(value, frozenset) else map(_plain, value))
    return str(value)
