"""What hypothesis draws: texts, numbers, messages, and bodies that are nearly right, so that most of them get far."""

from __future__ import annotations

import json
from urllib.parse import urlencode

from hypothesis import strategies as st

from schemas import FormatOptions, Message, NumberContext
from schemas.carrierx import ATTRIBUTES
from schemas.credentials import CREDENTIALS
from schemas.legacy import CALLBACK_FIELDS, EXTRA_FIELDS, STATUS_FIELDS
from schemas.status import NUMERIC

FORM = "application/x-www-form-urlencoded"
TICKET = "f6ac6e90-4c38-4ba1-a8ce-25a911a422db"

# Hypothesis draws no surrogates unless asked for them.
texts = st.text(max_size=200)
words = st.text(min_size=1, max_size=30).filter(lambda text: text.replace("\0", "").strip())
# With the prefix of a country set, ten digits are a national number.
numbers = st.from_regex(r"[1-9][0-9]{2,14}", fullmatch=True).filter(lambda digits: len(digits) != 10)
senders = st.from_regex(r"[A-Za-z]([A-Za-z0-9 ]{0,8}[A-Za-z0-9])?", fullmatch=True)
handsets = numbers | senders
uuids = st.uuids().map(str)
user_data = st.none() | texts.filter(lambda text: text not in ("", "null") and "\0" not in text)
status_words = st.sampled_from((*NUMERIC, "Delivered", "100", "-1", "116")) | words

shapes = st.sampled_from(("auto", "sms", "mms"))
facts = st.builds(NumberContext, number=numbers, code=numbers) | st.just(NumberContext())
format_options = st.builds(
    FormatOptions,
    shape=shapes,
    charset=st.sampled_from(("utf-8", "windows-1252", "iso-8859-1")),
    send_charset=st.booleans(),
    encode_twice=st.frozensets(st.sampled_from(CALLBACK_FIELDS)),
    status_words=st.sampled_from((None, NUMERIC)),
    extra_fields=st.lists(st.sampled_from(EXTRA_FIELDS), unique=True).map(tuple),
    media=st.sampled_from(("omit", "append")),
    legacy_key=st.booleans(),
    phone=st.sampled_from(("international", "national")),
)

callbacks = st.fixed_dictionaries(
    dict.fromkeys(CALLBACK_FIELDS, texts) | {"phone": handsets, "shortcode": numbers, "code": numbers | st.just("")}
).map(lambda said: {name: said[name] for name in CALLBACK_FIELDS})
statuses = st.fixed_dictionaries(
    {
        "code": numbers | st.just(""),
        "sendTo": handsets,
        "status": status_words,
        "ticket": words | uuids,
        "custom_ticket": texts,
    }
)

inbound = st.builds(
    Message,
    direction=st.just("inbound"),
    from_=handsets,
    to=numbers,
    status=st.just("received"),
    message=texts.map(lambda text: text.replace("\0", "")),
    message_sid=uuids,
    user_data=user_data,
)
outbound = st.builds(
    Message,
    direction=st.just("outbound"),
    from_=numbers,
    to=handsets,
    status=st.sampled_from(tuple(NUMERIC)),
    message_sid=uuids,
    user_data=user_data,
)
# Unknown, none, one that has exactly one code, one that has several, one that nobody knows.
operators = st.sampled_from(((None, None), (0, 0), (228, 1), (310, 260), (999, 99)))

GOOD = {
    "direction": "inbound",
    "from": "15162065515",
    "to": "15162065919",
    "message_sid": TICKET,
    "status": "sent",
    "message": "JOIN",
}
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(("null", "0.1")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
fitting = st.fixed_dictionaries(
    {"message_sid": uuids | words},
    optional={
        "message": texts | st.none(),
        "status": status_words,
        "price": st.decimals(-1, 1, places=4).map(float) | st.just("0.10") | st.none(),
        "mcc": st.integers(0, 999) | st.none(),
        "mnc": st.integers(0, 999) | st.none(),
        "media_urls": st.lists(texts, max_size=3),
        "group_recipients": st.lists(handsets, max_size=3),
        "user_data": texts | st.none(),
        "date_created": st.datetimes().map("{:%Y-%m-%dT%H:%M:%S.%fZ}".format),
        "from": handsets | numbers.map(int),
        "campaign": json_values,
    },
)
objects = st.builds(
    lambda changed, broken, direction: json.dumps({**GOOD, "direction": direction, **changed, **broken}).encode(),
    fitting,
    st.just({})
    | st.dictionaries(
        st.sampled_from((*ATTRIBUTES, "legacy", " from ")) | st.text(max_size=8), json_values, max_size=4
    ),
    st.sampled_from(("inbound", "outbound")),
)

names = st.sampled_from((*CALLBACK_FIELDS, *STATUS_FIELDS, *CREDENTIALS)) | st.text(max_size=10)
begun = st.sampled_from(
    (
        {},
        {"phone": "15162065515", "code": "12345", "message": "JOIN"},
        {"sendTo": "15162065515", "status": "sent", "ticket": "t", "code": "12345"},
    )
)
noise = st.lists(st.tuples(names, st.text(max_size=20) | st.binary(max_size=20)), max_size=3)
forms = st.builds(
    lambda first, pairs: urlencode([*first.items(), *pairs]).encode(),
    begun,
    noise,
)


def fitting_forms(fields: st.SearchStrategy[dict[str, str]]) -> st.SearchStrategy[bytes]:
    """Posts that have all they must have, to our number or to another, and something behind it."""
    ours = {"code": "12345", "shortcode": "12345"}
    codes = st.sampled_from(({}, {"code": "12345"}, ours, ours, ours))
    return st.builds(lambda said, code, more: urlencode([*(said | code).items(), *more]).encode(), fields, codes, noise)


def part(name: str, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name.encode() + b'"\r\n\r\n' + value


multiparts = st.builds(
    lambda first, inside: (
        b"--x\r\n"
        + b"\r\n--x\r\n".join([*(part(name, value.encode()) for name, value in first.items()), *inside])
        + b"\r\n--x--\r\n"
    ),
    begun,
    st.lists(st.builds(part, names, st.binary(max_size=20)) | st.binary(max_size=30), max_size=4),
)
bodies = st.binary(max_size=200) | objects | forms | multiparts
charsets = st.sampled_from(("utf-8", "iso-8859-1", "windows-1252", "utf-16", "gb18030", "klingon", ""))
content_types = (
    st.none()
    | st.sampled_from((FORM, "application/json", "multipart/form-data; boundary=x", "multipart/form-data"))
    | st.builds(f"{FORM}; charset={{}}".format, charsets)
    | st.builds("multipart/form-data; boundary={}".format, st.text(max_size=5))
    | st.text(max_size=30)
)
