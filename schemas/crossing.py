"""Adds what a message lacks in the other format, from the configuration. Pure: the configuration is an argument."""

from __future__ import annotations

from dataclasses import dataclass

from schemas import carriers
from schemas.message import Message, replace


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberContext:
    """Facts about one message from the configuration and the store. An empty one leaves the message's own.

    `number` and `code` are our number as CarrierX and as legacy systems know it. `ticket` and `custom_ticket` of a
    status update are those of its sending; the `custom_ticket` of a text is that of the last message sent to that phone
    from that number.
    """

    number: str = ""
    code: str = ""
    keyword: str = ""
    default_keyword: str = ""
    group: str = ""
    title: str = ""
    ticket: str = ""
    custom_ticket: str = ""
    partner_sid: str = ""


def enrich(message: Message, context: NumberContext) -> Message:
    """`message` with all attributes that either format has. The keyword platform's own fields stay as they came."""
    is_inbound = message.inbound
    number = context.number or (message.to if is_inbound else message.from_)
    if message.legacy is not None:
        partner_sid = message.partner_sid or context.partner_sid or None
        if is_inbound:
            return replace(message, to=number, partner_sid=partner_sid)
        return replace(message, from_=number, partner_sid=partner_sid)
    custom_ticket = context.custom_ticket or message.custom_ticket
    if not is_inbound:
        return replace(
            message,
            from_=number,
            code=context.code or number,
            ticket=context.ticket or message.ticket,
            custom_ticket=custom_ticket,
        )
    return replace(
        message,
        to=number,
        code=context.code or number,
        keyword=context.keyword,
        default_keyword=context.default_keyword,
        group=context.group,
        title=context.title,
        carrier=carriers.name(message.mcc, message.mnc),
        custom_ticket=custom_ticket,
    )


def for_recipient(message: Message, recipient: str) -> Message:
    """The update of a group message for one recipient: a status post has room for one."""
    return message if message.to == recipient else replace(message, to=recipient)
