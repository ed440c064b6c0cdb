"""Which keyword a text matches: the rules one by one, then what must hold for every text."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from gateway.config import Keyword, Number
from gateway.matching import keywords
from gateway.matching.keywords import KeywordIndex

JOIN = Keyword(word="JOIN", aliases=("SIGNUP",), callback=("signup",))
JOIN_EXACT = Keyword(word="JOIN", match="exact")
JO = Keyword(word="JO", match="prefix")
VOTE = Keyword(word=r"^vote\s+[ab]$", match="regex")
SIGN_UP = Keyword(word="Sign up", match="exact")
STRASSE = Keyword(word="Straße")
HEART = Keyword(word="❤️")


def word_of(text: str, *known: Keyword) -> str | None:
    found = KeywordIndex(known).match(text)
    return found.keyword.word if found else None


@pytest.mark.parametrize(
    "text",
    [
        "JOIN",
        "join",
        "JoIn now",
        "  join\tnow",
        "join\nnow",
        "“join”!",
        '"JOIN" please',
        "'join'",
        "´join´ x",
        "`join`",
        "«join»",
        "„Join“",
        "<JOIN>",
        "[join]",
        "(Join) me",
        "*join*",
        "#join",
        "¡join!",
        "...join...",
        "join…",
        "join, please",
        "join,please",
        "join.Please",
        "join: x",
        "join?",
        "JOIN👍",
        "JOIN 👍",
        "\u00a0join\u00a0now",
        "join\u00a0now",
        "join\u202fnow",
        "join\u3000now",
        "\u200bjoin\u200b",
        "\ufeffJOIN",
        "\u200e\u200fjoin\u2060 x",
        "jo\u00adin",
        "join\ufe0f",
        "\x00join\x07",
        "ＪＯＩＮ",
        "𝐉𝐎𝐈𝐍",
        "signup",
        "“Signup”",
        "#\ufe0f\u20e3join",
    ],
)
def test_the_first_word_matches_whatever_stands_around_it(text: str) -> None:
    assert word_of(text, JOIN) == "JOIN"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "!?",
        "joining",
        "rejoin",
        "please join",
        "jo in",
        "join's",
        "join-me",
        "join_us",
        "join2",
        "join@home",
        "joín",
    ],
)
def test_the_first_word_does_not_match(text: str) -> None:
    assert word_of(text, JOIN) is None


@pytest.mark.parametrize(
    ("word", "text", "matches"),
    [
        ("3", "3 tickets", True),
        ("3", "3. yes", True),
        ("3", "3.5", False),
        ("10", "10:30", False),
        ("1", "1,000", False),
        ("3", "3.5kg", False),
        ("A", "A.5 and more", True),
        ("A3", "A3.5", False),
        ("Sign up", "sign up", False),
        ("Sign up", "sign up now", False),
        ("A", "AT&T", False),
        ("AT&T", "at&t please", True),
        ("E-MAIL", "e-mail me", True),
        ("E-MAIL", "e\u2011mail me", True),
        ("E\u2014MAIL", "e-mail me", True),
        ("DON", "don't", False),
        ("DON'T", "don\u2019t", True),
        ("DON'T", "don`t", True),
        ("Straße", "STRASSE 5", True),
        ("STRASSE", "straße", True),
        ("ΣΊΣΥΦΟΣ", "σίσυφος", True),
        ("été", "E\u0301TE\u0301", True),
        ("❤️", "❤", True),
        ("❤", "❤️❤️", True),
        ("👍", "👍🏽", True),
        ("参加", "参加 します", True),
        ("参加", "参加します", False),
        ("YES!", "yes", True),
        ("yes", "YES+", False),
        ("yes+", "Yes+ please", True),
    ],
)
def test_where_a_word_ends(word: str, text: str, matches: bool) -> None:
    assert (word_of(text, Keyword(word=word)) == word) is matches


@pytest.mark.parametrize(
    ("text", "matches"),
    [("sign up", True), (" “Sign   UP”. ", True), ("sign\u00a0up", True), ("sign up now", False), ("signup", False)],
)
def test_exact_is_the_whole_text(text: str, matches: bool) -> None:
    assert (word_of(text, SIGN_UP) == "Sign up") is matches


@pytest.mark.parametrize(
    ("text", "matches"), [("jo", True), ("Joining", True), ("“JO”", True), ("to jo", False), ("j o", False)]
)
def test_prefix_is_how_a_text_begins(text: str, matches: bool) -> None:
    assert (word_of(text, JO) == "JO") is matches


@pytest.mark.parametrize(
    ("pattern", "text", "matches"),
    [
        (r"^vote\s+[ab]$", "“Vote\u00a0 A”!", True),
        (r"^vote\s+[ab]$", "VOTE c", False),
        (r"\?$", "are you open?", True),
        (r"win\d+", "I want WIN22", True),
        (r"a.c", "a\nc", True),
        (r"^win$", "win X", False),
        ("", "x", True),
        (".*", "", True),
    ],
)
def test_a_regex_is_searched_for_in_the_cleaned_text(pattern: str, text: str, matches: bool) -> None:
    found = KeywordIndex([Keyword(word=pattern, match="regex")]).match(text)
    assert (found is not None) is matches


def test_a_regex_sees_no_more_than_the_limit() -> None:
    tail = Keyword(word="END", match="regex")
    assert word_of("x" * (keywords.MAX_COMPARED_CHARACTERS - 3) + "END", tail) == "END"
    assert word_of("x" * keywords.MAX_COMPARED_CHARACTERS + "END", tail) is None


def test_the_most_exact_wins_then_the_longer() -> None:
    known = [VOTE, JO, JOIN, JOIN_EXACT, Keyword(word="JOIN US", match="prefix"), Keyword(word=".*", match="regex")]

    def winner(text: str) -> Keyword | None:
        found = KeywordIndex(known).match(text)
        return found.keyword if found else None

    assert winner("“join”") == JOIN_EXACT
    assert winner("join us") == JOIN
    assert winner("joining") == JO
    assert winner("vote a") == VOTE
    assert winner("anything").word == ".*"  # type: ignore[union-attr]


def test_a_pattern_is_as_long_as_it_is_written() -> None:
    longer, shorter = Keyword(word="join?", match="regex"), Keyword(word="JOIN", match="regex")
    winner, loser = KeywordIndex([shorter, longer]).candidates("join")
    assert winner.keyword == longer
    assert keywords.shadowed(loser, winner) == '"join?" is longer than "JOIN"'


def test_an_alias_gives_the_keywords_own_word() -> None:
    found = KeywordIndex([JOIN]).match("SignUp please")
    assert found is not None
    assert (found.keyword.word, found.form) == ("JOIN", "SIGNUP")
    assert found.why == 'the first word is "SIGNUP", another word for "JOIN"'


def test_candidates_are_told_with_why_they_lost() -> None:
    known = [JO, Keyword(word="J", match="prefix"), JOIN, JOIN_EXACT]
    winner, *others = KeywordIndex(known).candidates("JOIN")
    assert winner.keyword == JOIN_EXACT
    assert winner.why == 'the whole text is "JOIN"'
    assert [other.keyword for other in others] == [JOIN, JO, Keyword(word="J", match="prefix")]
    assert keywords.shadowed(others[0], winner) == 'match = "exact" is more exact than match = "word"'
    assert keywords.shadowed(others[2], others[1]) == '"JO" is longer than "J"'


def test_equals_are_told_apart_by_the_alphabet() -> None:
    first, second = Keyword(word="a.", match="regex"), Keyword(word="b.", match="regex")
    winner, loser = KeywordIndex([second, first]).candidates("abc")
    assert winner.keyword == first
    assert "alphabet" in keywords.shadowed(loser, winner)


def test_each_candidate_comes_once_by_its_best_word() -> None:
    both = Keyword(word="JO", aliases=("JOIN",), match="prefix")
    assert [found.form for found in KeywordIndex([both]).candidates("joining")] == ["JOIN"]


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("JOIN", JOIN),
        ("join", JOIN),
        ("“Signup”", JOIN),
        ("JO", JO),
        (VOTE.word, VOTE),
        ("", None),
        ("!", None),
        ("X", None),
    ],
)
def test_a_platform_names_the_keyword(word: str, wanted: Keyword | None) -> None:
    assert KeywordIndex([VOTE, JO, JOIN]).named(word) == wanted


def test_a_platform_means_the_spelling_before_the_fold() -> None:
    upper, lower = Keyword(word="JOIN", match="prefix"), Keyword(word="join", match="exact")
    assert KeywordIndex([lower, upper]).named("JOIN") == upper
    assert KeywordIndex([upper, lower]).named("Join") == lower


@pytest.mark.parametrize(
    ("how", "word", "said"),
    [
        ("word", "JOIN", ""),
        ("word", "E-MAIL", ""),
        ("word", "sign up", "several words"),
        ("word", "sign\u00a0up", "several words"),
        ("word", "?!", "nothing that counts"),
        ("exact", "\u200b", "nothing that counts"),
        ("exact", "sign up", ""),
        ("prefix", "sign up", ""),
        ("regex", "sign up", ""),
        ("regex", r"a\nb", "U+000A"),
        ("regex", "a\u00a0b", "U+00A0"),
        ("regex", "(x\u200b)y", "U+200B"),
        ("regex", "don\u2019t", "U+2019"),
        ("regex", r"(a\n)?b", ""),
        ("regex", r"a\n|b", ""),
        ("regex", "$a", "behind the end"),
        ("regex", r"\Za", "behind the end"),
        ("regex", "a^b", "before the beginning"),
        ("regex", "^a$", ""),
        ("regex", "a{900}a{900}a{900}", "2000 characters"),
        ("regex", "e\u0301", ""),
        ("regex", "q\u0308", ""),
        ("regex", "a.*b", ""),
        ("regex", r"a\Ab", "before the beginning"),
        ("regex", "$[^a]", "behind the end"),
        ("regex", "$[ab]", "behind the end"),
        ("regex", "$.", "behind the end"),
    ],
)
def test_words_that_can_never_match(how: str, word: str, said: str) -> None:
    reason = keywords.why_never_matches(how, word)
    assert said in reason
    assert bool(said) == bool(reason)


@pytest.mark.parametrize(
    ("how", "word", "reason"),
    [
        (
            "word",
            "sign up",
            'is several words, and match = "word" compares only the first word of a text: use "exact" or "prefix"',
        ),
        ("exact", "?!", "has nothing that counts: quotes, punctuation and invisible characters do not"),
        ("regex", "$a", "asks for something behind the end of the text ($)"),
        ("regex", "a^b", "asks for something before the beginning of the text (^)"),
        ("regex", "a{1000}a{1000}a", "needs more than the 2000 characters of a text that are looked at"),
        (
            "regex",
            "a\n",
            "asks for U+000A, which no text has when it is compared: white space is single spaces then, "
            "and letters have their usual forms",
        ),
    ],
)
def test_why_a_word_can_never_match_is_a_sentence(how: str, word: str, reason: str) -> None:
    assert keywords.why_never_matches(how, word) == reason


def test_near_misses() -> None:
    known = [JOIN, SIGN_UP, VOTE]
    assert keywords.nearest_words("jion us", known) == ('"jion" is much like "JOIN"',)
    assert keywords.nearest_words("please join", known) == ('"JOIN" is in the text, but does not begin it',)
    assert keywords.nearest_words("sign up now", known)[0].startswith(
        '"Sign up" is how the text begins, but match = "exact"'
    )
    assert keywords.nearest_words("joining", known)[0] == 'the text begins with "JOIN", but its first word goes on'
    assert keywords.nearest_words("", known) == ()
    assert keywords.nearest_words("something else", []) == ()
    assert keywords.nearest_words("jion us now", known) == ('"jion" is much like "JOIN"',)


def test_near_misses_are_few_and_near() -> None:
    assert keywords.nearest_words("jo", [JOIN]) == ()
    assert keywords.nearest_words("vtoe", [Keyword(word="vote", match="regex")]) == ()
    many = [Keyword(word=f"JOIN{letter}") for letter in "ABCDE"]
    assert len(keywords.nearest_words("joinx", many)) == 3


WORDS = st.sampled_from(["JOIN", "Straße", "été", "SIGN-UP", "7", "參加", "İzmir", "ﬁn", "A&B", "naïve", "ΣΑΣ"])
AROUND = st.text(st.sampled_from(list(" \t\n\u00a0\u200b\ufeff\u2060\"'“”‘’«»()[]<>!?.,;:*#…-–—_/¡¿´`")), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(WORDS, AROUND, AROUND, st.sampled_from([str.lower, str.upper, str.title, str]))
def test_nothing_around_a_word_counts(word: str, before: str, after: str, spelling: type[str]) -> None:
    # Upper and lower case of some letters fold differently by Unicode itself; those are not the matter here.
    written = spelling(word)
    assume(keywords.fold(written) == keywords.fold(word))
    for how in ("exact", "word", "prefix"):
        assert word_of(f"{before}{written}{after}", Keyword(word=word, match=how)) == word


KEYWORDS = st.builds(
    Keyword,
    word=st.sampled_from(["a", "ab", "abc", "b", "a b", "abc d", "A", "Ab!"]),
    aliases=st.lists(st.sampled_from(["b", "bc", "ab", "c d"]), max_size=2).map(tuple),
    match=st.sampled_from(keywords.RANKS),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(KEYWORDS, max_size=6), st.text("abcd !'", max_size=8), st.randoms(use_true_random=False))
def test_the_order_of_the_file_does_not_count(known: list[Keyword], text: str, dice: random.Random) -> None:
    shuffled = dice.sample(known, len(known))
    first, second = KeywordIndex(known).match(text), KeywordIndex(shuffled).match(text)
    assert (first and (first.form, first.keyword.match)) == (second and (second.form, second.keyword.match))
    assert (first is None) == (not KeywordIndex(known).candidates(text))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(KEYWORDS, max_size=6), st.text(max_size=60))
def test_the_winner_is_the_best_of_all_that_match(known: list[Keyword], text: str) -> None:
    found = KeywordIndex(known).match(text)
    alone = [each for keyword in known if (each := KeywordIndex([keyword]).match(text))]
    assert (found is None) == (not alone)
    for each in alone:
        assert found is not None
        assert keywords.RANKS.index(found.keyword.match) <= keywords.RANKS.index(each.keyword.match)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(KEYWORDS, max_size=12), st.text("abcd !'", max_size=8))
def test_each_of_many_matches_as_if_it_were_alone(known: list[Keyword], text: str) -> None:
    together = [(each.keyword, each.form) for each in KeywordIndex(known).candidates(text)]
    alone = [(each.keyword, each.form) for keyword in known if (each := KeywordIndex((keyword,)).match(text))]
    assert sorted(together, key=repr) == sorted(alone, key=repr)


def test_a_word_of_nothing_that_counts_matches_nothing() -> None:
    nothing = Keyword(word="?!", match="prefix")
    assert KeywordIndex([nothing]).match("?!") is None
    assert KeywordIndex([nothing]).named("") is None


def test_keywords_of_many_numbers_are_kept_apart() -> None:
    words = [(Keyword(word=f"word{at}"),) for at in range(8)]
    numbers = [Number(number=str(at), shortcode=str(at), keywords=known) for at, known in enumerate(words)]
    for at, known in enumerate(words):
        for index in (numbers[at].keyword_index, replace(numbers[at - 1], keywords=known).keyword_index):
            found = index.match(f"Word{at}!")
            assert found and found.keyword is known[0]
            assert index.named(f"word{at}") is known[0]
            assert index.match(f"word{at + 1}") is None


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.text(max_size=200))
def test_folding_is_done_after_once(text: str) -> None:
    once = keywords.fold(text)
    assert keywords.fold(once) == once


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([r"a\nb", "$a", "a^b", "(x\u200b)y", r"[ab]$c"]), st.data())
def test_what_can_never_match_matches_nothing(pattern: str, data: st.DataObject) -> None:
    assert keywords.why_never_matches("regex", pattern)
    text = data.draw(st.one_of(st.text("abcxy\n\u200b ", max_size=8), st.from_regex(re.compile("a\nb|xy|ab"))))
    assert KeywordIndex([Keyword(word=pattern, match="regex")]).match(text) is None


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("Stop all!", ("stop", "STOPALL")),
        ("“unstop”", ("start", "UNSTOP")),
        ("info?", ("help", "INFO")),
        ("STOP" + "!" * 36, ("stop", "STOP")),
        ("STOP" + "!" * 37, None),
        ("Stop by at 5", None),
        ("", None),
        (None, None),
    ],
)
def test_words_that_opt_out_are_the_whole_text(text: str | None, meant: tuple[str, str] | None) -> None:
    assert keywords.opt_out_word(text) == meant
