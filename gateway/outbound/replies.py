"""Texts back to a phone: a keyword's reply, an endpoint's answer, and the answers to STOP, START and HELP."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from gateway.config import Config
from gateway.config.model import RESPONSE
from gateway.matching import keywords, templates
from gateway.outbound import enqueue
from gateway.routing.route import Route
from gateway.store import Connection, events, ledger, message_status
from gateway.store.leases import SettledDelivery
from schemas import Message

REPLY, OPT_OUT = "reply", "opt-out"


class Replies:
    """The replies that one inbound text calls for, by its keyword and by its words. To an unknown number: none."""

    def __init__(self, message: Message, route: Route, config: Config) -> None:
        self._config, self._number, self._phone = config, route.number, message.from_
        reply = route.keyword.reply if route.keyword else ""
        self.text = "" if reply == RESPONSE else reply  # the keyword's own reply
        self.wants_answer = reply == RESPONSE  # the first endpoint's answer is to be texted back
        listens = route.number is not None and route.number.opt_out != "off"
        self._kind, self._word = (listens and keywords.opt_out_word(message.message)) or ("", "")
        self.ordering_keys: tuple[str, ...] = ()  # the ordering keys of texts that may be owed; empty: none is
        if route.number is not None and (self.text or self._kind):
            self.ordering_keys = (enqueue.conversation_key(route.number.number, self._phone),)

    def owe(self, conn: Connection, event_id: int, now: float) -> bool:
        """Records an opt-out, and owes the reply. Returns True if a text is owed."""
        number, phone, kind = self._number, self._phone, self._kind
        if number is None or not self.ordering_keys:
            return False
        was_out = message_status.has_opted_out(conn, number.number, phone)
        if kind and kind != keywords.HELP:
            is_out = kind == keywords.STOP
            message_status.record_opt_out(conn, number.number, phone, self._word, now, out=is_out)
        if was_out and kind not in (keywords.START, keywords.HELP):
            # A second STOP is not answered: two machines that answer each other would never end.
            return False
        text = self.text
        # A keyword's own reply comes first. START is answered to a phone that was out.
        if not text and kind and number.opt_out == "reply" and (kind != keywords.START or was_out):
            wording = getattr(self._config, f"{kind}_reply")
            text = templates.fill(wording, {"title": number.title or number.shortcode})
        if text:
            # Answers to these words go to phones that have opted out, too.
            origin, ticket = OPT_OUT if kind else REPLY, str(uuid.uuid4())
            new = enqueue.new_send(number, phone, ticket, event_id, self._config, now, origin=origin)
            enqueue.enqueue(conn, new, text, now)
        return bool(text)


def owe_replies(conn: Connection, settled: Sequence[SettledDelivery], config: Config, now: float) -> frozenset[str]:
    """Owes the endpoints' answers to the phones that texted, in the transaction that settles the deliveries.
    `settled`: those with a `reply` whose lease was still held. Returns the endpoints to wake."""
    owed = [_owe_answer(conn, delivery, config, now) for delivery in settled]
    return frozenset((ledger.ENDPOINT,)) if any(owed) else frozenset()


def _owe_answer(conn: Connection, settled: SettledDelivery, config: Config, now: float) -> bool:
    """Owes one answer a text, whatever is replayed; and none to a phone that has opted out meanwhile."""
    event_id = settled.claimed.event_id
    parties = events.parties(conn, event_id)
    number = config.number_for(parties[0]) if parties else None
    if parties is None or number is None or message_status.has_opted_out(conn, number.number, parties[1]):
        return False
    if any(entry.origin == REPLY for entry in ledger.of_event(conn, event_id)):
        return False
    new = enqueue.new_send(number, parties[1], str(uuid.uuid4()), event_id, config, now, origin=REPLY)
    enqueue.enqueue(conn, new, settled.reply, now)
    return True
