"""Bytes to begin with: the golden vectors and the envelopes of real clients; and ways to damage them."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import strategies as st

from tests.schemas.test_vectors import LOADS, http_of

VECTORS: dict[str, list[tuple[bytes, str | None]]] = {}
"""Body and content type of each vector, by its format."""
for _path in LOADS:
    _headers, _body = http_of(_path.with_suffix(".http"))
    VECTORS.setdefault(_path.parent.name, []).append((_body, _headers.get("Content-Type")))

TOKENS = (
    *(b"<", b">", b"&", b"]]>", b'"', b"'", b"=", b";", b"%", b"%00", b"%ff", b"+", b"{", b"}", b"[", b"]", b":", b","),
    *(b"\\ud800", b"\\u0000", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\r\n", b"\r\n\r\n", b"--", b"null", b"NaN"),
    *(b"1e999", b"-1", b"9" * 25, b"[" * 40, b"&amp;", b"&#0;", b"&#x110000;", b"<!DOCTYPE x>", b"\xed\xa0\x80"),
)


@st.composite
def damaged(draw: st.DrawFn, seeds: Sequence[bytes], more: Sequence[bytes] = ()) -> bytes:
    """One of the seeds with some bytes cut out, put in, changed or repeated."""
    body = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(body)))
        until = at + draw(st.integers(0, 40))
        body[at:until] = draw(
            st.sampled_from((*TOKENS, *more)) | st.binary(max_size=8) | st.just(bytes(body[at:until] * 3))
        )
    return bytes(body)
