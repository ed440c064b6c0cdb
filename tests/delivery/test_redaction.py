"""What of an answer may be kept and shown: no secret, in no spelling, and everything else as it came."""

from __future__ import annotations

import base64
import html
import json
import re
from dataclasses import replace
from functools import partial
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Credentials, Endpoint
from gateway.delivery.redaction import EndpointRedaction
from gateway.safe_http.models import KEPT_BODY_BYTES
from gateway.safe_http.ssrf import HIDDEN

SECRETS = ("s3cr&t p<ss", 'api/key +"é', "basic:pass", "whsec_c2VjcmV0", "tenant-12345", "query=t0ken")
ENDPOINT = Endpoint(
    name="app",
    url="http://10.0.0.5/a.php?key=query%3Dt0ken",
    credentials=Credentials(user_name="acme-user", password=SECRETS[0], api_key=SECRETS[1]),
    username="me",
    password=SECRETS[2],
    headers=(("X-Tenant", SECRETS[4]), ("Accept-Language", "en-GB-longer")),
    secret=(SECRETS[3],),
)
SPELT = (
    str,
    quote,
    quote_plus,
    partial(quote, safe=""),
    lambda text: quote_plus(quote_plus(text)),
    html.escape,
    lambda text: json.dumps(text)[1:-1],
    lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    lambda text: re.sub("%..", lambda found: found[0].lower(), quote(text, safe="")),
)


def patterns_alone(secrets: EndpointRedaction) -> EndpointRedaction:
    """One that looks for nothing first: the empty text is in every text."""
    return replace(secrets, markers=("",))


@pytest.mark.parametrize("spelt", SPELT)
@pytest.mark.parametrize("secret", [*SECRETS, "acme-user", base64.b64encode(b"me:basic:pass").decode()])
def test_every_spelling_is_hidden(secret: str, spelt: object) -> None:
    told = spelt(secret)  # type: ignore[operator]
    page = f"<p>thanks, {told}!</p>"
    secrets = EndpointRedaction.of(ENDPOINT)
    assert secrets.text(page) == f"<p>thanks, {HIDDEN}!</p>"
    assert secrets.body(page.encode()) == f"<p>thanks, {HIDDEN}!</p>".encode()
    assert secrets.headers([("Via", "1.1 a"), ("X-Echo", told)]) == [("Via", "1.1 a"), ("X-Echo", HIDDEN)]


@pytest.mark.parametrize("name", ["user_name", "password", "api_key"])
def test_the_trio_is_hidden_by_its_names(name: str) -> None:
    for secrets in (EndpointRedaction.of(ENDPOINT), EndpointRedaction.none()):
        assert secrets.body(f"got a=1&{name}=x&b=2".encode()) == f"got a=1&{name}={HIDDEN}&b=2".encode()


def test_short_values_are_hidden_by_their_names_alone() -> None:
    trio = Credentials(user_name="u", password="abc", api_key="key4")
    secrets = EndpointRedaction.of(Endpoint(name="a", url="http://a/", credentials=trio))
    page = "u abc key4 user_name=u&password=abc&api_key=key4"
    assert secrets.text(page) == f"u abc {HIDDEN} user_name={HIDDEN}&password={HIDDEN}&api_key={HIDDEN}"
    assert secrets.text("u abc password=abc") == f"u abc password={HIDDEN}"


def test_what_may_be_a_usual_word_is_hidden_from_eight_characters_on() -> None:
    url = "http://a/x.php?first=alpha-token&second=beta=token?x&third=gamma77#fragment-token"
    headers = (("X-Seven", "delta77"), ("X-Eight", "delta-88"), ("ACCEPT-language", "en-GB-longer"))
    secrets = EndpointRedaction.of(Endpoint(name="a", url=url, headers=headers))
    shown = "gamma77 fragment-token delta77 en-GB-longer"
    assert secrets.text(f"{shown} alpha-token beta=token?x delta-88") == f"{shown} {HIDDEN} {HIDDEN} {HIDDEN}"


