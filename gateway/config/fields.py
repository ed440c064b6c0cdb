"""Settings and their types: what each takes from the file, and what it says of a value that it does not take.

Types are exact: ``true`` is no number, and ``"15"`` is none either. Every message is the end of a sentence that begins
with the setting's name. None holds a value that came from the environment or that may be a secret.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import MISSING, dataclass
from functools import cache, partial
from ipaddress import IPv4Network, IPv6Network, ip_network
from types import MappingProxyType
from typing import Any, TypeVar

from argon2 import extract_parameters
from phonenumbers import SUPPORTED_REGIONS, country_code_for_region

from gateway.config.errors import FromEnvironment, Messages, nearest, quoted, unknown
from gateway.matching import templates
from gateway.matching.patterns import LinearPattern, RefusedPattern
from gateway.safe_http.ssrf import check_url
from schemas import status

T = TypeVar("T")
D = TypeVar("D")
Network = IPv4Network | IPv6Network

REQUIRED: Any = MISSING
MAX_NAME_CHARACTERS = 64
MIN_TOTP_BITS = 128
MAX_TEXT_CHARACTERS = 1_600  # the longest text to be sent, before its placeholders are filled: some ten messages
_TOML_TYPES = (
    (bool, "true or false"),
    (int, "a whole number"),
    (float, "a number with a point"),
    (str, "text"),
    (list, "a list"),
    (dict, "a table"),
)
_COUNTRIES = {"UK": "GB", "USA": "US", "EN": "GB", "U.S.": "US", "SU": "RU"}
_CHARSETS = {
    "utf-8": ("utf-8", "utf8"),
    "windows-1252": ("windows-1252", "cp1252", "win-1252", "windows1252", "ansi"),
    "iso-8859-1": ("iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "8859-1", "l1"),
}
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_OWN_HEADERS = re.compile(
    "host|content-length|content-type|transfer-encoding|connection|expect|te|upgrade|"
    "x-message-sid|x-message-date|x-test|x-gateway-hops|x-delivery-.*|webhook-.*",
    re.IGNORECASE,
)


class Mistake(Exception):
    """A value that a setting does not take. `good`: what could be read of it, None for each bad item of a list."""

    def __init__(self, found: Messages, good: Any = None) -> None:
        super().__init__(found)
        self.found, self.good = found, good


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a table of the file."""

    default: Any  # the value where a table does not have it; REQUIRED where it must be there
    read: Callable[[Any], Any]  # TOML's value → the model's. Raises `Mistake`
    sentence: str  # it describes the setting in the documentation, in Markdown
    otherwise: str = ""  # words for a default that other settings decide: it is filled in when the model is built
    secret: bool = False  # neither messages nor logs nor pages show it
    format: str = ""  # the only format of an endpoint that it means something for; empty: every format

    @property
    def example(self) -> str:
        """The default as the file would have it; empty where there is none, or where other settings decide."""
        if self.otherwise or self.default in (REQUIRED, None) or (self.secret and not self.default):
            return ""
        return json.dumps(self.default, default=list, ensure_ascii=False).removesuffix(".0")


def setting(default: D, read: Callable[[Any], T], sentence: str, otherwise: str = "", **marks: Any) -> D | T:
    """An attribute of the model that is a setting of the file; with no default, if that is `REQUIRED`. `marks`: its
    `secret` and `format`."""
    made = Setting(default, read, sentence, otherwise, **marks)
    return dataclasses.field(default=default, repr=not made.secret, metadata={"setting": made})


def settings_of(model: type[Any]) -> dict[str, Setting]:
    """The settings among the attributes of a dataclass."""
    return {each.name: each.metadata["setting"] for each in dataclasses.fields(model) if each.metadata}


def table(settings: Mapping[str, Setting], value: object) -> dict[str, Any]:
    """Reads a table: its settings, and the defaults of those that it does not have."""

    def read(name: str, part: object) -> Any:
        if name not in settings:
            raise Mistake(unknown(name, settings))
        if part is not MISSING:
            return settings[name].read(part)
        if settings[name].default is REQUIRED:
            raise Mistake("is missing")
        return settings[name].default

    if not isinstance(value, dict):
        raise Mistake("must be a table", {})
    missing = {name: MISSING for name, each in settings.items() if not (each.otherwise or name in value)}
    return parts((value | missing).items(), read)


def parts(values: Iterable[tuple[Any, object]], read: Callable[[Any, Any], object]) -> dict[Any, Any]:
    """Reads the parts of a value, by their names or indices. Raises `Mistake` with all of theirs, and what is good."""
    good: dict[Any, Any] = {}
    found: dict[Any, Messages] = {}
    for step, part in values:
        try:
            good[step] = read(step, part)
        except Mistake as mistake:
            found[step] = mistake.found
            if mistake.good is not None:
                good[step] = mistake.good
    if found:
        raise Mistake(found, good)
    return good


