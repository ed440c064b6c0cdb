"""Settings about the network and HTTP: URLs, networks, headers, keys, charsets, statuses."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

from marshmallow import ValidationError

from gateway.config.fields import Secret, Setting, Text, wrong_kind
from gateway.config.model import Network, statuses
from gateway.config.spelling import Filled, kind_of, shown, unknown
from gateway.safe_http.ssrf import check_url

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VISIBLE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_PORT = re.compile(r"^(\w+://[^/]*?):[0-9]{1,5}(?=/|$)")
_USER = re.compile(r"^(\w+://)[^/@]*@")
_OURS = frozenset(
    "host content-length content-type transfer-encoding connection expect te upgrade "
    "x-message-sid x-message-date x-test x-gateway-hops".split()
)
_OUR_PREFIXES = ("x-delivery-", "webhook-")
_CHARSETS = {
    "utf-8": ("utf-8", "utf8"),
    "windows-1252": ("windows-1252", "cp1252", "win-1252", "windows1252", "ansi"),
    "iso-8859-1": ("iso-8859-1", "iso8859-1", "iso_8859-1", "latin1", "latin-1", "8859-1", "l1"),
}


class SigningSecret(Secret):
    """Of Standard Webhooks: ``whsec_`` and base64, or the bytes themselves as text."""

    def checked(self, value: str) -> str:
        if value.startswith("whsec_"):
            self._decode(value.removeprefix("whsec_"))
        return str(value)

    @staticmethod
    def _decode(text: str) -> None:
        try:
            if not base64.b64decode(text, validate=True):
                raise ValidationError("has nothing after whsec_")
        except ValueError:
            raise ValidationError("must be base64 after whsec_") from None


class Key(Secret):
    """One of `keys`: a part of a URL, so nothing in it may need to be escaped there."""

    def checked(self, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._~-]+", value):
            raise ValidationError("stands in URLs, so it may only have letters, digits and - . _ ~")
        return str(value)


class Charset(Text):
    """One of the three charsets that a form can be written in, by any of its usual names."""

    def checked(self, value: str) -> str:
        for name, aliases in _CHARSETS.items():
            if value.strip().lower() in aliases:
                return name
        raise ValidationError(unknown(value, _CHARSETS, "a charset that can be written"))


class Net(Text):
    """A network such as ``10.0.0.0/8``, or one address."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        return self._network(super()._deserialize(value, attr, data, **kwargs).strip(), value)

    @staticmethod
    def _network(text: str, value: str) -> Network:
        try:
            return ipaddress.ip_network(text)
        except ValueError:
            pass
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValidationError(f'{shown(value)} is not a network; write it as "10.0.0.0/8"') from None
        hint = "" if isinstance(value, Filled) else f'; did you mean "{meant}"?'
        raise ValidationError(f"{shown(value)} has bits set behind its prefix{hint}")


class Url(Text):
    """Where a request may go, by the rules that hold for every URL of the gateway."""

    def __init__(self, *, empty: bool = False, **kwargs: Any) -> None:
        super().__init__(empty=empty, **kwargs)

    def checked(self, value: str) -> str:
        reason = check_url(self.judged(value))
        if reason:
            raise ValidationError(reason)
        return str(value)

    def judged(self, value: str) -> str:
        """The part of the setting that must pass those rules."""
        return str(value)


class Base(Url):
    """A URL that others are made from: no query, no fragment, and no slash at its end."""

    def checked(self, value: str) -> str:
        if "?" in value or "#" in value:
            raise ValidationError("must have no ? and no #: paths are put behind it")
        return super().checked(value).rstrip("/") if value else ""


