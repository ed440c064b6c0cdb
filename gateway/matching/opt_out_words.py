"""The words by which a phone opts out of texts, comes back, or asks for help. Pure.

The whole text must be the word: "Stop by at 5" and "the END" are texts like any other. Case, quotes, punctuation and
spaces around it do not count.
"""

from __future__ import annotations

from gateway.matching import normalize

STOP, START, HELP = "stop", "start", "help"

# The words are those that carriers ask for; the kinds are ours.
_WORDS = {
    normalize.fold(word): (kind, word.replace(" ", ""))
    for kind, words in (
        (STOP, ("STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT")),
        (START, ("START", "UNSTOP")),
        (HELP, ("HELP", "INFO")),
    )
    for word in words
}
_MAX_CHARACTERS = 40
"""A longer text is no such word, whatever stands around it."""


def opt_out_word(text: str | None) -> tuple[str, str] | None:
    """(kind, word) if the text is one of the words: ``("stop", "UNSUBSCRIBE")``."""
    if not text or len(text) > _MAX_CHARACTERS:
        return None
    return _WORDS.get(normalize.fold(text))
