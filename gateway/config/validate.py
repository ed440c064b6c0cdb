"""What one setting means for another: mistakes and oddities that no single setting shows.

Every function gets what could be read so far. A setting that was a mistake by itself missing
there (in a list: None), and nothing is said about it a second time.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote_plus, urlsplit

from gateway import patterns
from gateway.config.errors import Findings
from gateway.config.places import Place
from gateway.config.schema import FORM_FIELDS, NAME
from gateway.delivery.addresses import judge, place

Table = Mapping[str, Any]

SHORT_KEY = 16
SHORT_PASSWORD = 10
_ONLY_LEGACY = (
    "charset", "send_charset", "encode_twice", "status_words", "credentials", "extra_fields", "media", "phone",
)  # fmt: skip
_ONLY_CARRIERX = ("shape", "legacy_key")
_OLD_TLS = ("1.0", "1.1")
SLOW = "repeats what repeats already, as in (a+)+: some texts would keep it busy for ages, and the gateway with it"


def check_gateway(gateway: Table, raw: Table, findings: Findings) -> None:
    """``[gateway]``; `raw` is the table as written."""
    if str(gateway.get("database", "")).startswith("postgres"):
        for name in {"keys", "password"} - raw.keys():
            findings.fault(("gateway", name), "must be set with PostgreSQL: every machine must have the same")
    for index, key in enumerate(gateway.get("keys", ())):
        if key and len(key) < SHORT_KEY:
            findings.warn(("gateway", "keys", index), f"is shorter than {SHORT_KEY} characters, and may be guessed")
    if len(gateway.get("password") or "-" * SHORT_PASSWORD) < SHORT_PASSWORD:
        findings.warn(("gateway", "password"), f"is shorter than {SHORT_PASSWORD} characters, and may be guessed")
    for name, meaning in (
        ("allow_networks", "test forms and status_url may go anywhere, into private networks too"),
        ("trusted_proxies", "X-Forwarded-For is believed whoever sends it"),
    ):
        if any(network and network.prefixlen == 0 for network in gateway.get(name, ())):
            findings.warn(("gateway", name), f"holds every address: {meaning}")


def check_carrierx(carrierx: Table, findings: Findings) -> None:
    """``[carrierx]``"""
    token, login, password = (carrierx.get(name) for name in ("token", "login", "password"))
    if token and (login or password):
        findings.fault(("carrierx", "token"), "is one way to log in, login and password the other: give only one")
    elif bool(login) != bool(password) and login is not None and password is not None:
        given, missing = ("login", "password") if login else ("password", "login")
        findings.fault(("carrierx", given), f"is of no use without {missing}")
    if (token or password) and _is_plain(str(carrierx.get("base_url", ""))):
        findings.warn(("carrierx", "base_url"), "is http, not https: the token or password can be read on the way")


def _is_plain(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme.lower() == "http" and parts.hostname not in ("127.0.0.1", "localhost", "::1")


def check_endpoint(name: str, endpoint: Table, raw: Table, findings: Findings, folder: Path) -> None:
    """``[endpoint.NAME]``; `raw` is the table as written."""
    here: Place = ("endpoint", name)
    if not NAME.fullmatch(name):
        findings.fault(here, "may have letters, digits and - _ . in its name, 64 at most")
    _check_url(here, endpoint, findings)
    _check_times(here, endpoint, findings)
    _check_login(here, endpoint, findings)
    _check_tls(here, endpoint, findings, folder)
    _check_form(here, endpoint, raw, findings)
    for setting in ("success_body", "failure_body"):
        found = endpoint.get(setting) or ()
        for pattern in [found] if isinstance(found, re.Pattern) else found:
            if pattern and patterns.may_hang(pattern.pattern):
                findings.warn((*here, setting), SLOW)


def _check_url(here: Place, endpoint: Table, findings: Findings) -> None:
    url = endpoint.get("url")
    if url is None:
        return
    host, port = place(url)
    # Only an address can be judged now; what a name stands for is judged at every connection.
    reason = judge(host, port, free_form=False) if re.fullmatch(r"[0-9.]+|[0-9a-f.]*:[0-9a-f:.]*", host) else None
    if reason and "no plain IP address" not in reason:
        findings.fault((*here, "url"), reason)
    names = fields_in_query(url, (*FORM_FIELDS, *filter(None, endpoint.get("extra_fields", ()))))
    if names and endpoint.get("format") == "legacy":
        known = ", ".join(names)
        findings.fault((*here, "url"), f"has {known} in its query, where some servers read it instead of the post's")


def fields_in_query(url: str, names: tuple[str, ...]) -> list[str]:
    """Which of the field `names` the query of a URL uses, in any spelling that a server takes for them.

    ASP.NET takes names in any case; PHP takes ``user.name`` and ``user name`` for ``user_name``, and
    ``message[]`` for ``message``; some servers part pairs at ``;``.
    """
    pairs = re.split("[&;]", urlsplit(url).query)
    used = {
        re.sub(r"[. ]", "_", unquote_plus(pair.split("=", 1)[0]).split("[")[0].strip()).casefold() for pair in pairs
    }
    return [name for name in dict.fromkeys(names) if name.casefold() in used]


def _check_times(here: Place, endpoint: Table, findings: Findings) -> None:
    timeout, connect = endpoint.get("timeout"), endpoint.get("connect_timeout")
    if timeout and connect and connect > timeout:
        findings.fault((*here, "connect_timeout"), f"must be at most the timeout, which is {timeout:g} seconds")


def _check_login(here: Place, endpoint: Table, findings: Findings) -> None:
    username, password = endpoint.get("username"), endpoint.get("password")
    if username == "" and password:
        findings.fault((*here, "password"), "is of no use without username")
    if username and ":" in username:
        findings.fault((*here, "username"), "must have no colon: HTTP Basic takes what follows for the password")
    names = [name for name, _ in endpoint.get("headers", ()) if name.lower() == "authorization"]
    if names and username:
        findings.fault((*here, "headers", names[0]), "is what username and password make: give only one of them")
    if endpoint.get("credentials") == {"user_name": "", "password": "", "api_key": ""}:
        findings.fault((*here, "credentials"), "names none of user_name, password, api_key")


def _check_tls(here: Place, endpoint: Table, findings: Findings, folder: Path) -> None:
    verify = endpoint.get("verify_tls", True)
    if verify is False:
        findings.warn((*here, "verify_tls"), "is false: whoever is on the way can read and answer every post")
    elif isinstance(verify, str):
        fault = _fault_of_certificates(folder / verify)
        if fault:
            findings.fault((*here, "verify_tls"), fault)
    if endpoint.get("tls_min") in _OLD_TLS:
        findings.warn((*here, "tls_min"), "allows a version of TLS that is broken: only for a server that has no other")


def _fault_of_certificates(file: Path) -> str:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile=file)
    except ssl.SSLError:
        return "is a file that holds no certificates in PEM form"
    except OSError as error:
        return f"is a file of certificates that cannot be read: {error.strerror or 'unknown error'}"
    except ValueError:
        return "is no file's name"
    return ""


def _check_form(here: Place, endpoint: Table, raw: Table, findings: Findings) -> None:
    more = endpoint.get("extra_fields", [])
    for index, name in enumerate(more):
        if name and name in more[:index]:
            findings.fault((*here, "extra_fields", index), "is named twice: each field goes once")
    kind = endpoint.get("format")
    for name in _ONLY_CARRIERX if kind == "legacy" else _ONLY_LEGACY if kind == "carrierx" else ():
        if name in raw:
            findings.warn((*here, name), f'does nothing where format = "{kind}"')
