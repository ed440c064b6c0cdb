"""The configuration as the rest of the gateway sees it: frozen, complete, every default filled in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, lru_cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from types import MappingProxyType

from gateway.safe_http.error_pages import FAILURE_BODY
from gateway.safe_http.origins import is_url, mask_url
from schemas.fields import number as normalised
from schemas.message import FormatOptions

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Fault:
    """One mistake in the configuration, in words that hold no value of a secret setting."""

    place: str
    """``endpoint.signup.timeout``; empty for the file as a whole."""
    line: int | None
    """Counted from 1; None where it is not known for sure."""
    text: str

    def said(self, file: str) -> str:
        """``gateway.toml:12: endpoint.signup.timeout: must be …``"""
        where = file if self.line is None else f"{file}:{self.line}"
        return ": ".join(part for part in (where, self.place, self.text) if part)


class ConfigError(Exception):
    """The operator must act: every mistake of one file, in the order of its lines.

    `str()` gives one line for each. `warnings` are those that could be found all the same.
    """

    def __init__(self, faults: Iterable[Fault], file: str = "gateway.toml", warnings: Sequence[str] = ()) -> None:
        self.faults = tuple(sorted(faults, key=lambda fault: fault.line or 0))
        self.file = file
        self.warnings = tuple(warnings)
        super().__init__("\n".join(fault.said(file) for fault in self.faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """The trio of the keyword platform. An empty one is not set."""

    user_name: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class CarrierX:
    """How the Core API is reached. Either `token`, or `login` and `password`, or none of them."""

    base_url: str = "https://api.carrierx.com/core/v2"
    """Without a slash at its end."""
    token: str = field(default="", repr=False)
    login: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    partner_sid: str = ""
    timeout: float = 15.0
    """Seconds for one request."""
    concurrency: int = 8
    """Requests side by side."""
    doubt: float = 15.0
    """Seconds for which a message may still turn up in CarrierX's listing after the answer to its sending was lost."""
    missing_after: float = 600.0
    """Seconds without a word after which a message that is under way is asked for."""

    @property
    def is_set(self) -> bool:
        """Whether there is an account to send by."""
        return bool(self.token or self.login)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An application to be called, and how it wants to be."""

    name: str
    url: str = field(repr=False)
    """Whole, with its query: that may hold a secret. To show to people: `shown_url`."""
    format: str = "legacy"
    """``legacy`` or ``carrierx``."""
    manners: FormatOptions = field(default_factory=FormatOptions)
    timeout: float = 15.0
    """Seconds for the whole attempt."""
    connect_timeout: float = 5.0
    concurrency: int = 8
    """Attempts side by side."""
    credentials: Credentials | None = None
    username: str = ""
    """Of HTTP Basic; without it no `Authorization` is sent."""
    password: str = field(default="", repr=False)
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    secret: str = field(default="", repr=False)
    """Of Standard Webhooks, as configured: ``whsec_`` and base64, or the bytes themselves as text."""
    verify_tls: bool | str = True
    """A string is the absolute path of a file of CA certificates."""
    tls_min: str = "1.2"
    success: str = "2xx"
    """As configured; `accepts` reads it."""
    success_body: re.Pattern[str] | None = None
    failure_body: tuple[re.Pattern[str], ...] = field(default=(), repr=False)
    free_form: bool = False
    """Its URL came with a request: it may only go to the public internet and to `allow_networks`."""

    @property
    def shown_url(self) -> str:
        """The URL without query, fragment and userinfo, as it may stand in logs and pages."""
        return mask_url(self.url)

    def accepts(self, status: int) -> bool:
        """Whether an HTTP status is a success by the setting `success`, such as ``2xx`` or ``200,202-204``."""
        return any(low <= status <= high for low, high in statuses(self.success))


@cache
def statuses(success: str) -> tuple[tuple[int, int], ...]:
    """The ranges that ``2xx``, ``200``, ``200-204`` and lists of them with commas name. ValueError for all else."""
    return tuple(_range(part.strip().lower()) for part in success.split(","))


def _range(part: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-5])xx|([1-5][0-9]{2})(?:\s*-\s*([1-5][0-9]{2}))?", part)
    if not found:
        raise ValueError(part)
    hundred, low, high = found.groups()
    return (int(hundred) * 100, int(hundred) * 100 + 99) if hundred else (int(low), int(high or low))


@dataclass(frozen=True, slots=True, kw_only=True)
class Keyword:
    """A word on a number. Title, group and callback are the number's where the file gives none."""

    word: str
    aliases: tuple[str, ...] = ()
    match: str = "word"
    """``word``, ``exact``, ``prefix`` or ``regex``."""
    callback: tuple[str, ...] = ()
    """Names of endpoints."""
    title: str = ""
    group: str = ""
    reply: str = ""
    """The text that answers; ``response``: what the first endpoint answers. Empty: none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number or short code that we answer for: digits with country code, no ``+``."""

    number: str
    shortcode: str
    """As legacy systems know it; the number itself where the file gives none."""
    title: str = ""
    group: str = ""
    default_keyword: str = ""
    callback: tuple[str, ...] = ()
    """Endpoints for texts that match no keyword."""
    status: tuple[str, ...] = ()
    """Endpoints for status updates of messages sent from here."""
    keywords: tuple[Keyword, ...] = ()
    opt_out: str = "record"
    """What STOP, START and HELP do: ``record``, ``reply`` (recorded and answered) or ``off``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OptOutReplies:
    """What is answered where `opt_out` is ``reply``; ``{title}`` is the number's title, or the number."""

    stop: str = "{title}: you are unsubscribed and will get no more messages. Reply START to subscribe again."
    start: str = "{title}: you are subscribed again. Reply STOP to unsubscribe, HELP for help."
    help: str = "{title}: reply STOP to unsubscribe, START to subscribe. Message and data rates may apply."


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One whole configuration. Two of one file with one environment are equal."""

    path: Path | None = None
    """The file; None for a configuration that never was one."""
    folder: Path
    data: Path
    database: str = field(repr=False)
    """For SQLAlchemy; the path of an SQLite file is absolute. May hold a password."""
    public_url: str = ""
    """Without a slash at its end; empty: not set."""
    keys: tuple[str, ...] = field(default=(), repr=False)
    password: str = field(default="", repr=False)
    allow_networks: tuple[Network, ...] = ()
    retention_days: int = 30
    country: str = "US"
    prefix: str = "1"
    """Calling code of `country`, put before ten digits; empty with no country."""
    trusted_proxies: tuple[Network, ...] = ()
    egress_proxy: str = field(default="", repr=False)
    carrierx: CarrierX = CarrierX()
    legacy: Credentials | None = None
    tickets: str = "uuid"
    """How a ticket is told to legacy callers: ``uuid``, or ``decimal`` where their columns are numbers."""
    templates: Mapping[str, str] = field(default_factory=dict)
    """Texts of `sendTemplateMessage` by their IDs."""
    opt_out_replies: OptOutReplies = OptOutReplies()
    endpoints: Mapping[str, Endpoint] = field(default_factory=dict)
    numbers: tuple[Number, ...] = ()
    warnings: tuple[str, ...] = ()
    """One line each, as `gateway check` prints them."""
    sandbox: bool = False
    _by_number: Mapping[str, Number] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Short codes first: where a number and a short code are the same digits, the number wins.
        found = {number.shortcode: number for number in self.numbers}
        found |= {number.number: number for number in self.numbers}
        object.__setattr__(self, "_by_number", MappingProxyType(found))

    def number_for(self, text: str) -> Number | None:
        """The number that is known under this number or short code, in any usual spelling; None if none is."""
        return self._by_number.get(normalised(text, self.prefix))

    def endpoint(self, name: str) -> Endpoint | None:
        """The endpoint of that name; a URL is one by itself, and a stranger's: that of a `status_url`."""
        known = self.endpoints.get(name)
        return known or (free_form(name, self.prefix) if is_url(name) else None)


def shown_name(name: str) -> str:
    """A delivery's endpoint as it may stand in logs and pages: a URL without query, fragment and userinfo."""
    return mask_url(name)


@lru_cache(maxsize=4_096)
def free_form(url: str, prefix: str) -> Endpoint:
    """A legacy page that somebody named in a request."""
    return Endpoint(name=url, url=url, manners=FormatOptions(prefix=prefix), failure_body=FAILURE_BODY, free_form=True)