def of_type(value: object, kind: type[T] | tuple[type[T], ...], wanted: str, hint: str = "") -> T:
    """`value`, if it is of that TOML type. For Python, ``true`` is a number as well."""
    if isinstance(value, kind) and (kind is bool or not isinstance(value, bool)):
        return value
    found = next((words for each, words in _TOML_TYPES if isinstance(value, each)), "a date or a time")
    raise Mistake(f"must be {wanted}, not {found}{hint}")


def flag(value: object) -> bool:
    """``true`` or ``false``, nothing that stands for them."""
    return of_type(value, bool, "true or false, without quotes")


def whole(low: int, high: int, value: object) -> int:
    """A whole number within bounds."""
    number = of_type(value, int, "a whole number, without quotes")
    if not low <= number <= high:
        raise Mistake(f"must be from {low} to {high}")
    return number


def seconds(most: int, value: object, least: float | None = None) -> float:
    """A length of time: more than nothing, or `least` and more."""
    number = of_type(value, (int, float), "a number of seconds, without quotes")
    enough = number > 0 if least is None else number >= least
    if not (math.isfinite(number) and enough and number <= most):
        low = "more than 0" if least is None else f"at least {least:g}"
        raise Mistake(f"must be {low} and at most {most} seconds")
    return float(number)


def list_of(item: Callable[[object], T], value: object, *, empty: bool = True, single: bool = False) -> tuple[T, ...]:
    """A list, each item of it read by `item`; if `single`, also an item without the brackets."""
    if single and isinstance(value, str):
        return (item(value),)
    items = of_type(value, list, "a list", "; write it as [ … ]" if isinstance(value, str) else "")
    if not items and not empty:
        raise Mistake("is an empty list; leave it out, or name something")
    try:
        return tuple(parts(enumerate(items), lambda _, each: item(each)).values())
    except Mistake as mistake:
        # None for a bad one, so that all keep their places.
        raise Mistake(mistake.found, tuple(map(mistake.good.get, range(len(items))))) from None


def rows(name: str, settings: Mapping[str, Setting], value: object) -> tuple[Any, ...]:
    """An array of tables, ``[[name]]``."""
    if not isinstance(value, list):
        raise Mistake(f"must be written with two brackets, [[{name}]]", ())
    return list_of(partial(table, settings), value)


def named(kind: str, place: str, settings: Mapping[str, Setting], value: object) -> dict[str, Any]:
    """Tables under names. `kind`: what they must be; `place`: where a setting of theirs must stand."""

    def read(_: str, part: object) -> dict[str, Any]:
        if not isinstance(part, dict):
            raise Mistake(f"must stand under {place}")
        return table(settings, part)

    return parts(of_type(value, dict, kind).items(), read)


def text(value: object, *, empty: bool = True) -> str:
    """Text on one line."""
    line = of_type(value, str, "text in quotes")
    if not line.strip() and not empty:
        raise Mistake("is empty")
    if _CONTROL.search(line):
        raise Mistake("contains a line break or another control character")
    return line


filled = partial(text, empty=False)  # text on one line that is not empty


def name(marks: str, value: object) -> str:
    """A name, as URLs, logs, metrics and command lines can hold it; besides letters and digits it may have `marks`."""
    if not re.fullmatch(rf"[\w{re.escape(marks)}]{{1,{MAX_NAME_CHARACTERS}}}", filled(value)):
        raise Mistake(f"may have letters, digits and {' '.join(marks)}, {MAX_NAME_CHARACTERS} at most")
    return filled(value)


def secret(value: object) -> str:
    """Text that guards something. An empty one is a mistake: it would switch off what it is to guard."""
    if value == "":
        raise Mistake("is empty; leave it out if there is none")
    return filled(value)


def password_hash(value: object) -> str:
    """An argon2 hash, or a password that came from the environment: none stands in the file in the clear."""
    written = secret(value)
    command = "`gateway operators passwd NAME`"
    if written.startswith("$argon2"):
        try:
            extract_parameters(written)
        except ValueError:
            raise Mistake(f"begins like an argon2 hash and is none; {command} writes one") from None
    elif not isinstance(value, FromEnvironment):
        raise Mistake(f"is in the clear; {command} writes its hash instead, or take it from the environment")
    return written


