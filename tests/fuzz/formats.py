"""The pure core: any bytes are a message or a `BadCallback`, and what `dump` wrote is read as it was meant."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import strategies as st

from schemas import FORMATS, BadCallback, CannotSay, FormatOptions, Message, ReceiveContext, credentials, for_recipient
from tests import drawn
from tests.fuzz.corpus import VECTORS, damaged
from tests.fuzz.engine import Target

CONTEXT = ReceiveContext(now=datetime(2026, 3, 1, 12, tzinfo=UTC), sid="5f1c0f3e-8f3a-4b52-9d0e-3a1f5b7c9d11")

Input = tuple[str, bytes, str | None, FormatOptions]

bodies = {
    name: damaged([body for body, _ in vectors])
    | (drawn.objects if name == "carrierx" else drawn.fitting_forms(drawn.callbacks | drawn.statuses))
    | drawn.bodies
    for name, vectors in VECTORS.items()
}
content_types = drawn.content_types | st.sampled_from(
    sorted({kind or "" for each in VECTORS.values() for _, kind in each})
)
inputs = st.sampled_from(sorted(FORMATS)).flatmap(
    lambda name: st.tuples(st.just(name), bodies[name], content_types, drawn.format_options)
)


@contextmanager
def target(_folder: Path) -> Iterator[Target]:
    yield Target(inputs=inputs, check=check, ways=("refused", "inbound", "outbound"))


def check(given: Input) -> str:
    name, body, content_type, options = given
    credentials.scrub_object(body)
    credentials.scrub_refused(body)
    credentials.scrub_call(body, content_type)
    try:
        message = FORMATS[name].load(body, content_type, CONTEXT)
    except BadCallback as refused:
        assert refused.errors and all(all(sentences) for sentences in refused.errors.values())
        return "refused"
    for recipient in message.recipients:
        each = for_recipient(message, recipient)
        for there in FORMATS:
            crossed(each, there, options)
            said = crossed(each, there, FormatOptions())
            assert said is None or said == crossed(said, there, FormatOptions()), "read as it was written"
    return message.direction


def crossed(message: Message, name: str, options: FormatOptions) -> Message | None:
    """The message as the other side reads it, without the notes of reading; None where the format cannot say it."""
    try:
        body = FORMATS[name].dump(message, options)
    except CannotSay:
        return None
    try:
        return replace(FORMATS[name].load(body.data, body.content_type, CONTEXT), notes=())
    except BadCallback:
        # A page may want its own words, another charset, fields twice encoded: nobody reads those as a callback.
        assert options != FormatOptions(), "what we write by ourselves can be read"
        return None
