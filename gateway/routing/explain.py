"""Why a text goes where it goes, step by step, for `gateway explain` and the console. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config import Config, Endpoint, Keyword, Number
from gateway.matching.keywords import KeywordMatch, nearest_words, shadowed


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """Which keyword of a number a text matches, why, and where it goes."""

    number: Number
    match: KeywordMatch[Keyword] | None
    """None: no keyword matches, and the text goes to the number's own callback endpoints."""
    losers: tuple[tuple[KeywordMatch[Keyword], str], ...]
    """Keywords that match, too, though another one is more exact, and why: ``match = "word" is more exact than …``"""
    perhaps: tuple[str, ...]  # guesses at the keyword that was meant, where the text matches none
    endpoints: tuple[Endpoint, ...]  # empty: the text is kept as unrouted


def explain(text: str, number: Number, config: Config) -> Explanation:
    """Explains how `config` routes `text`, sent to `number`."""
    winner, *others = number.keyword_index.candidates(text) or (None,)
    names = winner.keyword.callback if winner else number.callback
    return Explanation(
        number=number,
        match=winner,
        losers=tuple((each, shadowed(each, winner)) for each in others if each and winner),
        perhaps=() if winner else nearest_words(text, number.keywords),
        endpoints=tuple(config.endpoints[name] for name in names),
    )
