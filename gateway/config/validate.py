"""Checks of one setting against another: mistakes and oddities that no single setting shows.

Every function gets what could be read so far. A setting that was a mistake by itself is missing there (in a list it is
None), and is not reported a second time.
"""

from __future__ import annotations

import re
import ssl
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlsplit

import phonenumbers

from gateway.config import fields
from gateway.config.errors import ErrorCollector, SettingPath, dotted, quoted, unknown
from gateway.config.model import FORM_FIELDS, RESPONSE, Credentials
from gateway.config.schema import TABLES, Table, prefix_of
from gateway.matching import keywords
from gateway.safe_http import ssrf
from schemas.fields import number as normalised

MIN_KEY_CHARACTERS = 16
MIN_PASSWORD_CHARACTERS = 10
MAX_PASSWORD_CHARACTERS = 1_024  # a longer text is refused without being hashed
_GUESSED = "is shorter than {} characters, and could be guessed"
_SHORT_CODE_DIGITS = range(3, 7)
_NAME = re.compile(r"[\w.-]{1,64}")
# With a slash, or empty: a Unix socket.
_LOCAL_HOST = re.compile(r"(?:localhost|127\.[0-9.]+|\[?::1\]?|/.*|)(?::[0-9]*)?")
PYTHON: tuple[int, ...] = sys.version_info[:3]
_SAFE_PYTHON = {(3, 11): 10, (3, 12): 4}  # the first release of each that has no known holes


def check(tables: Mapping[str, Any], written: Table, folder: Path, errors: ErrorCollector) -> None:
    """Adds what is found to `errors`. `tables`: as they could be read; `written`: as they stand in the file."""
    major, minor, patch = PYTHON
    if patch < (safe := _SAFE_PYTHON.get((major, minor), 0)):
        errors.warn((), f"Python {major}.{minor}.{patch} has known security holes: use {major}.{minor}.{safe} or newer")
    _check_gateway(tables["gateway"], written, errors)
    _check_keys(tables["gateway"].get("keys", ()), tables["key"], errors)
    _check_carrierx(tables["carrierx"], errors)
    days, retention = tables["gateway"].get("retention_days", 1), tables["retention"]
    if retention.get("phones", 36_500) < (texts := retention.get("texts", days)):
        errors.add(("retention", "phones"), f"is less than texts, which is {texts}: no text outlives its event")
    for name, endpoint in tables["endpoint"].items():
        _check_endpoint(name, endpoint, written["endpoint"][name], folder, errors)
    endpoints = written.get("endpoint")
    # All their names, also of those that have mistakes.
    names = endpoints if isinstance(endpoints, dict) else {}
    _check_numbers(tables["number"], names, prefix_of(tables["gateway"].get("country", "")), errors)
    _check_sending(tables, errors)
    for index, operator in enumerate(tables["operator"]):
        if 0 < len(operator.get("password", "")) < MIN_PASSWORD_CHARACTERS:
            errors.warn(("operator", index, "password"), _GUESSED.format(MIN_PASSWORD_CHARACTERS))
    for kind in ("key", "operator"):
        owners = [row.get("name") for row in tables[kind]]
        for index, name in enumerate(owners):
            if name and name in owners[:index]:
                errors.add((kind, index, "name"), f"is {kind}[{owners.index(name)}] already")


def _check_gateway(gateway: Table, written: Table, errors: ErrorCollector) -> None:
    database = str(gateway.get("database", ""))
    if database.startswith("postgres"):
        _check_postgresql(database, errors)
        for name in {"keys", "password"} - written["gateway"].keys():
            if name != "keys" or not written.get("key"):
                errors.add(("gateway", name), "must be set with PostgreSQL: every machine must have the same")
    for index, key in enumerate(gateway.get("session_secret", ())):
        if key and len(key) < MIN_KEY_CHARACTERS:
            errors.warn(("gateway", "session_secret", index), _GUESSED.format(MIN_KEY_CHARACTERS))
    if 0 < len(gateway.get("password", "")) < MIN_PASSWORD_CHARACTERS:
        errors.warn(("gateway", "password"), _GUESSED.format(MIN_PASSWORD_CHARACTERS))
    for name, meaning in (
        ("allow_networks", "test forms and status_url may go anywhere, even into private networks"),
        ("trusted_proxies", "X-Forwarded-For is believed from anyone"),
    ):
        if any(network and network.prefixlen == 0 for network in gateway.get(name, ())):
            errors.warn(("gateway", name), f"contains every address: {meaning}")


