"""SOAP envelopes: the call in one, as any client writes it; the envelope as it may be kept; answers and faults.

Names are matched without their namespaces. Accepted are RPC/literal and RPC/encoded, with references (``href="#id1"``),
arrays and maps, document/literal in its wrapped form, SOAP 1.1 and 1.2.

An answer has the version, the namespace and the encoding of the call. Every simple value names its type, so that a
client without a WSDL reads `false` as a boolean and not as text::

    <ns1:sendMessageResponse><return><result xsi:type="xsd:boolean">true</result>…
"""

from __future__ import annotations

import codecs
import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lxml import etree

from gateway.safe_http.ssrf import mask_url
from gateway.web.legacy_forms import OPERATIONS, SECRETS, CallResult, Fields, Pairs, Value, answer_fields, row_fields
from schemas import charsets

SOAP_11 = "http://schemas.xmlsoap.org/soap/envelope/"
SOAP_12 = "http://www.w3.org/2003/05/soap-envelope"
NAMESPACE = "urn:sms-gateway:webservices"
CONTENT_TYPES = {SOAP_11: "text/xml; charset=utf-8", SOAP_12: "application/soap+xml; charset=utf-8"}
_OPERATIONS = {name.lower(): name for name in OPERATIONS}
_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_TYPES = {bool: "boolean", int: "int", str: "string"}
_FAULT_CODES_12 = {"Client": "Sender", "Server": "Receiver"}
_ATTRIBUTE = re.compile(r"=\s*+[\"']")
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

MAX_TAGS = 60_000
MAX_ATTRIBUTES = 20_000  # of all elements together, namespaces included
MAX_ELEMENT_ATTRIBUTES = 100
MAX_DEPTH = 64
MAX_VISITS = 20_000  # elements that are read as values; one that is referred to twice counts twice
MAX_VALUE_DEPTH = 24  # depth of a value, references followed; also the number of references in a row
MAX_DOCUMENT_CHARACTERS = 2 * 1024 * 1024
"""All texts together have at most so many; one that is referred to twice counts twice."""

