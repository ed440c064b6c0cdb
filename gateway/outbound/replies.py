"""What is texted back: a keyword's reply, what an endpoint answered, and what STOP, START and HELP are owed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.config import RESPONSE, Config, Number
from gateway.matching import opt_out_words, templates
from gateway.outbound import enqueue
from gateway.outbound.enqueue import OutgoingText
from gateway.routing.route import Route
from gateway.store import Connection, events, ledger, opt_outs
from gateway.store.outbox import SettledDelivery
from schemas import Message

REPLY, OPT_OUT = "reply", "opt-out"


@dataclass(frozen=True, slots=True, kw_only=True)
class Replies:
    """What one text calls for. Its number is not known: nothing."""

    config: Config
    number: Number | None
    phone: str
    text: str = ""
    """The keyword's own reply."""
    wants_answer: bool = False
    """What the first endpoint answers is to be texted back."""
    word: tuple[str, str] | None = None
    """(kind, word) of an opt-out."""

    @property
    def answers(self) -> bool:
        """Whether the text is answered, and so has come to somebody."""
        return bool(self.text)

    @property
    def ordering_keys(self) -> tuple[str, ...]:
        """Of what may be owed."""
        may_owe = self.number is not None and (self.text or self.word)
        return (enqueue.conversation_key(self.number.number, self.phone),) if may_owe and self.number else ()

    def owe(self, conn: Connection, event_id: int, now: float) -> bool:
        """Records who opts out, and owes the answer. True: something is to be sent."""
        number = self.number
        if number is None or not (self.word or self.text):
            return False
        was_out = opt_outs.has_opted_out(conn, number.number, self.phone)
        if self.word and self.word[0] != opt_out_words.HELP:
            kind, said = self.word
            opt_outs.record_opt_out(conn, number.number, self.phone, said, now, out=kind == opt_out_words.STOP)
        text = self._answer(number, was_out)
        if text:
            # What answers these words goes out to those who have opted out, too.
            out = _outgoing(number, self.phone, text, OPT_OUT if self.word else REPLY)
            enqueue.enqueue(conn, event_id, out, self.config, now)
        return bool(text)

    def _answer(self, number: Number, was_out: bool) -> str:
        """A keyword's own reply comes first. Who says STOP a second time is not answered: two machines never end."""
        kind = self.word[0] if self.word else ""
        if was_out and kind not in (opt_out_words.START, opt_out_words.HELP):
            return ""
        if self.text or not kind or number.opt_out != "reply" or (kind == opt_out_words.START and not was_out):
            return self.text
        wording = getattr(self.config, f"{kind}_reply")
        return templates.fill(wording, {"title": number.title or number.shortcode})


def plan_replies(message: Message, way: Route, config: Config) -> Replies:
    """What a text that came in calls for by its keyword and by its words."""
    if way.number is None:
        return Replies(config=config, number=None, phone="")
    reply = way.keyword.reply if way.keyword else ""
    return Replies(
        config=config,
        number=way.number,
        phone=message.phone,
        text="" if reply == RESPONSE else reply,
        wants_answer=reply == RESPONSE,
        word=None if way.number.opt_out == "off" else opt_out_words.opt_out_word(message.message),
    )


def owe_replies(
    conn: Connection, settled: Sequence[SettledDelivery], applied: Sequence[bool], config: Config, now: float
) -> frozenset[str]:
    """In the transaction that settles them: what endpoints answered is owed to those who texted. Whom to wake."""
    owed = [
        _owe_answer(conn, one, config, now)
        for one, ours in zip(settled, applied, strict=True)
        if ours and one.reply and one.outcome == "succeeded"
    ]
    return frozenset((ledger.ENDPOINT,)) if any(owed) else frozenset()


def _owe_answer(conn: Connection, settled: SettledDelivery, config: Config, now: float) -> bool:
    """Once for a text, whatever is replayed; and not to whom it was said meanwhile that he wants none."""
    event_id = settled.claimed.event_id
    asked = events.parties(conn, event_id)
    number = config.number_for(asked[0]) if asked else None
    if asked is None or number is None or opt_outs.has_opted_out(conn, number.number, asked[1]):
        return False
    if any(entry.origin == REPLY for entry in ledger.of_event(conn, event_id)):
        return False
    enqueue.enqueue(conn, event_id, _outgoing(number, asked[1], settled.reply, REPLY), config, now)
    return True


def _outgoing(number: Number, phone: str, text: str, origin: str) -> OutgoingText:
    return OutgoingText(
        number=number.number,
        code=number.shortcode,
        phone=phone,
        text=text,
        origin=origin,
        ticket=enqueue.new_ticket(),
    )