def _check_keys(plain: Sequence[str | None], named: Sequence[Table], errors: ErrorCollector) -> None:
    found: list[tuple[SettingPath, str | None]]
    found = [(("gateway", "keys", index), value) for index, value in enumerate(plain)]
    found += [(("key", index, "value"), each) for index, key in enumerate(named) for each in key.get("value", ())]
    places: dict[str, SettingPath] = {}
    for place, value in found:
        if value and places.setdefault(value, place) != place and place[0] == "key":
            errors.add(place, f"is {dotted(places[value])} already: which of them came could not be told")
        if value and len(value) < MIN_KEY_CHARACTERS:
            errors.warn(place, _GUESSED.format(MIN_KEY_CHARACTERS))


def _check_postgresql(url: str, errors: ErrorCollector) -> None:
    """A server on another machine must prove that it is the one, before it is told the password and the texts."""
    server, _, query = url.partition("://")[2].partition("?")
    options = parse_qsl(query)
    # Not by `urlsplit`, which takes less in a password than SQLAlchemy.
    hosts = [value for name, value in options if name == "host"] or [server.rpartition("@")[2].partition("/")[0]]
    is_local = all(map(_LOCAL_HOST.fullmatch, ",".join(hosts).split(",")))
    if ("sslmode", "verify-full") not in options and not is_local:
        text = "names a server on another machine without sslmode=verify-full: anyone on the way can pass for it"
        errors.warn(("gateway", "database"), text)


def _check_carrierx(carrierx: Table, errors: ErrorCollector) -> None:
    token, login, password = (carrierx.get(name) for name in ("token", "login", "password"))
    if token and (login or password):
        errors.add(("carrierx", "token"), "is one way to log in, and login with password is the other: give only one")
    elif bool(login) != bool(password) and login is not None and password is not None:
        given, missing = ("login", "password") if login else ("password", "login")
        errors.add(("carrierx", given), f"has no effect without {missing}")
    parts = urlsplit(carrierx.get("base_url", ""))
    is_plain = parts.scheme.lower() == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1")
    if (token or password) and is_plain:
        errors.warn(("carrierx", "base_url"), "is http, not https: the token or password can be read on the way")


def _check_endpoint(name: str, endpoint: Table, written: Table, folder: Path, errors: ErrorCollector) -> None:
    path: SettingPath = ("endpoint", name)
    if not _NAME.fullmatch(name):
        errors.add(path, "may have letters, digits and - _ . in its name, 64 at most")
    if "url" in endpoint:
        _check_url(path, endpoint, errors)
    timeout, connect = endpoint.get("timeout"), endpoint.get("connect_timeout")
    if timeout and connect and connect > timeout:
        errors.add((*path, "connect_timeout"), f"must be at most the timeout, which is {timeout:g} seconds")
    _check_login(path, endpoint, errors)
    _check_tls(path, endpoint, folder, errors)
    more = endpoint.get("extra_fields", ())
    for index, field in enumerate(more):
        if field and field in more[:index]:
            errors.add((*path, "extra_fields", index), "is named twice: each field goes once")
    for setting, declared in TABLES["endpoint"].items():
        format = endpoint.get("format")
        if setting in written and declared.format and format and format != declared.format:
            errors.warn((*path, setting), f'has no effect where format = "{format}"')


def _check_url(path: SettingPath, endpoint: Table, errors: ErrorCollector) -> None:
    url = endpoint["url"]
    host, port = ssrf.host_and_port(url)
    # Only an address can be judged now; what a name stands for is judged at every connection.
    is_address = re.fullmatch(r"[0-9.]+|[0-9a-f.]*:[0-9a-f:.]*", host)
    reason = ssrf.check_address(host, port, free_form=False) if is_address else None
    if reason and "no plain IP address" not in reason:
        errors.add((*path, "url"), reason)
    names = fields_in_query(url, (*FORM_FIELDS, *filter(None, endpoint.get("extra_fields", ()))))
    if names and endpoint.get("format") == "legacy":
        known = ", ".join(names)
        errors.add((*path, "url"), f"has {known} in its query, which some servers read instead of the posted field")