def totp_secret(value: object) -> str:
    """The secret of an operator's one-time codes, as authenticator apps show it: spaces and case do not count."""
    written = secret(value).replace(" ", "").upper().rstrip("=")
    try:
        decoded = base64.b32decode(written + "=" * (-len(written) % 8))
    except ValueError:
        raise Mistake("is not base32: letters and the digits 2 to 7") from None
    if len(decoded) * 8 < MIN_TOTP_BITS:
        raise Mistake(f"is shorter than {MIN_TOTP_BITS} bits; `gateway operators totp NAME` makes one")
    return written


def message(value: object) -> str:
    """Text that is sent to phones: it may have several lines, and has an end."""
    lines = of_type(value, str, "text in quotes")
    if _CONTROL.search(lines.replace("\n", " ").replace("\t", " ")):
        raise Mistake("contains a control character")
    filled(" ".join(lines.split()))
    if len(lines) > MAX_TEXT_CHARACTERS:
        raise Mistake(f"is longer than {MAX_TEXT_CHARACTERS} characters")
    return lines


def template(known: tuple[str, ...], value: object) -> str:
    """A message with placeholders, ``{name}``; only those that are `known`, if any are."""
    lines = message(value)
    if fault := templates.fault(lines):
        raise Mistake(fault)
    if known and set(templates.placeholders(lines)) - set(known):
        listed = ", ".join(f"{{{name}}}" for name in known)
        raise Mistake(f"has a placeholder that has no value here; known: {listed}")
    return lines


def choice(known: tuple[str, ...], value: object) -> str:
    """One of a few words."""
    if (word := text(value)) not in known:
        raise Mistake(unknown(word, known, "one of the choices"))
    return word


def tls_version(value: object) -> str:
    """A version in quotes: ``1.2`` without them is a number to TOML."""
    if isinstance(value, float):
        raise Mistake(f'must be text in quotes: "{value}"')
    return choice(("1.0", "1.1", "1.2", "1.3"), value)


def flag_or_file(value: object) -> bool | str:
    """``true``, ``false`` or a file's name. `validate` reads the file: it knows the folder."""
    return value if isinstance(value, bool) else filled(of_type(value, str, "true, false or a file of CA certificates"))


def country(value: object) -> str:
    """A country by its two letters, ``US``; empty for none."""
    code = text(value).strip().upper()
    if code and not country_code_for_region(code):
        meant = _COUNTRIES.get(code) or nearest(code, SUPPORTED_REGIONS)
        hint = f'; did you mean "{meant}"?' if meant else ', such as "US"'
        raise Mistake(f"must be a country's two letters of ISO 3166{hint}")
    return code


def charset(value: object) -> str:
    """One of the three charsets that a form can be written in, by any of its usual names."""
    spelling = text(value)
    for name, spellings in _CHARSETS.items():
        if spelling.strip().lower() in spellings:
            return name
    raise Mistake(unknown(spelling, _CHARSETS, "a charset that can be written"))


def network(value: object) -> Network:
    """A network such as ``10.0.0.0/8``, or one address."""
    written = text(value)
    with suppress(ValueError):
        return ip_network(written.strip())
    try:
        meant = ip_network(written.strip(), strict=False)
    except ValueError:
        raise Mistake(f'{quoted(written)} is not a network; write it as "10.0.0.0/8"') from None
    hint = "" if isinstance(written, FromEnvironment) else f'; did you mean "{meant}"?'
    raise Mistake(f"{quoted(written)} has bits set after its prefix{hint}")


def url(value: object) -> str:
    """A URL that may be called, by the rules that hold for every URL of the gateway."""
    if reason := check_url(filled(value)):
        raise Mistake(reason)
    return filled(value)


def base_url(value: object) -> str:
    """A URL that others are made from: no query, no fragment, and no slash at its end."""
    if re.search("[?#]", filled(value)):
        raise Mistake("must have no ? and no #: paths are appended to it")
    return url(value).rstrip("/")


def public_url(value: object) -> str:
    """The URL by which others reach the gateway, on whatever port. Empty: not set."""
    written = text(value)
    if written:
        base_url(re.sub(r"^(\w+://[^/]*?):[0-9]{1,5}(?=/|$)", r"\1", written))
    return written.rstrip("/")


def proxy_url(value: object) -> str:
    """``http://proxy.example.com:3128``, with user and password before an ``@`` if it wants them. Empty: none."""
    written = text(value)
    if written and not re.fullmatch(r"[^/]*//[^/?#]+/?", written):
        raise Mistake("must be like http://proxy.example.com:3128, with nothing after the port")
    public_url(re.sub(r"^(\w+://)[^/@]*@", r"\1", written))
    return written.rstrip("/")


