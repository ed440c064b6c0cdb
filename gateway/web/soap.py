"""SOAP envelopes: what was said in one, whoever wrote it; and the envelope as it may be kept.

Names are matched without their namespaces. Taken are RPC/literal and RPC/encoded, with references (``href="#id1"``),
arrays and maps, document/literal in its wrapped form, SOAP 1.1 and 1.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.web.legacy_forms import OPERATIONS, SECRETS, Pairs, Value
from gateway.web.soap_xml import Element, Unreadable, local, parse, serialise

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
NAMESPACE = "urn:sms-gateway:webservices"

MOST_VISITS = 20_000
"""Elements that are looked at, one that is referred to twice counted twice."""
LONGEST = 2 * 1024 * 1024
"""Characters of all texts together, likewise."""
DEEPEST = 24


class WrongVersion(Unreadable):
    """An envelope, but of no version of SOAP that we know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoapEnvelope:
    version: str = SOAP_11
    """The namespace of the envelope."""
    name: str = ""
    """The operation, as we spell it; empty: one that we do not have."""
    namespace: str = NAMESPACE
    """Of the operation, as it was called: clients look for it in the answer."""
    encoded: bool = False
    """By SOAP's own encoding."""
    said: Pairs = field(default=(), repr=False)
    kept: bytes = field(default=b"", repr=False)
    """The envelope without credentials."""


def read(body: bytes, content_type: str | None) -> SoapEnvelope:
    """Raises `Unreadable`."""
    root = parse(body, content_type)
    version = _version(root)
    inside = _body(root)
    tree = _Tree(root)
    operation = next((one for one in inside if _operation(one)), None)
    if operation is None:
        return SoapEnvelope(version=version, kept=tree.blanked())
    name = _operation(operation)
    said = _arguments(name, tree.pairs(operation))
    return SoapEnvelope(
        version=version,
        name=name,
        namespace=str(operation.tag)[1:].partition("}")[0] if "}" in operation.tag else NAMESPACE,
        encoded=any(local(attribute) == "encodingStyle" for at in (root, inside, operation) for attribute in at.attrib),
        said=said,
        kept=tree.blanked(),
    )


def _version(root: Element) -> str:
    namespace = str(root.tag)[1:].partition("}")[0] if "}" in root.tag else ""
    if local(root.tag) != "Envelope":
        raise Unreadable("The document is no Envelope.")
    if namespace not in (SOAP_11, SOAP_12, ""):
        raise WrongVersion("The Envelope is of no known version of SOAP.")
    return namespace or SOAP_11


def _body(root: Element) -> Element:
    found = next((one for one in root if local(one.tag) == "Body"), None)
    if found is None:
        raise Unreadable("The Envelope has no Body.")
    return found


def _operation(element: Element) -> str:
    """As we spell it; empty for anything else. Some generators put ``Request`` behind the name."""
    said = local(element.tag).lower().removesuffix("request")
    return next((name for name in OPERATIONS if name.lower() == said), "")


def _arguments(name: str, said: Pairs) -> Pairs:
    """By their names; where none of these is known (PHP without a WSDL: ``param0``), by their order."""
    known = {one.lower() for one in OPERATIONS[name]}
    if not said or any(given.lower() in known for given, _ in said):
        return said
    return [(wanted, value) for wanted, (_, value) in zip(OPERATIONS[name], said, strict=False)]


class _Tree:
    """One document with its references; what it costs to look at is bounded."""

    def __init__(self, root: Element) -> None:
        self._all = list(root.iter())  # elements are the same objects as long as somebody holds them
        self._root = root
        self._ids: dict[str, Element] = {}
        self._references: dict[Element, str] = {}
        self._blanked: set[Element] = set()
        self._visits = self._length = 0
        for one in self._all:
            self._note(one)

    def _note(self, element: Element) -> None:
        """Attributes are looked at once, however often something refers to them."""
        for name, value in element.attrib.items():
            if local(name) == "id":
                self._ids[value] = element
            elif local(name) in ("href", "ref"):
                self._references[element] = str(value).removeprefix("#")

    def pairs(self, element: Element) -> Pairs:
        value = self._value(element, 0)
        return [] if isinstance(value, str) else value

    def _value(self, element: Element, depth: int) -> Value:
        element = self._target(element)
        self._visits += 1
        if self._visits > MOST_VISITS or depth > DEEPEST:
            raise Unreadable("Too many elements, or references among them that do not end.")
        if len(element):
            return [(name, self._value(one, depth + 1)) for name, one in self._children(element)]
        text = str(element.text or "")
        self._length += len(text)
        if self._length > LONGEST:
            raise Unreadable("Too much text, by references to the same.")
        return text

    def _children(self, element: Element) -> Iterator[tuple[str, Element]]:
        for one in element:
            pair = self._entry(one)
            yield pair or (local(one.tag), one)

    def _entry(self, element: Element) -> tuple[str, Element] | None:
        """What PHP and Axis make of a map: ``<item><key>sendTo</key><value>15162065515</value></item>``."""
        if local(element.tag) != "item":
            return None
        there = self._target(element)
        inner = {local(one.tag): one for one in there} if len(there) == 2 else {}
        if inner.keys() != {"key", "value"}:
            return None
        return str(self._target(inner["key"]).text or ""), inner["value"]

    def _target(self, element: Element) -> Element:
        """Where a reference leads; one that leads nowhere, or round, is the element itself."""
        for _ in range(DEEPEST):
            there = self._next(element)
            if there is None:
                return element
            element = there
        return element

    def _next(self, element: Element) -> Element | None:
        return self._ids.get(self._references.get(element, ""))

    def blanked(self) -> bytes:
        """The document without credentials, wherever they stand and whatever leads to them. This changes it."""
        for one in self._all:
            if local(one.tag).lower() in SECRETS:
                self._blank(one)
            entry = self._entry(one)
            if entry is not None and entry[0].strip().lower() in SECRETS:
                self._blank(entry[1])
            for name in one.attrib:
                if local(name).lower() in SECRETS:
                    one.attrib[name] = ""
        return serialise(self._root)

    def _blank(self, element: Element | None) -> None:
        """The element, and all that it refers to on its way."""
        while element is not None and element not in self._blanked:
            self._blanked.add(element)
            element.text = None
            for inner in list(element):
                element.remove(inner)
            element = self._next(element)