class PublicUrl(Base):
    """How others reach the gateway, on whatever port. Empty: not set."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(empty=True, **kwargs)

    def judged(self, value: str) -> str:
        return _PORT.sub(r"\1", value)


class Proxy(PublicUrl):
    """``http://proxy.example.com:3128``, with user and password before an ``@`` if it wants them."""

    def checked(self, value: str) -> str:
        if value and not re.fullmatch(r"[^/]*//[^/]+/?", value):
            raise ValidationError("must be like http://proxy.example.com:3128, with nothing behind the port")
        return super().checked(value)

    def judged(self, value: str) -> str:
        return super().judged(_USER.sub(r"\1", value))


class Database(Secret):
    """An SQLite file or a PostgreSQL server. The URL may hold a password, so no message shows it."""

    def checked(self, value: str) -> str:
        if re.match(r"postgres(?:ql(?:\+psycopg)?)?://.", value):
            return str(value)
        file = value.removeprefix("sqlite:///")
        if file == value or not file.strip("/") or ":memory:" in file:
            raise ValidationError("must be sqlite:///FILE or postgresql://USER@HOST/NAME")
        if "?" in file:
            raise ValidationError("must have no ? in the file's name")
        return str(value)


class Success(Text):
    """Which HTTP statuses count: ``2xx``, ``200``, ``200-204``, several with commas."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(empty=False, **kwargs)

    def checked(self, value: str) -> str:
        try:
            ranges = statuses(value)
        except ValueError:
            raise ValidationError('must be such as "2xx", "200", "200-204" or "200,202"') from None
        if any(low > high for low, high in ranges):
            raise ValidationError("has a range that ends before it begins")
        if any(low < 200 or (low < 400 and high >= 300) for low, high in ranges):
            raise ValidationError("must not have 1xx or 3xx: a redirect is not followed and is no success")
        return str(value)


class Headers(Setting[tuple[tuple[str, str], ...]]):
    """Names and values that go along with every request. The values may be secrets."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> tuple[tuple[str, str], ...]:
        if not isinstance(value, dict):
            raise wrong_kind('a table such as { X-Token = "…" }', value)
        errors = {name: fault for name, each in value.items() if (fault := self._fault(name, each))}
        seen: dict[str, str] = {}
        for name in value:
            if seen.setdefault(name.lower(), name) != name:
                errors.setdefault(name, f"is the same header as {seen[name.lower()]}: case does not count")
        if errors:
            raise ValidationError(errors)
        return tuple((name, str(each)) for name, each in value.items())

    @staticmethod
    def _fault(name: str, value: object) -> str:
        if not _TOKEN.fullmatch(name):
            return "is not a header's name: letters, digits and hyphens"
        if name.lower() in _OURS or name.lower().startswith(_OUR_PREFIXES):
            return "is a header that the gateway writes itself"
        if not isinstance(value, str):
            return f"must be text in quotes, not {kind_of(value)}"
        if not _VISIBLE.fullmatch(value):
            return "must be visible ASCII characters, with spaces only between them"
        return ""


class StatusWords(Setting[Mapping[str, str] | None]):
    """``"carrierx"`` (None), ``"numeric"`` (the table that is shipped), or a table of one's own."""

    def __init__(self, words: tuple[str, ...], numeric: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.words, self.numeric = words, numeric

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Mapping[str, str] | None:
        if isinstance(value, dict):
            return self._table(value)
        if not isinstance(value, str):
            raise wrong_kind('"carrierx", "numeric" or a table', value)
        if value not in ("carrierx", "numeric"):
            raise ValidationError(unknown(value, ("carrierx", "numeric"), "one of the choices"))
        return self.numeric if value == "numeric" else None

    def _table(self, value: dict[str, object]) -> dict[str, str]:
        errors = {word: fault for word, each in value.items() if (fault := self._fault(word, each))}
        if errors:
            raise ValidationError(errors)
        return {word: str(each) for word, each in value.items()}

    def _fault(self, word: str, value: object) -> str:
        if word not in self.words:
            return unknown(word, self.words, "a status that CarrierX has")
        if isinstance(value, bool) or not isinstance(value, (str, int)):
            return f"must be text or a whole number, not {kind_of(value)}"
        return "is empty" if value == "" else ""
