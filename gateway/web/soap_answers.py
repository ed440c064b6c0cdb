"""Answers and faults as SOAP envelopes, in the version, the namespace and the encoding that the caller uses.

Every simple value names its type, so that a client without a WSDL reads `false` as a truth value and no text::

    <ns1:sendMessageResponse><return><result xsi:type="xsd:boolean">true</result>…
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

from gateway.outbound.model import CallAnswer, StatusRow
from gateway.web.soap import SOAP_11, SOAP_12, SoapEnvelope

CONTENT_TYPES = {SOAP_11: "text/xml; charset=utf-8", SOAP_12: "application/soap+xml; charset=utf-8"}
_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
_TYPES = {bool: "boolean", int: "int", str: "string"}
_CODES_12 = {"Client": "Sender", "Server": "Receiver"}
_NEVER_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def sent(envelope: SoapEnvelope, answer: CallAnswer) -> bytes:
    """What `sendMessage` and `sendTemplateMessage` are answered."""
    said = [*_of(answer), ("custom_ticket", answer.custom_ticket), ("ticket", answer.ticket)]
    return _response(envelope, _fields(said))


def known(envelope: SoapEnvelope, rows: list[StatusRow]) -> bytes:
    """What a query is answered. By SOAP's own encoding the rows are an array, else an element each."""
    if envelope.encoded and envelope.version == SOAP_11:
        items = "".join(f"<item>{_row(row)}</item>" for row in rows)
        kind = f'xsi:type="SOAP-ENC:Array" SOAP-ENC:arrayType="xsd:anyType[{len(rows)}]"'
        listed = f"<recipients {kind}>{items}</recipients>"
    else:
        listed = "".join(f"<recipients>{_row(row)}</recipients>" for row in rows)
    return _response(envelope, _fields(_of(CallAnswer(result=True))) + listed)


def unknown(envelope: SoapEnvelope, answer: CallAnswer) -> bytes:
    """What a query is answered that has no rows."""
    return _response(envelope, _fields(_of(answer)))


def fault(version: str, code: str, text: str) -> bytes:
    """`code`: ``Client``, ``Server`` or ``VersionMismatch``."""
    said = _text(text)
    if version == SOAP_12:
        code = _CODES_12.get(code, code)
        inner = (
            f"<SOAP-ENV:Code><SOAP-ENV:Value>SOAP-ENV:{code}</SOAP-ENV:Value></SOAP-ENV:Code>"
            f'<SOAP-ENV:Reason><SOAP-ENV:Text xml:lang="en">{said}</SOAP-ENV:Text></SOAP-ENV:Reason>'
        )
    else:
        inner = f"<faultcode>SOAP-ENV:{code}</faultcode><faultstring>{said}</faultstring>"
    return _envelope(version, "", f"<SOAP-ENV:Fault>{inner}</SOAP-ENV:Fault>")


def _of(answer: CallAnswer) -> list[tuple[str, bool | int | str]]:
    return [("result", answer.result), ("error_code", answer.error_code), ("message", answer.message)]


def _row(row: StatusRow) -> str:
    said: list[tuple[str, bool | int | str]] = [("sendTo", row.phone), ("status_code", row.status_code)]
    return _fields([*said, ("status_message", row.status_message), ("result", row.result)])


def _fields(said: Iterable[tuple[str, bool | int | str]]) -> str:
    return "".join(f'<{name} xsi:type="xsd:{_TYPES[type(value)]}">{_text(value)}</{name}>' for name, value in said)


def _text(value: bool | int | str) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    # A bare carriage return would be read as a line feed.
    return html.escape(_NEVER_XML.sub("", str(value))).replace("\r", "&#13;")


def _response(envelope: SoapEnvelope, fields: str) -> bytes:
    style = f' SOAP-ENV:encodingStyle="{_ENCODING}"' if envelope.encoded and envelope.version == SOAP_11 else ""
    name = f"ns1:{envelope.name}Response"
    inner = f"<{name}{style}><return>{fields}</return></{name}>"
    return _envelope(envelope.version, f' xmlns:ns1="{_text(envelope.namespace)}"', inner)


def _envelope(version: str, namespaces: str, inner: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<SOAP-ENV:Envelope xmlns:SOAP-ENV="{version}" xmlns:xsd="http://www.w3.org/2001/XMLSchema"'
        f' xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xmlns:SOAP-ENC="{_ENCODING}"{namespaces}>'
        f"<SOAP-ENV:Body>{inner}</SOAP-ENV:Body></SOAP-ENV:Envelope>\n"
    ).encode()
