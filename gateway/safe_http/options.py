"""What goes out, worked out for libcurl: the URL taken apart, the lines of the head, the options.

Pure, but for `bundle`, which looks for a file.
"""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

from gateway.safe_http.models import Headers
from gateway.safe_http.ssrf import check_url, place

AGENT = "sms-gateway/1"
OURS = frozenset("host content-length transfer-encoding connection expect te upgrade".split())
"""Headers that only the transport writes. `Content-Type` comes with the body."""
IDLE = 60
"""Seconds after which an unused connection is not used again: firewalls forget such without a word."""
LIFE = 300
"""Seconds that a connection is lent at most, so that an endpoint that moved in the DNS is followed."""
PINNED = 3600
"""Seconds that libcurl keeps what we pinned: longer than our own resolver does, so that it never asks by itself."""

_VISIBLE = bytes(range(0x20, 0x7F))
_NEXT = "\0"
"""Ends a line while all are one text; no header can hold it."""
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, judged and taken apart."""

    fault: str = ""
    """Why the URL may not be called; then nothing else is set."""
    host: str = ""
    port: int = 0
    secure: bool = False
    path: str = ""
    """Path and query exactly as written: left alone, libcurl would send ``%2f`` as ``%2F``."""
    absolute: str = ""
    """The URL without its fragment: what a proxy is asked for."""


@lru_cache(1024)
def target_of(url: str) -> Target:
    """Of any string; never raises."""
    fault = check_url(url)
    if fault:
        return Target(fault=fault)
    host, port = place(url)
    absolute = url.partition("#")[0]
    rest = absolute.partition("://")[2]
    path = rest[len(rest.partition("/")[0].partition("?")[0]) :]
    rooted = path if path.startswith("/") else f"/{path}"
    return Target("", host, port, absolute.lower().startswith("https:"), rooted, absolute)


def lines(headers: Headers) -> list[str]:
    """The head's own lines as libcurl takes them. ValueError, which quotes no value, for what may not be sent."""
    names, values = zip(*headers) if headers else ((), ())  # noqa: B905 - pairs; `strict` takes as long again
    said = "".join(values)
    # No line break can begin a header of its own.
    if not said.isascii() or said.encode().translate(None, _VISIBLE):
        raise ValueError("a header's value has characters that cannot be sent")
    plain = _template(names) % values
    if all(values) and ":  " not in plain:
        return plain.split(_NEXT)
    # Perhaps a value of nothing but spaces, or none at all: `Name;` sends such a header, `Name:` would send none.
    return [*_fixed(names), *[f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers]]


@lru_cache(256)
def _template(names: tuple[str, ...]) -> str:
    """All lines, with `%s` for every value. Headers that begin with `X-` mean nothing to libcurl, which takes each
    of its lines apart: those in a row go as one line, and go out as it stands."""
    whole, joins = _NEXT.join(_fixed(names)), False
    for name in names:
        whole += "\r\n" if joins and name[:2] in ("X-", "x-") else _NEXT
        whole += f"{name.replace('%', '%%')}: %s"
        joins = name[:2] in ("X-", "x-")
    return whole


@lru_cache(256)
def _fixed(names: tuple[str, ...]) -> tuple[str, ...]:
    """`Name:` keeps libcurl from writing one of its own."""
    lower = [name.lower() for name in names]
    for name in names:
        if not _TOKEN.fullmatch(name) or name.lower() in OURS:
            raise ValueError(f"{name!r} is no header that can be sent, or one that only the gateway writes")
    return ("Expect:",) if "content-type" in lower else ("Expect:", "Content-Type:")


def options(url: str, proxy: str, capture: bool) -> dict[str, str | int]:
    """libcurl's options (``CURLOPT_…``) for all requests to one URL; those of TLS apart."""
    target = target_of(url)
    return {
        "URL": url,
        "REQUEST_TARGET": target.absolute if proxy and not target.secure else target.path,
        "POST": 1,
        "USERAGENT": AGENT,
        "NOSIGNAL": 1,
        "FOLLOWLOCATION": 0,
        "NETRC": 0,
        # Set also where empty, else libcurl asks the environment.
        "PROXY": proxy,
        "NOPROXY": "" if proxy else "*",
        "HTTP_CONTENT_DECODING": 0,
        "HTTP09_ALLOWED": 0,
        "MAXAGE_CONN": IDLE,
        "MAXLIFETIME_CONN": LIFE,
        "DNS_CACHE_TIMEOUT": PINNED,
        "VERBOSE": int(capture),
    }


def tls_options(verify: bool | str, tls_min: str) -> dict[str, str | int]:
    """`verify`: True for this machine's authorities, a path for a CA file, False for anybody."""
    chosen: dict[str, str | int] = {
        "SSL_VERIFYPEER": int(bool(verify)),
        "SSL_VERIFYHOST": 2 if verify else 0,
        "CAINFO": verify if isinstance(verify, str) else bundle(),
        "PROXY_CAINFO": bundle(),
    }
    if tls_min in ("1.0", "1.1"):
        # OpenSSL 3 has these at its lowest level of security only; whoever asks for them means it.
        chosen["SSL_CIPHER_LIST"] = "DEFAULT:@SECLEVEL=0"
    if os.name == "nt" and verify is True:
        chosen["SSL_OPTIONS"] = 16  # CURLSSLOPT_NATIVE_CA: Windows keeps them in no file
    return chosen


@cache
def bundle() -> str:
    """Path of a file of CA certificates: the system's, to which an operator adds a company's own; else certifi's.

    libcurl of pycurl's wheels looks where one family of Linux keeps it, and finds nothing on the others.
    """
    paths = (ssl.get_default_verify_paths().cafile, *_BUNDLES)
    return next((path for path in paths if path and Path(path).is_file()), None) or _certifi()


def _certifi() -> str:
    import certifi  # comes with requests; rarely needed, so rarely loaded

    return certifi.where()
