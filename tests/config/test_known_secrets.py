"""The configured secrets are found by their values, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from gateway.config import Config, loads
from gateway.config.known_secrets import KnownSecrets

TEXT = """
[gateway]
database = "postgresql://me:db-s%2Fcret@h/d"
keys = ["key-0123456789ab"]
password = "pass word & more"
session_secret = "the session secret"
egress_proxy = "http://me:proxy-secret@proxy:3128"
[[key]]
name = "crm"
value = ["new-0123456789ab", "old-0123456789ab"]
[carrierx]
token = "tokén/with\\"strange"
[legacy]
user_name = "acme-user"
password = "1234567890"
api_key = "short"
[endpoint.crm]
url = "http://10.0.0.5/"
secret = ["whsec_c2VjcmV0", "plain secret"]
username = "user-of-crm"
password = "basic-password"
credentials = { user_name = "crm-user-name", password = "crm-password", api_key = "crm-api-key" }
headers = { X-Api-Token = "header-token", X-Tenant = "acme-tenant" }
"""
SECRETS = (
    *("db-s/cret", "key-0123456789ab", "pass word & more", "the session secret", "proxy-secret"),
    *("new-0123456789ab", "old-0123456789ab", "whsec_c2VjcmV0", "plain secret", "basic-password"),
    *("crm-password", "crm-api-key", "header-token"),
)
NONE = ("acme-user", "1234567890", "short", "user-of-crm", "crm-user-name", "acme-tenant", "x-key-0123456789ab", "key-")
FORMS: dict[str, tuple[Callable[[str], bytes], str]] = {
    "json": (lambda value: b'{"message": "hi", "extra": {"deep": ["a", "%s"]}}' % value.encode(), "application/json"),
    "slashes": (lambda value: b'{"a":"%s"}' % value.replace("/", "\\/").encode(), "application/json"),
    "pairs": (lambda value: b"message=hi&extra=%s&x=1" % quote_plus(value).encode(), ""),
    "spaces": (lambda value: b"message=hi&extra=%s" % quote(value).encode(), ""),
    "bare": (lambda value: b"%s" % quote_plus(value).encode(), ""),
    "part": (
        lambda value: b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\n%s\r\n--b--\r\n' % value.encode(),
        "multipart/form-data; boundary=b",
    ),
    "element": (lambda value: b"<a><b>%s</b></a>" % value.replace("&", "&amp;").encode(), "text/xml"),
    "attribute": (lambda value: b'<a><b c="%s"/></a>' % value.replace("&", "&amp;").encode(), "text/xml"),
}
STAYS = {
    "json": (b'{"message" : "key-0123456789ab"}', "application/json"),
    "deep": (b'{"legacy":{"message":"key-0123456789ab"}}', "application/json"),
    "within": (b'{"note":"my key-0123456789ab"}', "application/json"),
    "pairs": (b"a=1&message=key-0123456789ab&b=2", ""),
    "first": (b"message=key-0123456789ab", ""),
    "checked": (b"password=crm-password&api_key=crm-api-key", ""),
    "part": (
        b'--b\r\nContent-Disposition: form-data; name="message"\r\nContent-Type: text/plain\r\n\r\n'
        b"key-0123456789ab\r\n--b--\r\n",
        "multipart/form-data; boundary=b",
    ),
}


@pytest.fixture(scope="module")
def config() -> Config:
    return loads(TEXT, path=Path("/etc/sms/gateway.toml"), environ={})


@pytest.mark.parametrize("how", FORMS)
def test_a_whole_value_is_blanked(config: Config, how: str) -> None:
    (write, content_type), known = FORMS[how], KnownSecrets(config)
    for value in SECRETS:
        assert known.blank(write(value), content_type) == write(""), value
    for value in NONE:
        body = write(value)
        assert known.blank(body, content_type) is body, value


def test_it_is_found_as_json_escapes_it(config: Config) -> None:
    assert KnownSecrets(config).blank(b'{"a":"tok\\u00e9n/with", "b":"header-token"}').endswith(b'"b":""}')


@pytest.mark.parametrize("how", STAYS)
def test_the_text_of_a_message_and_what_is_still_to_be_checked_stay(config: Config, how: str) -> None:
    body, content_type = STAYS[how]
    assert KnownSecrets(config).blank(body, content_type) is body