def test_of_two_secrets_that_begin_alike_the_longer_is_hidden_whole() -> None:
    for short, long in (("tenant", "tenant-two"), ("zz-tenant", "zz-tenant-two"), ("long-tenant", "long-tenant-two")):
        for first, second in ((short, long), (long, short)):
            secrets = EndpointRedaction.of(Endpoint(name="a", url="http://a/", password=first, secret=(second,)))
            assert secrets.text(f"{long}, {short}") == f"{HIDDEN}, {HIDDEN}"


def test_form_fields_of_an_endpoint_without_credentials_are_shown() -> None:
    secrets = EndpointRedaction.of(replace(ENDPOINT, credentials=None))
    assert secrets.text(f"password=x {SECRETS[3]}") == f"password=x {HIDDEN}"


def test_bytes_that_are_no_text_are_kept_beside_a_secret() -> None:
    body = b"\xff\xe9" + SECRETS[3].encode() + b"\x80"
    assert EndpointRedaction.of(ENDPOINT).body(body) == b"\xff\xe9" + HIDDEN.encode() + b"\x80"


@pytest.mark.parametrize("name", ["Set-Cookie", "SET-COOKIE", "x-tenant", "Authorization"])
def test_headers_are_hidden_by_their_names(name: str) -> None:
    assert EndpointRedaction.of(ENDPOINT).headers(((name, "1"), ("Via", "1"))) == [(name, HIDDEN), ("Via", "1")]
    known = HIDDEN if name != "x-tenant" else "1"
    assert EndpointRedaction.none().headers(((name, "1"), ("Via", "1"))) == [(name, known), ("Via", "1")]


def test_a_secret_is_not_cut_in_two() -> None:
    secrets = EndpointRedaction.of(ENDPOINT)
    for before in range(KEPT_BODY_BYTES - len(SECRETS[2]), KEPT_BODY_BYTES + 1):
        body = b"x" * before + SECRETS[2].encode() + b"y" * KEPT_BODY_BYTES
        assert b"basic" not in secrets.body(body) and len(secrets.body(body)) == KEPT_BODY_BYTES


@given(body=st.binary() | st.text().map(str.encode))
def test_what_holds_no_secret_stays_as_it_is(body: bytes) -> None:
    assert EndpointRedaction.of(ENDPOINT).body(body) == body[:KEPT_BODY_BYTES]


PIECES = st.sampled_from([*SECRETS, *(one(text) for one in SPELT for text in SECRETS), "password=", "api_key=x", "&"])


@given(pieces=st.lists(PIECES | st.text(max_size=5)), credentials=st.booleans())
def test_looking_first_changes_nothing(pieces: list[str], credentials: bool) -> None:
    """The quick look is only ever right: the patterns by themselves find nothing more."""
    endpoint = ENDPOINT if credentials else replace(ENDPOINT, credentials=None)
    secrets = EndpointRedaction.of(endpoint)
    whole, text = patterns_alone(secrets), "".join(pieces)
    headers = [("X-A", piece) for piece in pieces]
    assert secrets.text(text) == whole.text(text)
    assert secrets.headers(headers) == whole.headers(headers)
    assert secrets.body(text.encode("utf-8", "replace")) == whole.body(text.encode("utf-8", "replace"))


@given(words=st.lists(st.text("abA%+&", min_size=4, max_size=9), min_size=1, max_size=4), text=st.text("abA%25+&;mp"))
def test_secrets_that_are_parts_of_each_other(words: list[str], text: str) -> None:
    headers = tuple((f"X-{number}", word * 2) for number, word in enumerate(words))
    secrets = EndpointRedaction.of(Endpoint(name="a", url="http://a/", secret=(words[0],), headers=headers))
    assert secrets.text(text) == patterns_alone(secrets).text(text)


def test_no_secrets_at_all() -> None:
    secrets = EndpointRedaction.of(Endpoint(name="a", url="http://a/"))
    assert secrets.text("password=x") == "password=x" and secrets.body(b"\xff" * 5000) == b"\xff" * KEPT_BODY_BYTES
    assert secrets.headers([("Server", "x"), ("Set-Cookie", "a=b")]) == [("Server", "x"), ("Set-Cookie", HIDDEN)]
