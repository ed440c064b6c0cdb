"""Any bytes at all: they are a message or a `BadCallback`, secrets are blanked, and nothing takes long."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from random import Random
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import FORMATS, BadCallback, CannotSay, FormatOptions, Message, NumberContext, credentials, enrich
from schemas.legacy import CALLBACK_FIELDS, STATUS_FIELDS
from tests import drawn, examples
from tests.drawn import FORM
from tests.schemas.test_laws import CARRIERX, RECEIPT

SECRET = "hunter2-canary"


@settings(max_examples=examples(250, 2000))
@given(st.sampled_from(tuple(FORMATS)), drawn.bodies, drawn.content_types, drawn.format_options)
def test_bytes_are_a_message_or_a_bad_callback(
    name: str, body: bytes, content_type: str | None, how: FormatOptions
) -> None:
    kept = credentials.scrub(body, content_type), credentials.scrub_refused(body)
    assert all(len(one) <= len(body) for one in kept)
    try:
        message = FORMATS[name].load(body, content_type, RECEIPT)
    except BadCallback as refused:
        assert refused.errors and all(all(faults) for faults in refused.errors.values())
        return
    check_written(enrich(message, NumberContext(number="15162065919", code="12345")), how)


def check_written(message: Message, how: FormatOptions) -> None:
    """A message that was read can be written: as one of the two forms, and as JSON that our own reader reads again."""
    written = {}
    for name, one in FORMATS.items():
        try:
            written[name] = one.dump(message, how).data
        except CannotSay:
            continue
    CARRIERX.load(written.pop("carrierx"), None, RECEIPT)
    kind, names = ("legacy-callback", CALLBACK_FIELDS) if message.inbound else ("legacy-status", STATUS_FIELDS)
    assert list(written) == [kind]
    posted = [pair.partition(b"=")[0].decode() for pair in written[kind].split(b"&")]
    assert posted[: len(names)] == list(names) and len(set(posted)) == len(posted)


@given(
    st.lists(st.tuples(drawn.names, drawn.texts), max_size=5),
    st.lists(st.sampled_from(credentials.CREDENTIALS), min_size=1, max_size=4),
    st.randoms(use_true_random=False),
)
def test_secrets_are_blanked_and_nothing_else(pairs: list[tuple[str, str]], secrets: list[str], dice: Random) -> None:
    harmless = [pair for pair in pairs if pair[0].strip() not in credentials.CREDENTIALS]
    whole = [*harmless, *((name, SECRET) for name in secrets)]
    dice.shuffle(whole)
    body = urlencode(whole).encode()
    blanked = [(name, "" if name in credentials.CREDENTIALS else value) for name, value in whole]
    assert credentials.scrub(body, FORM) == urlencode(blanked).encode()
    assert credentials.read(body, FORM) == dict.fromkeys(secrets, SECRET)
    assert SECRET.encode() not in credentials.scrub_refused(body)


HOSTILE = {
    "headers-in-one-line": b"content-disposition:",
    "names-in-one-line": b"content-disposition: form-data; name=",
    "headers": b'content-disposition: form-data; name="password"\r\n',
    "parts": b'--x\r\ncontent-disposition: form-data; name="password"\r\n\r\n',
    "open-strings": b'"password":"',
    "spaces": b'"password" ',
    "backslashes": b'"\\',
    "brackets": b"[",
    "percent": b"%",
    "ampersands": b"&",
    "line-ends": b"\r\n",
    "boundaries": b"--x\r\n",
    "digits": b"1",
}
MEGABYTE = 1 << 20
READ_IT = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tests.schemas.test_hostile import FORMATS, HOSTILE, MEGABYTE, RECEIPT, BadCallback, credentials
piece = HOSTILE[sys.argv[1]]
body = piece * (MEGABYTE // len(piece))
for content_type in (None, "multipart/form-data; boundary=x"):
    credentials.scrub(body, content_type), credentials.scrub_refused(body)
    for one in FORMATS.values():
        for before in (b"", b"phone=", b'{{"message": "'):
            try:
                one.load(before + body, content_type, RECEIPT)
            except BadCallback:
                pass
"""


@pytest.mark.parametrize("what", HOSTILE)
def test_a_megabyte_of_spite_is_read_in_one_pass(what: str) -> None:
    """One pass takes a fraction of a second; one that looks back at each step takes minutes, past the time limit."""
    subprocess.run([sys.executable, "-c", READ_IT, what], check=True, timeout=60)
