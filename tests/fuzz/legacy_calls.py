"""Calls to send, by form and by SOAP: nothing is a 5xx, and every one is answered in its own shape."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal
from unittest.mock import patch
from urllib.parse import urlencode

from hypothesis import strategies as st
from lxml import etree

from gateway.web import limits
from gateway.web.legacy_forms import OPERATIONS
from tests import drawn
from tests.fuzz.corpus import damaged
from tests.fuzz.engine import Target
from tests.legacy_calls import AUTH, ENVELOPES, PHONES, SOAP, SOAP_11, TOML, values
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
pairs = st.tuples(
    st.sampled_from((*NAMES, *AUTH, "recipients[0][sendTo]", "sendTo[]", "auth[code]", "status_url", "[")),
    known | drawn.texts,
)
forms = st.lists(pairs, max_size=8).map(
    lambda some: urlencode([*AUTH.items(), ("message", "x"), ("sendTo", PHONES[0]), *some]).encode()
)
form_types = (st.just(drawn.FORM) | drawn.content_types).map(
    lambda kind: kind if kind and kind.isascii() and kind.isprintable() else None
)

Input = tuple[str, bytes, str | None]

calls = st.tuples(st.sampled_from(tuple(f"/legacy/{name}" for name in OPERATIONS)), forms | drawn.bodies, form_types)
envelopes = envelopes | fitting | damaged([path.read_bytes() for path in ENVELOPES]) | st.binary(max_size=200)
inputs = calls | st.tuples(st.just(SOAP), envelopes, content_types)


WAYS = ("soap 200 true", "soap 200 false", "soap 400 None", "form 200 true", "form 200 false", "form 400 false")


@contextmanager
def target(folder: Path) -> Iterator[Target]:
    # Nearly every input is a guess at the credentials.
    with console(folder, TOML) as app, patch.dict(limits.MOST, {"call": 1_000_000}):
        client = app.test_client()

        def check(given: Input) -> str:
            path, body, content_type = given
            headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
            answer = client.post(path, data=body, headers=headers)
            assert answer.status_code in (200, 400), answer.status
            kind: Literal["soap", "form"] = "soap" if path == SOAP else "form"
            if kind == "soap":
                assert etree.QName(etree.fromstring(answer.data)).localname == "Envelope"
                result = values(answer).get("result")
            else:
                assert set(answer.get_json()) > {"result", "error_code", "message"}
                result = str(answer.get_json()["result"]).lower()
            return f"{kind} {answer.status_code} {result}"

        yield Target(inputs=inputs, check=check, ways=WAYS)