CHARSETS = frozenset(("utf-8", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "iso8859-1", "iso8859-15", "ascii"))
"""By Python's names."""
_MARKS = (
    *((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be")),
    *((b"<\0", "utf-16-le"), (b"\0<", "utf-16-be")),
)
_DECLARATION = re.compile(r"\A\s*+<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
# Matches what may stand before the first element, up to a DTD, which is refused. No part of it is read twice.
_DOCTYPE = re.compile(
    r"\A\s*+(?:(?:<\?(?:(?!\?>).)*+\?>|<!--(?:(?!-->).)*+-->)\s*+)*+<!(?!--)", re.DOTALL | re.IGNORECASE
)

Element = Any  # an element of lxml


class UnreadableEnvelope(ValueError):
    """The caller must act. The message says why, and quotes no value of the body."""


class WrongVersion(UnreadableEnvelope):
    """An envelope of an unknown version of SOAP."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SoapEnvelope:
    version: str = SOAP_11  # the namespace of the envelope
    name: str = ""  # the operation, in the spelling of `OPERATIONS`; empty if it is none of these
    namespace: str = NAMESPACE  # the namespace in which the operation was called: clients expect the answer in it
    encoded: bool = False  # the call uses SOAP's own encoding
    arguments: Pairs = field(default=(), repr=False)
    scrubbed: bytes = field(default=b"", repr=False)  # the envelope without credentials


def read_envelope(body: bytes, content_type: str | None) -> SoapEnvelope:
    """Reads an envelope. Raises `UnreadableEnvelope`."""
    root = _parse(body, content_type)
    version = etree.QName(root).namespace or SOAP_11
    if _local(root.tag) != "Envelope":
        raise UnreadableEnvelope("The document is not an Envelope.")
    if version not in (SOAP_11, SOAP_12):
        raise WrongVersion("The Envelope has an unknown version of SOAP.")
    soap_body = next((child for child in root if _local(child.tag) == "Body"), None)
    if soap_body is None:
        raise UnreadableEnvelope("The Envelope has no Body.")
    document = _Document(root)
    for operation in soap_body:
        # Some generators append ``Request`` to the name.
        name = _OPERATIONS.get(_local(operation.tag).lower().removesuffix("request"), "")
        if name:
            break
    else:
        return SoapEnvelope(version=version, scrubbed=document.scrub())
    value = document.value(operation)
    arguments: Pairs = [] if isinstance(value, str) else value
    # Arguments are known by their names; where no name is known (PHP without a WSDL: ``param0``), by their order.
    known = {argument.lower() for argument in OPERATIONS[name]}
    if not any(given.lower() in known for given, _ in arguments):
        arguments = [(wanted, value) for wanted, (_, value) in zip(OPERATIONS[name], arguments, strict=False)]
    return SoapEnvelope(
        version=version,
        name=name,
        namespace=etree.QName(operation).namespace or NAMESPACE,
        encoded=any(_local(name) == "encodingStyle" for at in (root, soap_body, operation) for name in at.attrib),
        arguments=arguments,
        scrubbed=document.scrub(),
    )


def _local(name: object) -> str:
    """The name of an element or attribute without its namespace."""
    return str(name).rpartition("}")[2]


class _Document:
    """A document with its references. The work of reading it is limited."""

    def __init__(self, root: Element) -> None:
        self._all = list(root.iter())  # lxml makes an element anew once nothing refers to it
        self._root = root
        self._ids: dict[str, Element] = {}
        self._references: dict[Element, str] = {}
        self._scrubbed: set[Element] = set()
        self._visits = self._characters = 0
        # Attributes are read once, however often something refers to their element.
        for element in self._all:
            for name, value in element.attrib.items():
                if _local(name) == "id":
                    self._ids[value] = element
                elif _local(name) in ("href", "ref"):
                    self._references[element] = str(value).removeprefix("#")

    def value(self, element: Element, depth: int = 0) -> Value:
        """Reads an element: as its text, or as the names and values of its children."""
        element = self._target(element)
        self._visits += 1
        if self._visits > MAX_VISITS or depth > MAX_VALUE_DEPTH:
            raise UnreadableEnvelope("Too many elements, or references among them that do not end.")
        if len(element):
            pairs = []
            for child in element:
                name, inner = self._map_entry(child) or (_local(child.tag), child)
                pairs.append((name, self.value(inner, depth + 1)))
            return pairs
        text = str(element.text or "")
        self._characters += len(text)
        if self._characters > MAX_DOCUMENT_CHARACTERS:
            raise UnreadableEnvelope("Too much text, by references to the same.")
        return text

    def _map_entry(self, element: Element) -> tuple[str, Element] | None:
        """Reads an entry of a map by PHP or Axis: ``<item><key>sendTo</key><value>15162065515</value></item>``."""
        if _local(element.tag) != "item":
            return None
        target = self._target(element)
        inner = {_local(child.tag): child for child in target} if len(target) == 2 else {}
        if inner.keys() != {"key", "value"}:
            return None
        return str(self._target(inner["key"]).text or ""), inner["value"]

    def _target(self, element: Element) -> Element:
        """Follows references; where they lead nowhere, or in a circle, the element stands for itself."""
        for _ in range(MAX_VALUE_DEPTH):
            referred = self._referred(element)
            if referred is None:
                return element
            element = referred
        return element

    def _referred(self, element: Element) -> Element | None:
        return self._ids.get(self._references.get(element, ""))

    def scrub(self) -> bytes:
        """Returns the document without credentials, wherever they stand and whatever refers to them, and without those
        of a `status_url`. Changes it."""
        for element in self._all:
            if _local(element.tag).lower() in SECRETS:
                self._empty(element)
            entry = self._map_entry(element)
            if entry is not None and entry[0].strip().lower() in SECRETS:
                self._empty(entry[1])
            name, holder = (entry[0].strip(), entry[1]) if entry else (_local(element.tag), element)
            if name.lower() == "status_url":
                holder = self._target(holder)
                holder.text = mask_url(str(holder.text or "").strip())
            for name in element.attrib:
                if _local(name).lower() in SECRETS:
                    element.attrib[name] = ""
        return bytes(etree.tostring(self._root, encoding="utf-8", xml_declaration=True))

    def _empty(self, element: Element | None) -> None:
        """Empties an element, and all that its references lead to."""
        while element is not None and element not in self._scrubbed:
            self._scrubbed.add(element)
            element.text = None
            for inner in list(element):
                element.remove(inner)
            element = self._referred(element)


def _parse(body: bytes, content_type: str | None) -> Element:
    """Reads XML safely: no DTD, no entities, nothing from outside, and limits on all that can grow.
    Returns the root element. Raises `UnreadableEnvelope`."""
    text = _decode(body, content_type)
    if _DOCTYPE.match(text):
        raise UnreadableEnvelope("A document type declaration is not accepted.")
    if text.count("<") > MAX_TAGS:
        raise UnreadableEnvelope(f"More than {MAX_TAGS} tags.")
    # Each has two quotes, which are faster to count; texts have quotes, too.
    if text.count('"') + text.count("'") > 2 * MAX_ATTRIBUTES:
        if any(number > MAX_ATTRIBUTES for number, _ in enumerate(_ATTRIBUTE.finditer(text), 1)):
            raise UnreadableEnvelope(f"More than {MAX_ATTRIBUTES} attributes.")
    parser = etree.XMLParser(
        encoding="utf-8",  # whatever the declaration names: the text was decoded before
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
        root = etree.fromstring(text.encode("utf-8", "replace"), parser)
    except (etree.XMLSyntaxError, ValueError) as error:
        position = getattr(error, "position", None)
        where = f" (line {position[0]}, column {position[1]})" if position else ""
        raise UnreadableEnvelope(f"Not well-formed XML{where}.") from None
    if root.getroottree().docinfo.doctype:
        raise UnreadableEnvelope("A document type declaration is not accepted.")
    depth = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        depth += 1 if event == "start" else -1
        if depth > MAX_DEPTH:
            raise UnreadableEnvelope(f"Nested deeper than {MAX_DEPTH}.")
        # To read all of n attributes takes lxml n² steps: a minute for a mebibyte of them.
        if len(element.attrib) > MAX_ELEMENT_ATTRIBUTES:
            raise UnreadableEnvelope(f"An element with more than {MAX_ELEMENT_ATTRIBUTES} attributes.")
    return root


def _decode(body: bytes, content_type: str | None) -> str:
    """Decodes by the byte order mark, else by `Content-Type`, else by the XML declaration, else as UTF-8.
    A wrong charset is ignored; bytes that fit none of these are windows-1252, as in a form."""
    for charset in _charsets(body, content_type):
        try:
            return body.decode(charset).removeprefix("\ufeff")
        except UnicodeError:
            continue
    return charsets.decoder("windows-1252")(body)


def _charsets(body: bytes, content_type: str | None) -> Iterator[str]:
    yield from (charset for mark, charset in _MARKS if body.startswith(mark))
    declaration = _DECLARATION.match(body[:200].decode("latin-1"))
    for name in (charsets.declared(content_type), declaration[1] if declaration else ""):
        try:
            found = codecs.lookup(name).name if name else ""
        except LookupError:
            continue
        # Without a mark, and not beginning as a document in it does, this is no UTF-16, whatever it is called.
        if found in CHARSETS and not found.startswith("utf-16"):
            yield found
    yield "utf-8"


def write_answer(envelope: SoapEnvelope, result: CallResult) -> bytes:
    """Writes the answer to a call. In SOAP's own encoding its rows are an array, otherwise an element each."""
    is_encoded = envelope.encoded and envelope.version == SOAP_11
    fields = _elements(answer_fields(envelope.name, result))
    rows = [_elements(row_fields(row)) for row in result] if isinstance(result, list) else []
    if is_encoded and isinstance(result, list):
        array = f'xsi:type="SOAP-ENC:Array" SOAP-ENC:arrayType="xsd:anyType[{len(rows)}]"'
        fields += f"<recipients {array}>{''.join(f'<item>{row}</item>' for row in rows)}</recipients>"
    else:
        fields += "".join(f"<recipients>{row}</recipients>" for row in rows)
    style = f' SOAP-ENV:encodingStyle="{_ENCODING}"' if is_encoded else ""
    name = f"ns1:{envelope.name}Response"
    body = f"<{name}{style}><return>{fields}</return></{name}>"
    return _envelope(envelope.version, f' xmlns:ns1="{_escaped(envelope.namespace)}"', body)


def write_fault(version: str, code: str, text: str) -> bytes:
    """`code`: ``Client``, ``Server`` or ``VersionMismatch``."""
    if version == SOAP_12:
        code = _FAULT_CODES_12.get(code, code)
        fault = (
            f"<SOAP-ENV:Code><SOAP-ENV:Value>SOAP-ENV:{code}</SOAP-ENV:Value></SOAP-ENV:Code>"
            f'<SOAP-ENV:Reason><SOAP-ENV:Text xml:lang="en">{_escaped(text)}</SOAP-ENV:Text></SOAP-ENV:Reason>'
        )
    else:
        fault = f"<faultcode>SOAP-ENV:{code}</faultcode><faultstring>{_escaped(text)}</faultstring>"
    return _envelope(version, "", f"<SOAP-ENV:Fault>{fault}</SOAP-ENV:Fault>")


def _elements(fields: Fields) -> str:
    return "".join(
        f'<{name} xsi:type="xsd:{_TYPES[type(value)]}">{_escaped(value)}</{name}>' for name, value in fields.items()
    )


def _escaped(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # A bare carriage return would be read as a line feed.
    return html.escape(_NOT_XML.sub("", str(value))).replace("\r", "&#13;")


def _envelope(version: str, namespaces: str, body: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{version}" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:SOAP-ENC="{_ENCODING}"{namespaces}>'
        f"<SOAP-ENV:Body>{body}</SOAP-ENV:Body></SOAP-ENV:Envelope>\n"
    ).encode()
