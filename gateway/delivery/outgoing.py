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

from gateway.delivery.addresses import check_url, place
from gateway.delivery.exchange import Headers

AGENT = "sms-gateway/1"
OURS = frozenset("host content-length transfer-encoding connection expect te upgrade".split())
"""Headers that only the transport writes. `Content-Type` comes with the body."""
IDLE = 60
"""Seconds after which an unused connection is not used again: firewalls forget such without a word."""
LIFE = 300
"""Seconds that a connection is lent at most, so that an endpoint that moved in the DNS is followed."""
PINNED = 3600
"""Seconds that libcurl keeps what we pinned: longer than our own resolver does, so that it never asks by itself."""

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
    values = "".join([value for _, value in headers])
    # isprintable: no line break can begin a header of its own.
    if not (values.isascii() and values.isprintable()):
        raise ValueError("a header's value has characters that cannot be sent")
    # `Name;` sends a header that is empty; with nothing but spaces behind the colon libcurl would send none.
    named = [f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers]
    return [*_fixed(tuple([name for name, _ in headers])), *named]


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
