"""Pages that are errors behind a 200, pages that are none, and what is said of every way to fail.

``pages/`` has a folder for each kind of page; ``pages/innocent`` those that must be taken for what they are.
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config import Endpoint
from gateway.delivery import diagnosis
from gateway.matching.patterns import LinearPattern
from gateway.safe_http.error_pages import FAILURE_BODY, MIN_PAGE_BYTES, find_page, page_name
from gateway.safe_http.error_pages import PAGES as ROWS
from gateway.safe_http.errors import CurlError, describe
from gateway.safe_http.models import Failure, Request, Response

PAGES = Path(__file__).parents[1] / "pages"
NAMES = {
    "php": "a PHP error page",
    "coldfusion": "a ColdFusion error page",
    "lucee": "a Lucee error page",
    "asp-net": "an ASP.NET error page",
    "classic-asp": "a classic ASP error page",
    "java": "a Java server's error page",
    "java-trace": "a Java stack trace",
    "python": "a Python traceback",
    "perl": "a Perl error page",
}
ERRORS = sorted(path for path in PAGES.glob("*/*") if path.parent.name != "innocent")
INNOCENT = sorted(PAGES.glob("innocent/*"))

ENDPOINT = Endpoint(name="page", url="http://page.test/sms/join.php", failure_body=FAILURE_BODY)
diagnose = partial(diagnosis.diagnose, endpoint=ENDPOINT)
headline = partial(diagnosis.headline, endpoint=ENDPOINT)


def request(url: str = "http://page.test/sms/join.php", **fields: object) -> Request:
    return Request(url=url, body=b"", **fields)  # type: ignore[arg-type]


def said(answer: Response, url: str = "http://page.test/sms/join.php", **fields: object) -> str:
    return " | ".join(diagnose(request(url, **fields), answer))


def test_there_are_pages() -> None:
    assert {path.parent.name for path in ERRORS} == set(NAMES)
    assert len(ERRORS) > 30 and len(INNOCENT) > 10


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_error_pages_are_known_by_name(path: Path) -> None:
    found = find_page(FAILURE_BODY, path.read_bytes())
    assert found is not None and page_name(found) == NAMES[path.parent.name]
    answer = Response(status=200, body=path.read_bytes(), size=1)
    assert diagnose(request(), answer)[0] == f"{NAMES[path.parent.name]} behind a 200"


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: f"{path.parent.name}/{path.stem}")
@pytest.mark.parametrize("change", ["upper", "crlf", "behind", "windows-1252"])
def test_however_the_page_is_written(path: Path, change: str) -> None:
    page = path.read_bytes()
    changed = {
        "upper": page.upper(),
        "crlf": page.replace(b"\n", b"\r\n"),
        "behind": b"<html>\xff\xe9 a page that began well\n" * 500 + page,
        "windows-1252": page.replace("–".encode(), b"\x96"),
    }
    assert find_page(FAILURE_BODY, changed[change])


@pytest.mark.parametrize("path", INNOCENT, ids=lambda path: path.stem)
def test_innocent_pages(path: Path) -> None:
    found = find_page(FAILURE_BODY, path.read_bytes())
    assert found is None, page_name(found)
    assert headline(Response(status=200, body=path.read_bytes())) == ""


@given(st.binary(max_size=300))
def test_any_bytes_can_be_looked_at(body: bytes) -> None:
    assert isinstance(diagnose(request(), Response(status=200, body=body, size=len(body))), list)


@pytest.mark.parametrize("pattern", FAILURE_BODY, ids=lambda pattern: pattern.pattern[:30])
def test_no_pattern_finds_half_a_page(pattern: LinearPattern) -> None:
    for piece in (">Fatal error: ", "java.lang.Error ", "<title> ", "[Aa.Exception", "<b <td ", ">Lucee 1 Error", "\n"):
        assert not pattern.search((piece * 65_536)[:65_536])


@pytest.mark.parametrize(
    ("location", "sentence"),
    [
        ("/login", "answered 302 to a login page"),
        ("https://sso.page.test/x?next=/sms", "answered 302 to a login page"),
        ("https://page.test/Account/LogOn.aspx?ReturnUrl=%2f", "answered 302 to a login page"),
        ("/users/sign_in", "answered 302 to a login page"),
        ("https://other.test/x?secret=1", "answered 302 to https://other.test/x: redirects are not followed"),
        ("/thanks.php?id=7#top", "answered 302 to /thanks.php: redirects are not followed"),
        ("", "answered 302 to /: redirects are not followed"),
        ("http://[bad", "answered 302 to /: redirects are not followed"),
    ],
)
def test_redirects(location: str, sentence: str) -> None:
    found = diagnose(request(), Response(status=302, headers=(("Location", location),)))
    assert found[0] == sentence
    assert "secret" not in " ".join(found)


@pytest.mark.parametrize("status", range(300, 310))
def test_redirects_of_every_kind(status: int) -> None:
    is_redirect = status in (301, 302, 303, 307, 308)
    told = headline(Response(status=status, headers=(("Location", "/x"),)))
    assert (told == f"answered {status} to /x: redirects are not followed") == is_redirect
    assert told.startswith(f"answered {status}")


HTTPS = "the page wants https: write https:// in the URL"
SLASH = "the page wants a slash at its end: write it in the URL"
MOVED = "the page has moved to another host: write that in the URL"
ELSEWHERE = "if that is the page that is meant, write it in the URL"
LOGIN = "the page stands behind a login for people: let the gateway in by HTTP Basic, a key or its address"


@pytest.mark.parametrize(
    ("url", "location", "hint"),
    [
        ("http://page.test/a", "https://page.test/a", HTTPS),
        ("http://page.test/a", "https://page.test/b", ELSEWHERE),
        ("http://page.test/a", "/a/", SLASH),
        ("http://page.test/x/a", "a/", SLASH),
        ("http://page.test/a", "http://www.page.test/a", MOVED),
        ("http://page.test/a", "http://www.page.test/b", ELSEWHERE),
        ("http://page.test/a", "http://page.test/a", ELSEWHERE),
        ("http://page.test/a", "/b", ELSEWHERE),
        ("http://page.test/a", "/b?next=/login", ELSEWHERE),
        ("http://page.test/a", "/login?x", LOGIN),
        ("http://page.test/a", "/login", LOGIN),
    ],
)
def test_where_a_redirect_should_have_been(url: str, location: str, hint: str) -> None:
    assert diagnose(request(url), Response(status=301, headers=(("Location", location),)))[1:] == [hint]


def test_a_redirect_to_nowhere() -> None:
    assert said(Response(status=302)).startswith("answered 302 (Found)")


@pytest.mark.parametrize(
    ("status", "headers", "body", "hint"),
    [
        (400, {}, b"", "does not understand"),
        (400, {}, b"<center>The plain HTTP request was sent to HTTPS port</center>", "https://"),
        (400, {}, b"<h2>Bad Request - Invalid Hostname</h2>", "host's name"),
        (401, {}, b"", "set username and password"),
        (401, {"WWW-Authenticate": "Negotiate"}, b"", "Windows login"),
        (401, {"WWW-Authenticate": 'Digest realm="x"'}, b"", "Digest"),
        (403, {}, b"", "forbids"),
        (403, {}, b"<h1>CSRF verification failed.</h1>", "CSRF"),
        (403, {"Cf-Mitigated": "challenge"}, b"", "browser check"),
        (404, {}, b"", "no page at this path"),
        (405, {"Allow": "GET, HEAD"}, b"", "It takes GET, HEAD"),
        (405, {}, b"", "takes no POST"),
        (406, {}, b"", "filter"),
        (407, {}, b"", "egress_proxy"),
        (410, {}, b"", "gone for good"),
        (411, {}, b"", "Content-Length"),
        (413, {}, b"", "smaller bodies"),
        (415, {}, b"", "does not take application/x-www-form-urlencoded"),
        (418, {}, b"", "stands in its answer"),
        (419, {}, b"", "CSRF"),
        (422, {}, b"", "field"),
        (429, {"Retry-After": "60"}, b"", "Retry-After: 60"),
        (429, {}, b"", "slower"),
        (500, {}, b"", "own log"),
        (500, {}, b"java.lang.Error\n\tat a.B.c(B.java:1)\n", "a Java stack trace"),
        (500, {}, b"<b> A potentially dangerous Request.Form value was detected from the client", "ValidateRequest"),
        (502, {}, b"", "behind it is not"),
        (503, {}, b"", "overloaded"),
        (504, {}, b"", "too slow"),
        (599, {}, b"", "own log"),
    ],
)
def test_hints(status: int, headers: dict[str, str], body: bytes, hint: str) -> None:
    sent = (("Content-Type", "application/x-www-form-urlencoded; charset=UTF-8"),)
    found = diagnose(request(headers=sent), Response(status=status, headers=tuple(headers.items()), body=body, size=1))
    assert str(status) in found[0] and hint in " | ".join(found[1:])


@pytest.mark.parametrize(
    ("status", "headers", "body", "sentences"),
    [
        (300, {}, b"", ["answered 300 (Multiple Choices)"]),
        (302, {}, b"", ["answered 302 (Found)"]),
        (302, {"Location": "http://[bad"}, b"", ["answered 302 to /: redirects are not followed"]),
        (
            400,
            {},
            b"",
            [
                "answered 400 (Bad Request)",
                "the server does not understand the request: what it misses may stand in its answer",
            ],
        ),
        (
            400,
            {},
            b"Reason: you are speaking plain HTTP to an SSL-enabled server port.",
            ["answered 400 (Bad Request)", "the port speaks TLS: write https:// in the URL"],
        ),
        (
            400,
            {},
            b"<h2>Bad Request - Invalid Hostname</h2>",
            ["answered 400 (Bad Request)", "the server knows no site of this host's name"],
        ),
        (
            401,
            {},
            b"",
            ["answered 401 (Unauthorized)", "the page asks for a login: set username and password of the endpoint"],
        ),
        (
            401,
            {"WWW-Authenticate": "NTLM"},
            b"",
            [
                "answered 401 (Unauthorized)",
                "the page asks for a Windows login: let this path be called with Basic, or without",
            ],
        ),
        (
            401,
            {"WWW-Authenticate": "Digest"},
            b"",
            [
                "answered 401 (Unauthorized)",
                "the page asks for Digest, which is not spoken here: let it be called with Basic",
            ],
        ),
        (
            403,
            {},
            b"",
            [
                "answered 403 (Forbidden)",
                "the server forbids it: a list of addresses, a firewall for applications, or rights of the file",
            ],
        ),
        (
            403,
            {},
            b"The required anti-forgery cookie is not present.",
            [
                "answered 403 (Forbidden)",
                "a framework asks for its CSRF token: exempt this path, a gateway has none",
            ],
        ),
        (
            403,
            {},
            b"<title>Just a moment...</title>",
            [
                "answered 403 (Forbidden)",
                "a browser check before the page holds us up: exempt this path, or this machine's address",
            ],
        ),
        (
            405,
            {"Allow": "GET, " * 20},
            b"",
            [
                "answered 405 (Method Not Allowed)",
                f"the page takes no POST: is it the right one? It takes {'GET, ' * 12}",
            ],
        ),
        (
            415,
            {},
            b"",
            [
                "answered 415 (Unsupported Media Type)",
                "the page does not take text/xml: is the endpoint's format right?",
            ],
        ),
        (
            429,
            {},
            b"",
            ["answered 429 (Too Many Requests)", "the server asks us to be slower: lower concurrency"],
        ),
        (
            429,
            {"Retry-After": "9" * 50},
            b"",
            [
                "answered 429 (Too Many Requests)",
                f"the server asks us to be slower (Retry-After: {'9' * 40}): lower concurrency",
            ],
        ),
        (418, {}, b"", ["answered 418 (I'm a Teapot)", "what it does not like stands in its answer"]),
        (
            500,
            {},
            b"A potentially dangerous Request.Form value was detected",
            [
                "answered 500 (Internal Server Error)",
                "ASP.NET refuses texts that look like HTML, such as one with <: "
                'set ValidateRequest="false" for the page, and requestValidationMode="2.0" in web.config',
            ],
        ),
        (599, {}, b"", ["answered 599", "the application failed: its own log tells why"]),
    ],
)
def test_what_the_operator_reads(status: int, headers: dict[str, str], body: bytes, sentences: list[str]) -> None:
    answer = Response(status=status, headers=tuple(headers.items()), body=body, size=1)
    assert diagnose(request(headers=(("content-TYPE", "text/xml"),)), answer) == sentences


@pytest.mark.parametrize(
    ("content_type", "named"),
    [("text/xml; charset=UTF-8; action=x", "text/xml"), ("application/json", "application/json"), (None, "none")],
)
def test_a_content_type_that_is_not_taken(content_type: str | None, named: str) -> None:
    sent = () if content_type is None else (("Content-Type", content_type),)
    assert f"does not take {named}: " in said(Response(status=415), headers=sent)


def test_a_password_that_is_wrong() -> None:
    found = diagnose(request(headers=(("Authorization", "Basic c2VjcmV0"),)), Response(status=401))
    assert found[1:] == ["the server does not accept this user name and password"]


def test_a_body_without_the_words_of_success() -> None:
    endpoint = replace(ENDPOINT, success_body=LinearPattern("done"))
    for body, sentence in (
        (b"it is done", ""),
        (b"no", "answered 200, but success_body is not found in the body"),
        (b"", "answered 200, but success_body is not found in an empty body"),
    ):
        assert diagnosis.headline(Response(status=200, body=body), endpoint) == sentence


def test_every_status_has_a_sentence() -> None:
    for status in (*range(100, 200), *range(300, 600)):
        found = diagnose(request(), Response(status=status))
        assert found and str(status) in found[0]


def test_failures_are_said_first() -> None:
    refused = Failure(kind="refused_address", sentence="this address is not allowed: 10.0.0.1 is in a private network")
    assert diagnose(request(), Response(failure=refused)) == [refused.sentence]
    expired = diagnose(request(), Response(failure=Failure(kind="certificate", sentence="certificate expired")))
    assert expired == [
        "certificate expired",
        "its owner has to renew it; verify_tls = false would hide that, and with it any stranger in between",
    ]
    name = diagnose(request(), Response(failure=Failure(kind="name", sentence="the name of the host was not found: x")))
    assert len(name) == 2
    assert diagnose(request(), Response()) == ["no answer"]


@pytest.mark.parametrize(
    ("answer", "remark"),
    [
        (Response(status=200), "the answer is empty, which is fine, but nothing in it tells what the page did"),
        (
            Response(status=200, size=9, body=b"<b>Warning</b>:  x in <b>/a.php</b> on line <b>3</b>"),
            "the page printed a PHP warning: it went on, and perhaps without what was missing",
        ),
        (
            Response(status=200, size=9, body=b'<form><input name="p" type="password">'),
            "the answer looks like a login page: the application behind it has probably not been reached",
        ),
        (
            Response(status=200, size=99_999, body=b"x" * 65_536),
            "the answer was longer than 64 KB and was not read to its end",
        ),
    ],
)
def test_remarks_on_what_is_no_failure(answer: Response, remark: str) -> None:
    assert headline(answer) == ""
    assert diagnose(request(), answer) == [remark]


@pytest.mark.parametrize("body", [b"We are on line 24 hours a day.", b"Your password was sent."])
def test_words_that_are_no_reason_for_a_remark(body: bytes) -> None:
    assert diagnose(request(), Response(status=200, body=body, size=len(body))) == []


def test_nothing_to_say() -> None:
    assert diagnose(request(), Response(status=200, body=b"ok", size=2)) == []


def test_a_good_page_that_took_long_to_say_so() -> None:
    assert diagnose(request(), Response(status=204, body=b"", size=0)) != []


@pytest.mark.parametrize(
    ("code", "text", "kind"),
    [
        (1, "Received HTTP/0.9 when not allowed", "protocol"),
        (5, "Could not resolve proxy: proxy.test", "name"),
        (6, "Could not resolve host: page.test", "name"),
        (7, "Failed to connect", "connect"),
        (7, "CONNECT tunnel failed, response 403", "proxy"),
        (18, "transfer closed with 5 bytes remaining to read", "reset"),
        (28, "Operation timed out", "timeout"),
        (35, "TLS connect error: error:0A00010B:SSL routines::wrong version number", "tls"),
        (35, "error:0A000102:SSL routines::unsupported protocol", "tls"),
        (35, "error:0A00018A:SSL routines::dh key too small", "tls"),
        (35, "ssl/tls alert handshake failure", "tls"),
        (35, "tlsv13 alert certificate required", "tls"),
        (52, "Empty reply from server", "reset"),
        (55, "Send failure: Broken pipe", "reset"),
        (56, "Recv failure: Connection reset by peer", "reset"),
        (56, "Illegal or missing hexadecimal sequence in chunked-encoding", "protocol"),
        (60, "SSL certificate problem: certificate has expired", "certificate"),
        (60, "SSL certificate problem: certificate revoked", "certificate"),
        (61, "A Transfer-Encoding (gzip) was not listed in the Content-Encoding header", "protocol"),
        (77, "error adding trust anchors from file", "certificate"),
        (97, "proxy handshake error", "proxy"),
        (100, "Too large response headers", "too_large"),
        (4242, "something new", "protocol"),
    ],
)
def test_libcurls_words_in_ours(code: int, text: str, kind: str) -> None:
    for connected in (False, True):
        found = describe(CurlError(code=code, text=text, connected=connected, timeout=15, connect_timeout=5))
        assert found.kind == kind and found.sentence and found.sentence[0].islower()


def test_a_handshake_that_breaks_off_is_tls() -> None:
    broken = CurlError(code=56, text="Recv failure: Connection reset by peer", secure=True, connected=False)
    assert describe(broken).kind == "tls"


@pytest.mark.parametrize(("word", "pattern"), [row[1:] for row in ROWS], ids=[row[1] for row in ROWS])
def test_what_is_not_looked_at_holds_no_page(word: str, pattern: LinearPattern) -> None:
    """No text that the pattern finds is shorter, and none is without the word that is looked for first."""

    @settings(max_examples=20)
    @given(st.from_regex(re.compile(pattern.pattern, pattern.flags), alphabet=st.characters(codec="ascii")))
    def looks(text: str) -> None:
        assert pattern.search(text) and len(text) >= MIN_PAGE_BYTES and word in text.lower()

    looks()


def test_the_shortest_page_is_found() -> None:
    assert find_page(FAILURE_BODY, b"[XException]") and len(b"[XException]") == MIN_PAGE_BYTES
    assert find_page(FAILURE_BODY, b"") is None and find_page((), b"anything at all") is None


def test_patterns_of_the_operators_own() -> None:
    """They take the place of ours, are tried in their order, and see letters where a page does not say its charset."""
    sorry, cafe = LinearPattern("sorry"), LinearPattern("caf\u00e9")
    for body, found in (
        (b"caf\xe9 is closed", cafe),
        ("caf\u00e9 is closed, sorry".encode(), sorry),
        (b"[XException]", None),
        (b"sorry", sorry),
    ):
        assert find_page((sorry, cafe), body) is found
    assert page_name(sorry) == "a page that failure_body's 'sorry' finds"
