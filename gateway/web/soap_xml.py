"""Bytes → an XML tree, safely: no DTD, no entities, nothing from outside, and bounds on all that can grow."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Any

from lxml import etree

from schemas import charsets

Element = Any
"""An element of lxml."""
MOST_TAGS = 60_000
MOST_ATTRIBUTES = 100
"""Of one element."""
DEEPEST = 64
CHARSETS = frozenset(("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "iso8859-1", "iso8859-15", "ascii"))
"""As Python calls them."""

_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_WIDE = ((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be"))
_DECLARATION = re.compile(r"\A\s*+<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
# What may stand before the first element, but for the one thing that is not taken. No part of it is read twice.
_DOCTYPE = re.compile(
    r"\A\s*+(?:(?:<\?(?:(?!\?>).)*+\?>|<!--(?:(?!-->).)*+-->)\s*+)*+<!(?!--)", re.DOTALL | re.IGNORECASE
)


class Unreadable(ValueError):
    """The caller must act. Says why, without a value of the body."""


def parse(body: bytes, content_type: str | None) -> Element:
    """The root element. Raises `Unreadable`."""
    text = decode(body, content_type)
    if _DOCTYPE.match(text):
        raise Unreadable("A document type declaration is not taken.")
    if text.count("<") > MOST_TAGS:
        raise Unreadable(f"More than {MOST_TAGS} tags.")
    root = _tree(text)
    if root.getroottree().docinfo.doctype:
        raise Unreadable("A document type declaration is not taken.")
    _check_shape(root)
    return root


def serialise(root: Element) -> bytes:
    written: bytes = etree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written


def local(name: object) -> str:
    """Of an element or attribute: without its namespace."""
    return str(name).rpartition("}")[2]


def decode(body: bytes, content_type: str | None) -> str:
    """The text by its byte order mark, else by the `Content-Type`, else by its own declaration, else UTF-8.

    What is said wrongly is passed over; bytes that are nothing of it are windows-1252, as in a form.
    """
    for charset in _candidates(body, content_type):
        try:
            return body.decode(charset).removeprefix("\ufeff")
        except UnicodeError:
            continue
    return charsets.decoder("windows-1252")(body)


def _candidates(body: bytes, content_type: str | None) -> Iterator[str]:
    marked = next((charset for mark, charset in (*_BOMS, *_WIDE) if body.startswith(mark)), "")
    if marked:
        yield marked
    yield from _known(charsets.declared(content_type))
    said = _DECLARATION.match(body[:200].decode("latin-1"))
    yield from _known(said[1] if said else "")
    yield "utf-8"


def _known(name: str) -> Iterator[str]:
    try:
        found = codecs.lookup(name).name if name else ""
    except LookupError:
        return
    # Without a mark, and not beginning as a document in it does, this is no UTF-16, whatever it is called.
    if found in CHARSETS and not found.startswith("utf-16"):
        yield found


def _tree(text: str) -> Element:
    parser = etree.XMLParser(
        encoding="utf-8",  # whatever the declaration says: the text was decoded before
        resolve_entities=False,
        load_dtd=False,
        dtd_validation=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        strip_cdata=True,
    )
    try:
        return etree.fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        place = getattr(error, "position", None)
        where = f" (line {place[0]}, column {place[1]})" if place else ""
        raise Unreadable(f"Not well-formed XML{where}.") from None


def _check_shape(root: Element) -> None:
    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > DEEPEST:
            raise Unreadable(f"Nested deeper than {DEEPEST}.")
        # To look at all of n attributes takes lxml n² steps: a minute for a mebibyte of them.
        if len(element.attrib) > MOST_ATTRIBUTES:
            raise Unreadable(f"An element with more than {MOST_ATTRIBUTES} attributes.")