def fields_in_query(url: str, names: tuple[str, ...]) -> list[str]:
    """The field `names` that the query of a URL uses, in any spelling that a server takes for them.
    ASP.NET takes names in any case; PHP takes ``user.name`` and ``user name`` for ``user_name``, and ``message[]`` for
    ``message``; some servers part pairs at ``;``."""
    pairs = re.split("[&;]", urlsplit(url).query)
    used = {
        re.sub(r"[. ]", "_", unquote_plus(pair.split("=", 1)[0]).split("[")[0].strip()).casefold() for pair in pairs
    }
    return [name for name in dict.fromkeys(names) if name.casefold() in used]


def _check_login(path: SettingPath, endpoint: Table, errors: ErrorCollector) -> None:
    username, password = endpoint.get("username"), endpoint.get("password")
    if username == "" and password:
        errors.add((*path, "password"), "has no effect without username")
    if username and ":" in username:
        errors.add((*path, "username"), "must have no colon: HTTP Basic takes what follows for the password")
    names = [name for name in dict(endpoint.get("headers", ())) if name.lower() == "authorization"]
    if names and username:
        errors.add((*path, "headers", names[0]), "is what username and password make: give only one of them")
    if endpoint.get("credentials") == Credentials():
        errors.add((*path, "credentials"), "has none of user_name, password, api_key")


def _check_tls(path: SettingPath, endpoint: Table, folder: Path, errors: ErrorCollector) -> None:
    verify = endpoint.get("verify_tls", True)
    if verify is False:
        errors.warn((*path, "verify_tls"), "is false: anyone on the network path can read and answer every post")
    elif isinstance(verify, str):
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=folder / verify)
        except ssl.SSLError:
            errors.add((*path, "verify_tls"), "names a file that has no certificates in PEM form")
        except OSError as error:
            text = f"names a file of certificates that cannot be read: {error.strerror or 'unknown error'}"
            errors.add((*path, "verify_tls"), text)
        except ValueError:
            errors.add((*path, "verify_tls"), "is not the name of a file")
    if endpoint.get("tls_min") in ("1.0", "1.1"):
        errors.warn((*path, "tls_min"), "allows a broken version of TLS: use it only for a server that has no other")


def _check_numbers(numbers: Sequence[Table], endpoints: Table, prefix: str, errors: ErrorCollector) -> None:
    owners: dict[str, SettingPath] = {}
    called: set[str] = set()
    for index, number in enumerate(numbers):
        for name in ("number", "shortcode"):
            _check_digits(("number", index, name), number.get(name, ""), prefix, owners, errors)
        called |= _check_callbacks(("number", index), number, endpoints, errors)
        _check_keywords(("number", index, "keyword"), number.get("keyword", ()), errors)
    for name in endpoints:
        if name not in called:
            errors.warn(("endpoint", name), "is called by no number and no keyword")
    if not numbers:
        errors.warn((), "there is no [[number]]: every text is kept as unrouted")


def _check_digits(
    path: SettingPath, written: str, prefix: str, owners: dict[str, SettingPath], errors: ErrorCollector
) -> None:
    """No number or short code may be that of two `owners`, and it should be one that can be texted."""
    digits = normalised(written, prefix)
    if not digits:
        if written:
            errors.add(path, "has no digits")
        return
    owner = owners.setdefault(digits, path)
    try:
        is_valid = phonenumbers.is_valid_number(phonenumbers.parse(f"+{digits}"))
    except phonenumbers.NumberParseException:
        is_valid = False
    if owner[:2] != path[:2]:
        errors.add(path, f"is {dotted(owner)} already")
    elif not digits.isdigit() or not (is_valid or len(digits) in _SHORT_CODE_DIGITS):
        errors.warn(path, "does not look like a number that can be texted; it is used as it is")


