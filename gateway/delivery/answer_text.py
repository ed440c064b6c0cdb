"""What an endpoint answered, as a text to its sender: plain text and nothing else. Pure.

What is texted cannot be taken back. So whatever may be a page, an error or half an answer is none, and the reason
stands with the attempt.
"""

from __future__ import annotations

import re
import unicodedata

from gateway.safe_http.error_pages import FAILURE_BODY, WARNING, decode, find, name_of
from gateway.safe_http.models import Response
from schemas import charsets

LONGEST = 1_600
"""Characters."""
_PAGE = re.compile(
    r"<\s?(?:!doctype|!--|\?|/?(?:html|head|body|script|style|title|meta|link|div|span|p|br|hr|b|i|u|a|h[1-6]|ul|ol|li"
    r"|table|tr|td|th|font|center|strong|em|pre|form|input|img|iframe)(?:\s+[\w:-]+\s*=[^<>]*|\s*/?)>)",
    re.IGNORECASE,
)


def answer_text(answer: Response) -> str:
    """The text; empty where there is none."""
    return read(answer)[0]


def read(answer: Response) -> tuple[str, str]:
    """(the text, why there is none): one of them is empty."""
    fault = _fault_of_head(answer)
    if fault:
        return "", fault
    declared = charsets.declared(answer.header("Content-Type"))
    charset, _ = charsets.choose(declared, [(b"", answer.body)])
    said = charsets.decoder(charset)(answer.body).removeprefix("\ufeff")
    text = said.replace("\r\n", "\n").replace("\r", "\n").strip()
    fault = _fault_of_text(text, answer.body)
    return ("", fault) if fault else (text, "")


def _fault_of_head(answer: Response) -> str:
    if answer.failure or answer.status is None or not 200 <= answer.status < 300:
        return "the answer is no success"
    if answer.size > len(answer.body):
        return "the answer was not read to its end"
    kinds = [value for name, value in answer.headers if name.lower() == "content-type"]
    if [kind.partition(";")[0].strip().lower() for kind in kinds] != ["text/plain"]:
        return "the answer's Content-Type is not text/plain"
    if (answer.header("Content-Encoding") or "identity").strip().lower() != "identity":
        return "the answer is compressed (Content-Encoding)"
    return ""


def _fault_of_text(text: str, raw: bytes) -> str:
    if not text:
        return "the answer is empty"
    if len(text) > LONGEST:
        return f"the answer is longer than {LONGEST:,} characters"
    if b"\0" in raw or any(unicodedata.category(letter) == "Cc" and letter not in "\n\t" for letter in text):
        return "the answer has control characters in it"
    if _PAGE.search(text):
        return "the answer looks like HTML"
    page = find(FAILURE_BODY, raw)
    if page or WARNING.search(decode(raw)):
        return f"the answer is {name_of(page) if page else 'a PHP warning'}"
    return ""
