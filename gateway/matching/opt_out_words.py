"""The words by which a phone opts out of texts, comes back, or asks for help. PURE.

The whole text must be the word: "Stop by at 5" and "the END" are texts like any other. Case, quotes, punctuation and
spaces around it do not count.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from gateway.matching import normalize

STOP, START, HELP = "stop", "start", "help"

# Our choice of kinds; the words are those that carriers ask for.
_WORDS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        normalize.fold(word): (kind, word.replace(" ", ""))
        for kind, words in (
            (STOP, ("STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT")),
            (START, ("START", "UNSTOP")),
            (HELP, ("HELP", "INFO")),
        )
        for word in words
    }
)
_LONGEST = 40
"""Characters; what is longer is no such word, whatever stands around it."""


def opt_out_word(text: str | None) -> tuple[str, str] | None:
    """(kind, word) where the text is one of the words: ``("stop", "UNSUBSCRIBE")``."""
    if not text or len(text) > _LONGEST:
        return None
    return _WORDS.get(normalize.fold(text))