def _check_callbacks(path: SettingPath, number: Table, endpoints: Table, errors: ErrorCollector) -> set[str]:
    """Checks where a number's texts and status updates go. Returns the names of the endpoints that are called."""
    own, rows = number.get("callback"), number.get("keyword", ())
    if own == () and not rows:
        errors.warn(path, "has no callback and no keyword: texts to it are kept as unrouted")
    lists = [((*path, name), number.get(name, ())) for name in ("callback", "status")]
    for index, keyword in enumerate(rows):
        if keyword.get("callback", own) == ():
            errors.warn((*path, "keyword", index), "has no callback: texts that match it are kept as unrouted")
        lists.append(((*path, "keyword", index, "callback"), keyword.get("callback", ())))
    for list_path, names in lists:
        for index, name in enumerate(names):
            if name and name not in endpoints:
                errors.add((*list_path, index), unknown(name, endpoints, "an endpoint"))
            elif name and name in names[:index]:
                errors.warn((*list_path, index), "is named twice; it is called only once")
    return {name for _, names in lists for name in names if name}


def _check_keywords(path: SettingPath, rows: Sequence[Table], errors: ErrorCollector) -> None:
    """One word must not be two keywords, and each must be able to match."""
    owners: dict[tuple[str, str], SettingPath] = {}
    words: list[tuple[Table, SettingPath, str | None]] = []
    for index, row in enumerate(rows):
        words.append((row, (*path, index, "word"), row.get("word")))
        words += ((row, (*path, index, "aliases", at), alias) for at, alias in enumerate(row.get("aliases", ())))
    for row, word_path, word in words:
        match = row.get("match", "")
        if word is None or (match == "regex" and not _is_pattern(word_path, word, errors)):
            continue
        if reason := keywords.why_never_matches(match, word):
            errors.warn(word_path, f"can never match: it {reason}")
        compared = keywords.compared(match, word) if match and "word" in row else ""
        owner = owners.setdefault((match, compared), word_path) if compared else word_path
        if owner[:4] != word_path[:4]:
            errors.add(word_path, f'{quoted(word)} is {dotted(owner)} already, with match = "{match}" too')
        elif owner != word_path:
            errors.warn(word_path, f"is equal to {dotted(owner)}: case and punctuation do not count")


def _is_pattern(path: SettingPath, form: str, errors: ErrorCollector) -> bool:
    try:
        fields.pattern(form, re.IGNORECASE)  # as the index of keywords will have it
    except fields.Mistake as mistake:
        errors.add(path, mistake.found)
        return False
    if r"\b" in form and not form.isascii():
        errors.warn(path, r"has \b, which takes only the letters of ASCII for letters: there is none behind an é")
    return True


def _check_sending(tables: Mapping[str, Any], errors: ErrorCollector) -> None:
    """Replies need an account to be sent by, and legacy calls that send need a credential."""
    carrierx, legacy, gateway, numbers = (tables[name] for name in ("carrierx", "legacy", "gateway", "number"))
    has_account = carrierx.get("token") or carrierx.get("login")
    if has_account and not (legacy.get("password") or legacy.get("api_key")):
        errors.warn(("legacy",), "has neither password nor api_key: sends by legacy calls are refused")
    for name in tables["template"]:
        if not _NAME.fullmatch(name):
            errors.add(("template", name), "may have letters, digits and - _ . in its ID, 64 at most")
    answers: list[SettingPath] = [("gateway", "opt_out")] if gateway.get("opt_out") == "reply" else []
    for index, number in enumerate(numbers):
        path: SettingPath = ("number", index)
        answers += [(*path, "opt_out")] if number.get("opt_out") == "reply" else []
        for at, keyword in enumerate(number.get("keyword", ())):
            reply_path = (*path, "keyword", at, "reply")
            answers += [reply_path] if keyword.get("reply") else []
            if keyword.get("reply") == RESPONSE:
                _check_response(reply_path, keyword.get("callback", number.get("callback")), tables["endpoint"], errors)
    for reply_path in () if has_account else answers:
        errors.warn(reply_path, "sends replies that wait until [carrierx] has an account: token, or login and password")


def _check_response(path: SettingPath, names: Sequence[str] | None, endpoints: Table, errors: ErrorCollector) -> None:
    """A reply that is the answer of a keyword's first endpoint needs one. `names`: of its endpoints, where known."""
    if names == ():
        errors.add(path, f'is "{RESPONSE}", but there is no endpoint in callback that could answer')
    first = endpoints.get(names[0], {}) if names else {}
    if first.get("format") == "carrierx":
        text = 'and the first endpoint has format = "carrierx": its answer is sent only if it is text/plain'
        errors.warn(path, f'is "{RESPONSE}", {text}')
