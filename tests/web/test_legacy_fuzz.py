"""Nearly right and quite wrong calls to send: nothing is a 5xx, and every one of them is answered in its own shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from gateway.web.legacy_forms import OPERATIONS
from tests import drawn, examples
from tests.legacy_calls import AUTH, ENVELOPES, PHONES, SOAP_11, TOML, soap, values
from tests.visitor import console

NAMES = (
    *OPERATIONS,
    "sendTo",
    "type",
    "item",
    "key",
    "value",
    "recipients",
    "username",
    "password",
    "api_key",
    "code",
    "x",
)
# What XML can say; the rest is left to the bytes.
texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30).map(
    lambda text: text.replace("&", "&amp;").replace("<", "&lt;").replace("\ufffe", "").replace("\uffff", "")
)
known = st.sampled_from((*PHONES, *AUTH.values(), "1", "ct", ""))
attributes = st.sampled_from(
    ("", "", "", ' id="a"', ' id="b"', ' href="#a"', ' href="#b"', ' xsi:nil="true"', ' xmlns="urn:x"')
)
leaves = st.builds("<{0}{1}>{2}</{0}>".format, st.sampled_from(NAMES), attributes, texts | known)
trees = st.recursive(
    leaves,
    lambda inner: st.builds(
        "<{0}{1}>{2}</{0}>".format, st.sampled_from(NAMES), attributes, st.lists(inner, max_size=4).map("".join)
    ),
    max_leaves=12,
)
right = st.just("".join(f"<{name}>{value}</{name}>" for name, value in AUTH.items()))
one_phone = st.just(f"<item><sendTo>{PHONES[0]}</sendTo></item>")
words = texts.map("x{}".format)


def called(name: str, auth: str, message: str, recipients: str, more: str) -> str:
    return (
        f"<{name}><auth>{auth}</auth><message>{message}</message>"
        f"<recipientList>{recipients}</recipientList>{more}</{name}>"
    )


def enveloped(namespace: str, call: str, more: str) -> bytes:
    return f"<s:Envelope xmlns:s='{namespace}' xmlns:xsi='urn:i'><s:Body>{call}{more}</s:Body></s:Envelope>".encode()


envelopes = st.builds(
    enveloped,
    st.sampled_from((SOAP_11, SOAP_11, SOAP_11, "http://www.w3.org/2003/05/soap-envelope", "urn:x")),
    st.builds(
        called,
        st.sampled_from(("sendMessage", *OPERATIONS, "nonsense")),
        st.one_of(right, right, right, trees),
        words,
        st.one_of(one_phone, one_phone, st.tuples(one_phone, trees).map("".join), trees),
        st.just("") | trees,
    ),
    st.just("") | trees,
)
# Too few of the others get through to the end to rely on.
fitting = st.builds(
    enveloped,
    st.just(SOAP_11),
    st.builds(called, st.just("sendMessage"), right, words, one_phone, st.just("")),
    st.just(""),
)
content_types = st.sampled_from(
    (None, "text/xml", "text/xml; charset=utf-16", "text/xml; charset=iso-8859-1", "x;charset=x")
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A client's own envelope, some bytes of it changed."""
    body = bytearray(draw(st.sampled_from([path.read_bytes() for path in ENVELOPES])))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 40))] = draw(
            st.binary(max_size=8) | st.sampled_from((b"<", b"&", b"]]>", b'"'))
        )
    return bytes(body)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[FlaskClient]:
    with console(tmp_path, TOML) as app:
        yield app.test_client()


def test_any_envelope_is_answered(client: FlaskClient) -> None:
    seen: Counter[Any] = Counter()

    @settings(max_examples=examples(250, 3000))
    @given(envelopes | fitting | damaged() | st.binary(max_size=200), content_types)
    def one(body: bytes, content_type: str | None) -> None:
        answer = soap(client, body, content_type)
        assert answer.status_code in (200, 400)
        assert etree.QName(etree.fromstring(answer.data)).localname == "Envelope"
        seen[answer.status_code, values(answer).get("result")] += 1

    one()
    assert min(seen[200, "true"], seen[200, "false"], seen[400, None]) > 5, "all ways were walked"


pairs = st.tuples(
    st.sampled_from((*NAMES, *AUTH, "recipients[0][sendTo]", "sendTo[]", "auth[code]", "[")), known | drawn.texts
)
forms = st.lists(pairs, max_size=8).map(
    lambda some: urlencode([*AUTH.items(), ("message", "x"), ("sendTo", PHONES[0]), *some])
)


def test_any_form_is_answered(client: FlaskClient) -> None:
    seen: Counter[int] = Counter()

    @settings(max_examples=examples(150, 2000))
    @given(
        st.sampled_from(tuple(OPERATIONS)),
        forms.map(str.encode) | drawn.bodies,
        st.just(drawn.FORM) | drawn.content_types,
    )
    def one(name: str, body: bytes, content_type: str | None) -> None:
        headers = (
            {"Content-Type": content_type}
            if content_type and content_type.isascii() and content_type.isprintable()
            else {}
        )
        answer = client.post(f"/legacy/{name}", data=body, headers={**headers, "Accept": "application/json"})
        assert answer.status_code in (200, 400) and set(answer.get_json()) > {"result", "error_code", "message"}
        seen[answer.status_code] += 1

    one()
    assert seen[200] > 5
