"""The number of SMS that a text takes: CarrierX's ``message_segments``.

A text of nothing but the GSM 7 bit default alphabet (3GPP TS 23.038, 6.2.1) has 160 septets in one SMS, and 153 in each
part of several. Any other character makes all of it UCS-2: 70 code units of 16 bits, or 67. TS 23.040, 9.2.3.24.1:
"A character represented by an escape-sequence shall not be split in the middle" (the ten of the extension table, two
septets each), and no "UCS2 character" either. The specification knows no surrogate pairs; handsets and gateways send
UTF-16 in its place, and keep a pair in one part, as here. Nothing keeps a sequence of characters together (a flag, a
letter and its accent).

National language tables are not used: they need an agreement between the parties.
"""

from __future__ import annotations

from collections.abc import Callable

from gsm0338 import Codec

ESCAPE = 0x1B
SEPTETS, SEPTETS_OF_PART = 160, 153
UNITS, UNITS_OF_PART = 70, 67

_CODEC = Codec()


def _decoded(septets: bytes) -> str:
    """The characters that the codec reads; none for a septet that has no character."""
    return str(_CODEC.decode(septets, "ignore")[0])


# The escape itself is no character: a text that holds one cannot be written in this alphabet.
BASIC = frozenset(_decoded(bytes(septet for septet in range(128) if septet != ESCAPE)))
EXTENSION = frozenset("".join(_decoded(bytes((ESCAPE, septet))) for septet in range(128)))
ALPHABET = BASIC | EXTENSION
_ESCAPED = {ord(character): chr(ESCAPE) + character for character in EXTENSION}


def count(text: str) -> int:
    """The number of SMS that `text` takes, at least 1: the empty text is an SMS too."""
    if 2 * len(text) <= UNITS:
        # No character takes more than two, of septets or of units.
        return 1
    if ALPHABET.issuperset(text):
        septets = text if EXTENSION.isdisjoint(text) else text.translate(_ESCAPED)
        return _parts(len(septets), SEPTETS, SEPTETS_OF_PART, lambda at: septets[at - 1] == chr(ESCAPE))
    octets = text.encode("utf-16-be", "surrogatepass")

    def splits(at: int) -> bool:
        return 0xD8 <= octets[2 * at - 2] <= 0xDB and 0xDC <= octets[2 * at] <= 0xDF

    return _parts(len(octets) // 2, UNITS, UNITS_OF_PART, splits)


def _parts(length: int, single: int, part: int, splits: Callable[[int], bool]) -> int:
    """Fills each part as far as it goes; a cut that `splits` a character is made before it."""
    if length <= single:
        return 1
    parts, cut = 1, part
    while cut < length:
        parts, cut = parts + 1, cut - splits(cut) + part
    return parts
