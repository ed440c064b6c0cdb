"""Error pages that legacy servers send with a 200: patterns that find them, and their names. Pure.

A pattern must be sure of itself: an answer that is taken for an error is posted again, ten times. So each asks for
the markup or the file and line around the words, not for the words alone; a page that *talks* of errors is none.

PHP's `Warning`, `Notice` and `Deprecated` are left out on purpose: the script went on to its end, and mostly did
its work. Posting again would do that work twice. `WARNING` finds them, for a remark and no more.

Bodies are strangers' bytes, up to 64 KB: the patterns, like those of the configuration, run in time linear in that.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from gateway.matching.patterns import LinearPattern

# All of Unicode's letters, two hundred times over, would cost each process a second as it starts.
_FLAGS = re.ASCII | re.IGNORECASE | re.MULTILINE
_ASP_NET = "an ASP.NET error page"
_COLDFUSION = "a ColdFusion error page"
_JAVA = "a Java server's error page"
_LUCEE = "a Lucee error page"
_PHP = "a PHP error page"

# Name, a word without which the pattern cannot be found (looked for first: that is a hundred times faster), pattern.
_PATTERNS = (
    # <b>Fatal error</b>:  Uncaught Error: … in <b>/var/www/join.php</b> on line <b>3</b>; display_errors with and
    # without html_errors, and as the command line and the error log say it.
    (
        _PHP,
        " on line ",
        r"(?:^|>)(?:PHP )?(?:Parse|(?:(?:Recoverable|Catchable) )?Fatal) error(?:</b>)?: (?s:.)* on line (?:<b>)?\d",
    ),
    (_PHP, "xdebug-error", r"class=['\"]xdebug-error xe-(?:fatal|parse|uncaught|recoverable)"),
    # ColdFusion 6 to 2023, its compiler, and any page that prints the stack.
    (
        _COLDFUSION,
        "error occurred while processing request",
        r"<(?:title|h\d|td|b|font)\b[^<>]{0,200}>\s{0,99}Error Occurred While Processing Request",
    ),
    (
        _COLDFUSION,
        "is meant for the website developer",
        r"The following information is meant for the website developer for debugging",
    ),
    (_COLDFUSION, "coldfusion.", r"\bcoldfusion\.[a-z]{1,40}\.[\w$]{0,99}(?:Exception|Error)\b"),
    # <td class="label">Lucee 5.4.6.9 Error (expression)</td>
    (_LUCEE, " error", r">\s{0,99}(?:Lucee|Railo) [\d.]{1,40} Error(?: |&nbsp;)?\("),
    (_LUCEE, ".runtime.exp.", r"\b(?:lucee|railo)\.runtime\.exp\.\w"),
    # The yellow page: its heading, its title, or the trace with the exception in brackets, as in every language.
    (_ASP_NET, "server error in ", r"Server Error in (?:'|&#39;)/[^'<&\n]{0,200}(?:'|&#39;) Application"),
    (_ASP_NET, "error", r"<title>\s{0,99}(?:Runtime|Compilation|Parser|Configuration) Error\s{0,99}</title>"),
    (_ASP_NET, "exception", r"(?:^|<pre>|<!--) {0,9}\n? {0,9}\[[A-Za-z.]{1,99}Exception(?: \(0x[0-9a-f]{8}\))?[:\]]"),
    (
        _ASP_NET,
        "an unhandled exception occurred while",
        r"<h\d[^<>]{0,200}>\s{0,99}An unhandled exception occurred while processing the request",
    ),
    # Microsoft VBScript runtime error '800a000d'; Active Server Pages error 'ASP 0126'
    ("a classic ASP error page", "error '", r"\berror '(?:8[0-9a-f]{7}|ASP 0\d{3})'"),
    (_JAVA, "http status ", r"<(?:title|h\d)\b[^<>]{0,200}>\s{0,99}HTTP Status [45]\d\d\b"),
    (_JAVA, "whitelabel error page", r"<h\d\b[^<>]{0,200}>\s{0,99}Whitelabel Error Page"),
    (_JAVA, "error report", r"<title>\s{0,99}(?:Apache Tomcat|JBoss\w*)/[\w.]{1,40} - Error report"),
    (_JAVA, "http error", r"<h2>\s{0,99}HTTP ERROR:? [45]\d\d"),
    (
        "a Java stack trace",
        "at ",
        r"\b(?:java|javax|jakarta)\.[\w.$]{1,200}(?:Exception|Error)\b[^\n]{0,500}\n[ \t]{0,9}at [\w.$<>/]{1,200}\(",
    ),
    ("a Python traceback", "traceback (most recent call last)", r"Traceback \(most recent call last\):\s{1,99}File \""),
    ("a Perl error page", "software error", r"<h1>\s{0,99}Software error:\s{0,99}</h1>"),
)

PAGES = tuple((name, word, LinearPattern(pattern, _FLAGS)) for name, word, pattern in _PATTERNS)
_NAMES = {pattern: name for name, _, pattern in PAGES}

MIN_PAGE_BYTES = 12  # length of the shortest text in which any of these is found: ``[XException]``

FAILURE_BODY: tuple[LinearPattern, ...] = tuple(_NAMES)
"""The default `failure_body` of endpoints of the legacy format: an answer in which one is found is no success."""

WARNING = LinearPattern(r"(?:^|>)(?:PHP )?(?:Warning|Notice|Deprecated)(?:</b>)?: .* on line (?:<b>)?\d", _FLAGS)


def page_name(pattern: LinearPattern) -> str:
    """The name of a page that the pattern found: "a PHP error page"; a pattern of the operator's own is quoted."""
    return _NAMES.get(pattern) or f"a page that failure_body's {pattern.pattern!r} finds"


def decode_body(body: bytes) -> str:
    """The body as patterns see it. The declared charset is not used: legacy pages name it wrongly or not at all."""
    try:
        return body.decode()
    except UnicodeDecodeError:
        return body.decode("windows-1252", "replace")


def find_page(patterns: Collection[LinearPattern], body: bytes) -> LinearPattern | None:
    """The first of the patterns that is found in the body."""
    if patterns is FAILURE_BODY:
        return _find_default(body) if len(body) >= MIN_PAGE_BYTES else None
    if not patterns:
        return None
    text = decode_body(body)
    return next((pattern for pattern in patterns if pattern.search(text)), None)


@lru_cache(32)
def _find_default(body: bytes) -> LinearPattern | None:
    """Remembered: an endpoint mostly says the same, and every answer is searched twice (judged, then explained)."""
    text = decode_body(body)
    lower = text.lower()
    return next((pattern for _, word, pattern in PAGES if word in lower and pattern.search(text)), None)
