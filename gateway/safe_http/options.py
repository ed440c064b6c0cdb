"""Requests in libcurl's terms: the URL taken apart, the lines of the head, the options of a handle."""

from __future__ import annotations

import os
import re
import ssl
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import pycurl

from gateway.safe_http.models import Headers
from gateway.safe_http.ssrf import check_url, host_and_port

USER_AGENT = "sms-gateway/1"
RESERVED_HEADERS = frozenset("host content-length transfer-encoding connection expect te upgrade".split())
"""Headers that only the client writes. `Content-Type` comes with the body."""
MAX_IDLE_SECONDS = 60
"""Time after which an unused connection is not used again: firewalls forget such a one without a word."""
MAX_CONNECTION_SECONDS = 300
"""Time for which a connection is used again at most, so that an endpoint that moved in the DNS is followed."""
PINNED_SECONDS = 3600
"""Time for which libcurl keeps pinned addresses: longer than our own resolver does, so that it never looks up a name
by itself."""

Profile = tuple[str, str, bool, bool | str, str]
"""URL, egress proxy, capture, verify_tls, tls_min: requests that share these share a handle's options."""

_VISIBLE = bytes(range(0x20, 0x7F))
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CA_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_TLS_VERSIONS = {f"1.{minor}": getattr(pycurl, f"SSLVERSION_TLSv1_{minor}") for minor in range(4)}
# pycurl has no names for these.
_SUPPRESS_CONNECT_HEADERS, _NATIVE_CA = 265, 16


@dataclass(frozen=True, slots=True)
class Target:
    """A URL, checked and taken apart."""

    fault: str = ""
    """The reason why the URL may not be called; then nothing else is set."""
    host: str = ""
    port: int = 0
    secure: bool = False
    path: str = ""
    """Path and query exactly as written: left alone, libcurl would send ``%2f`` as ``%2F``."""
    absolute: str = ""
    """The URL without its fragment, as a proxy is asked for it."""


@lru_cache(1024)
def target_of(url: str) -> Target:
    """The target of any string; never raises."""
    fault = check_url(url)
    if fault:
        return Target(fault=fault)
    host, port = host_and_port(url)
    absolute = url.partition("#")[0]
    rest = absolute.partition("://")[2]
    path = rest[len(rest.partition("/")[0].partition("?")[0]) :]
    rooted = path if path.startswith("/") else f"/{path}"
    return Target("", host, port, absolute.lower().startswith("https:"), rooted, absolute)


def header_lines(headers: Headers) -> list[str]:
    """The lines of the head as libcurl takes them. ValueError, which quotes no value, for what may not be sent."""
    # No line break can begin a header of its own.
    values = "".join([value for _, value in headers])
    if not values.isascii() or values.encode().translate(None, _VISIBLE):
        raise ValueError("a header's value has characters that cannot be sent")
    own = _own_lines(tuple([name for name, _ in headers]))
    # `Name;` sends a header without a value, `Name:` would send none.
    return [*own, *[f"{name}: {value}" if value.strip() else f"{name};" for name, value in headers]]


@lru_cache(256)
def _own_lines(names: tuple[str, ...]) -> tuple[str, ...]:
    """The lines that keep libcurl from writing headers of its own; ValueError for a name that may not be sent."""
    for name in names:
        if not _TOKEN.fullmatch(name) or name.lower() in RESERVED_HEADERS:
            raise ValueError(f"{name!r} is no header that can be sent, or one that only the gateway writes")
    return ("Expect:",) if "content-type" in map(str.lower, names) else ("Expect:", "Content-Type:")


def handle_options(profile: Profile) -> dict[int, str | int]:
    """libcurl's options (``CURLOPT_…``) for all requests of one profile."""
    url, proxy, capture, verify, tls_min = profile
    target = target_of(url)
    chosen: dict[int, str | int] = {
        pycurl.URL: url,
        pycurl.REQUEST_TARGET: target.absolute if proxy and not target.secure else target.path,
        pycurl.POST: 1,
        pycurl.USERAGENT: USER_AGENT,
        pycurl.NOSIGNAL: 1,
        pycurl.FOLLOWLOCATION: 0,
        pycurl.NETRC: 0,
        # Set also where empty, else libcurl asks the environment.
        pycurl.PROXY: proxy,
        pycurl.NOPROXY: "" if proxy else "*",
        # A proxy's answer to CONNECT is no part of the endpoint's.
        _SUPPRESS_CONNECT_HEADERS: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.HTTP_CONTENT_DECODING: 0,
        pycurl.HTTP09_ALLOWED: 0,
        pycurl.MAXAGE_CONN: MAX_IDLE_SECONDS,
        pycurl.MAXLIFETIME_CONN: MAX_CONNECTION_SECONDS,
        pycurl.DNS_CACHE_TIMEOUT: PINNED_SECONDS,
        pycurl.VERBOSE: int(capture),
        pycurl.SSLVERSION: _TLS_VERSIONS[tls_min],
        pycurl.SSL_VERIFYPEER: int(bool(verify)),
        pycurl.SSL_VERIFYHOST: 2 if verify else 0,
        pycurl.CAINFO: verify if isinstance(verify, str) else ca_bundle(),
        pycurl.PROXY_CAINFO: ca_bundle(),
    }
    if tls_min in ("1.0", "1.1"):
        # OpenSSL 3 has these at its lowest level of security only; whoever asks for them means it.
        chosen[pycurl.SSL_CIPHER_LIST] = "DEFAULT:@SECLEVEL=0"
    if os.name == "nt" and verify is True:
        chosen[pycurl.SSL_OPTIONS] = _NATIVE_CA  # Windows keeps its authorities in no file
    return chosen


@cache
def ca_bundle() -> str:
    """Path of a file of CA certificates: the system's, to which an operator adds a company's own; else certifi's.

    libcurl of pycurl's wheels looks where one family of Linux keeps it, and finds nothing on the others.
    """
    for path in (ssl.get_default_verify_paths().cafile, *_CA_BUNDLES):
        if path and Path(path).is_file():
            return path
    import certifi  # comes with requests; rarely needed, so rarely loaded

    return certifi.where()