def database(value: object) -> str:
    """An SQLite file or a PostgreSQL server. The URL may hold a password, so no message shows it."""
    written = secret(value)
    file = written.removeprefix("sqlite:///")
    if re.match(r"postgres(?:ql(?:\+psycopg)?)?://.", written):
        return written
    if file == written or not file.strip("/") or ":memory:" in file:
        raise Mistake("must be sqlite:///FILE or postgresql://USER@HOST/NAME")
    if "?" in file:
        raise Mistake("must have no ? in the file's name")
    return written


def key(value: object) -> str:
    """One of `keys`: a part of a URL, so nothing in it may need to be escaped there."""
    if not re.fullmatch(r"[A-Za-z0-9._~-]+", secret(value)):
        raise Mistake("is part of URLs, so it may have only letters, digits and - . _ ~")
    return secret(value)


def signing_secret(value: object) -> str:
    """A secret of Standard Webhooks: ``whsec_`` and base64, or the bytes themselves as text."""
    written = secret(value)
    if written.startswith("whsec_"):
        try:
            decoded = base64.b64decode(written.removeprefix("whsec_"), validate=True)
        except ValueError:
            raise Mistake("must be base64 after whsec_") from None
        if not decoded:
            raise Mistake("has nothing after whsec_")
    return written


@cache
def statuses(success: str) -> tuple[range, ...]:
    """The ranges that ``2xx``, ``200``, ``200-204`` and lists of them with commas name. ValueError for all else."""
    ranges = []
    for part in re.sub("([1-5])xx", r"\g<1>00-\g<1>99", success.lower()).split(","):
        found = re.fullmatch(r"\s*([1-5][0-9]{2})(?:\s*-\s*([1-5][0-9]{2}))?\s*", part)
        if not found:
            raise ValueError(part)
        ranges.append(range(int(found[1]), int(found[2] or found[1]) + 1))
    return tuple(ranges)


def success(value: object) -> str:
    """Which HTTP statuses count: ``2xx``, ``200``, ``200-204``, several with commas."""
    try:
        ranges = statuses(filled(value))
    except ValueError:
        raise Mistake('must be such as "2xx", "200", "200-204" or "200,202"') from None
    if not all(ranges):
        raise Mistake("has a range that ends before it begins")
    if any(code // 100 in (1, 3) for each in ranges for code in each):
        raise Mistake("must not have 1xx or 3xx: a redirect is not followed and is no success")
    return filled(value)


def pattern(value: object, flags: int = 0) -> LinearPattern:
    """A regular expression. The message says what is wrong with it and where."""
    written = of_type(value, str, "a regular expression in quotes")
    if not written:
        raise Mistake("is empty, and would match everything")
    try:
        return LinearPattern(str(written), flags)
    except RefusedPattern as refused:
        raise Mistake(str(refused)) from None
    except re.error as error:
        if isinstance(written, FromEnvironment):
            raise Mistake("is not a regular expression") from None
        where = "" if error.pos is None else f" at character {error.pos + 1}"
        raise Mistake(f"is not a regular expression: {error.msg}{where}") from None
    except (OverflowError, RecursionError):
        raise Mistake("is not a regular expression that can be used: it is too large") from None


def headers(value: object) -> tuple[tuple[str, str], ...]:
    """Names and values of headers that go along with every request. The values may be secrets."""
    pairs = of_type(value, dict, 'a table such as { X-Token = "…" }')
    seen: dict[str, str] = {}

    def read(name: str, value: object) -> object:
        if not _HEADER_NAME.fullmatch(name):
            raise Mistake("is not a header's name: letters, digits and hyphens")
        if _OWN_HEADERS.fullmatch(name):
            raise Mistake("is a header that the gateway sets itself")
        if not _HEADER_VALUE.fullmatch(of_type(value, str, "text in quotes")):
            raise Mistake("must be visible ASCII characters, with spaces only between them")
        if seen.setdefault(name.lower(), name) != name:
            raise Mistake(f"is the same header as {seen[name.lower()]}: case does not count")
        return value

    return tuple(parts(pairs.items(), read).items())


def status_words(value: object) -> Mapping[str, str] | None:
    """``"carrierx"`` (None), ``"numeric"`` (the table that is shipped), or a table of one's own."""
    if isinstance(value, dict):
        return MappingProxyType(parts(value.items(), _status_word))
    word = choice(("carrierx", "numeric"), of_type(value, str, '"carrierx", "numeric" or a table'))
    return status.NUMERIC if word == "numeric" else None


def _status_word(word: str, value: object) -> str:
    if word not in status.WORDS:
        raise Mistake(unknown(word, status.WORDS, "a status that CarrierX has"))
    if of_type(value, (str, int), "text or a whole number") == "":
        raise Mistake("is empty")
    return str(value)
