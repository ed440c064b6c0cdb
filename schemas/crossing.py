"""What a message lacks for the other side, put in from the configuration. Pure: the facts are arguments."""

from __future__ import annotations

from dataclasses import dataclass

from schemas import carriers
from schemas.message import Message


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberContext:
    """What the configuration and the store know about one message.

    `number` and `code` are our number as CarrierX and as legacy systems know it; empty leaves what the
    message says, as with all of them. `ticket` and `custom_ticket` of a status update are those of its sending;
    the `custom_ticket` of a text is that of the last message sent to that phone from that number.
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


def enrich(message: Message, facts: NumberContext) -> Message:
    """`message` with all that either format can say. What the keyword platform said itself stays as it said it."""
    number = facts.number or message.number
    ours = {"to": number} if message.inbound else {"from_": number}
    if message.legacy is not None:
        return message.but(**ours, partner_sid=message.partner_sid or facts.partner_sid or None)
    if message.inbound:
        return message.but(**ours, **_of_keyword(message, facts, number))
    return message.but(
        **ours,
        code=facts.code or number,
        ticket=facts.ticket or message.ticket,
        custom_ticket=facts.custom_ticket or message.custom_ticket,
    )


def _of_keyword(message: Message, facts: NumberContext, number: str) -> dict[str, str]:
    return {
        "code": facts.code or number,
        "keyword": facts.keyword,
        "default_keyword": facts.default_keyword,
        "group": facts.group,
        "title": facts.title,
        "carrier": carriers.name(message.mcc, message.mnc),
        "custom_ticket": facts.custom_ticket or message.custom_ticket,
    }


def for_recipient(message: Message, recipient: str) -> Message:
    """The update of a group message as it concerns one recipient: a status post has room for one."""
    return message if message.to == recipient else message.but(to=recipient)
