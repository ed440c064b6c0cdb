"""The number of SMS that a text takes, compared with 3GPP TS 23.038 and 23.040 and with smsutil."""

import pytest
import smsutil  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.segments import ALPHABET, BASIC, EXTENSION, count

# TS 23.038, 6.2.1, in the order of the septets, without the escape; and 6.2.1.1.
TABLE = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION_TABLE = "\f^{}\\[~]|€"


def test_the_alphabet_is_the_default_alphabet_of_3gpp() -> None:
    assert len(TABLE) == 127
    assert frozenset(TABLE) == BASIC
    assert frozenset(EXTENSION_TABLE) == EXTENSION
    assert ALPHABET == BASIC | EXTENSION


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("a" * 459, 3),
        ("a" * 460, 4),
        ("\r\n" * 80, 1),
        # An extension character takes two septets,
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 158 + "€", 1),
        ("a" * 159 + "€", 2),
        # and is not cut: it moves to the next part, whole, and leaves a septet unused.
        ("a" * 152 + "€" + "a" * 151, 2),
        ("a" * 152 + "€" + "a" * 152, 3),
        ("a" * 151 + "€" + "a" * 153, 2),
        ("a" * 151 + "€" + "a" * 154, 3),
        ("€" * 152, 2),
        ("€" * 153, 3),
        # One character that the alphabet has not, and the whole text is UCS-2.
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 134, 2),
        ("ж" * 135, 3),
        ("a" * 69 + "`", 1),
        ("a" * 70 + "`", 2),
        ("ç" + "a" * 70, 2),
        ("\t" + "a" * 70, 2),
        ("€" * 70 + "ж", 2),
        # A character beyond the BMP takes two units, and its pair is not cut.
        ("😀" * 35, 1),
        ("😀" * 36, 2),
        ("a" * 68 + "😀", 1),
        ("a" * 69 + "😀", 2),
        ("a" * 66 + "😀" + "a" * 66, 3),
        ("a" * 66 + "😀" + "a" * 65, 2),
        ("a" * 65 + "😀" + "a" * 67, 2),
        ("😀" * 66, 2),
        ("😀" * 67, 3),
    ],
)
def test_what_texts_take(text: str, parts: int) -> None:
    assert count(text) == parts


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a" * 100_000, -(-100_000 // 153)),
        ("€" * 100_000, -(-100_000 // 76)),
        ("ж" * 100_000, -(-100_000 // 67)),
        ("😀" * 100_000, -(-100_000 // 33)),
    ],
)
def test_long_texts_are_counted_too(text: str, parts: int) -> None:
    assert count(text) == parts


@pytest.mark.parametrize("text", ["\ud83d" * 71, "\ude00" * 71, "\ude00\ud83d" * 36])
def test_half_a_pair_is_a_unit_of_its_own(text: str) -> None:
    assert count(text) == 2


@pytest.mark.parametrize("pair", ["\U00010000", "\U0010ffff", "\ud83d\ude00"])
def test_the_halves_of_a_pair_stay_in_one_part(pair: str) -> None:
    assert count("a" * 66 + pair + "a" * 66) == 3


@pytest.mark.parametrize("two", ["\ud7ff\udc00", "\udc00\udc00", "\ud800\ue000", "\udbff\udbff", "\ude00\ud83d"])
def test_what_is_no_pair_is_cut(two: str) -> None:
    assert count("a" * 66 + two + "a" * 66) == 2


def by_smsutil(text: str) -> int:
    """smsutil's answer, but for the two things where it is wrong.

    It takes U+001B for a character of the default alphabet. That septet is the escape to the
    extension table: a text with it would be read as another one (ESC e is the euro sign), so
    it can only go as UCS-2. And it may cut between two halves of a pair that a `str` holds as
    two characters; on the wire nothing tells them from a whole one, so they are joined first.
    """
    joined = text.encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
    split = smsutil.unicode_split if "\x1b" in joined else smsutil.split
    return len(split(joined).parts)


ANY = st.characters(exclude_categories=())
GSM = st.sampled_from(TABLE + EXTENSION_TABLE * 3)
PAIRS = st.sampled_from("a€ж😀🇨🇭\ud83d\ude00\x1b")
RUNS = st.lists(st.tuples(st.sampled_from("a€éж😀\x1b\ud83d\ude00"), st.integers(1, 160)), max_size=6).map(
    lambda runs: "".join(character * times for character, times in runs)
)


@given(st.text(ANY, max_size=500) | st.text(GSM, max_size=1000) | st.text(PAIRS, max_size=400) | RUNS)
@example("a" * 152 + "€" + "a" * 7)
@example("a" * 153 + "€" * 4)
@example("\x1b" + "a" * 70)
@example("a" * 66 + "\ud83d\ude00" + "a" * 66)
def test_it_counts_as_smsutil_does(text: str) -> None:
    assert count(text) == by_smsutil(text)


@given(RUNS, RUNS)
def test_more_text_never_takes_fewer(text: str, more: str) -> None:
    assert 1 <= count(text) <= count(text + more)
