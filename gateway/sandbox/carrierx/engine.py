"""The stand-in itself, without HTTP: an account, its messages, what goes wrong, and the posting of callbacks."""

from __future__ import annotations

import random
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.sandbox.carrierx import scenarios
from gateway.sandbox.carrierx.asking import Wanted
from gateway.sandbox.carrierx.faults import Fate, Misbehaviour, fate, fate_of_read
from gateway.sandbox.carrierx.messages import KEPT, Message, Messages
from gateway.sandbox.carrierx.model import PARTNER, Account
from gateway.sandbox.carrierx.posting import THREADS, Posting
from gateway.sandbox.carrierx.scenarios import magic
from gateway.sandbox.carrierx.shapes import Text

SHAPES = ("asked", "older", "newer")
REMEMBERED = 50_000
"""Requests that had no effect, of which it is known how often they came."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How a stand-in is made."""

    token: str = field(default="sandbox", repr=False)
    """For Bearer. Empty, with no login either: nobody is asked."""
    login: str = ""
    password: str = field(default="", repr=False)
    """The two for Basic."""
    partner_sid: str = PARTNER
    numbers: Sequence[str] = ()
    """The account's DIDs; none: every number is one."""
    callback: str = field(default="", repr=False)
    """The partner's callback URL; may hold a key."""
    misbehaviour: Misbehaviour = Misbehaviour()
    pace: float = 0.1
    """Seconds between two statuses of a message."""
    attempts: int = 8
    """How often a callback is posted that is not taken. The vendor documents nothing: 1 is for the worst."""
    shape: str = "asked"
    """Of Message objects: ``older``, ``newer``, or as the names of the request were. Inbound texts: newer if asked."""
    newest_first: bool = True
    """The order of lists."""
    kept: int = KEPT
    """Messages; the oldest are forgotten."""
    threads: int = THREADS
    """That post callbacks."""


class Exchange:
    """Everything that a stand-in knows and does. Its methods may be called by any thread."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.misbehaviour = setup, setup.misbehaviour
        self.account = Account(setup.numbers, setup.callback, setup.partner_sid)
        self.messages = Messages(setup.kept)
        self.posting = Posting(
            self._address_of,
            self._replied,
            pace=setup.pace,
            attempts=setup.attempts,
            late_by=lambda: self.misbehaviour.late_by,
            threads=setup.threads,
        )
        self._turn = threading.Lock()
        self._tried: OrderedDict[bytes, int] = OrderedDict()
        self._forced: deque[str] = deque()
        self._reads = random.Random(setup.misbehaviour.seed)  # noqa: S311

    def force(self, answers: Sequence[str]) -> None:
        """What the next requests are answered with, whatever they ask."""
        with self._turn:
            self._forced.extend(answers)

    def calm(self) -> None:
        """No answers are forced any more, and nothing goes wrong."""
        with self._turn:
            self._forced.clear()
        self.misbehaviour = Misbehaviour()

    def fate_of_send(self, wanted: Wanted, body: bytes) -> Fate:
        """Repeatable: by the seed, what is sent to whom, and how often it came in vain, whatever the order."""
        forced = self._next_forced()
        if forced:
            return Fate(answer=forced)
        with self._turn:
            tried = self._tried.get(body, 0)
        seed = f"{self.misbehaviour.seed} {wanted.to} {wanted.message} {tried}"
        found = fate(self.misbehaviour, magic(wanted.to), tried, random.Random(seed).random)  # noqa: S311
        self._remember(body, 0 if found.accepts else tried + 1)
        return found

    def fate_of_read(self) -> Fate:
        forced = self._next_forced()
        return Fate(answer=forced) if forced else fate_of_read(self.misbehaviour, self._reads.random)

    def _next_forced(self) -> str:
        with self._turn:
            return self._forced.popleft() if self._forced else ""

    def _remember(self, body: bytes, tried: int) -> None:
        with self._turn:
            self._tried.pop(body, None)
            if tried:
                self._tried[body] = tried
            while len(self._tried) > REMEMBERED:
                self._tried.popitem(last=False)

    def accept(self, wanted: Wanted, found: Fate) -> Message:
        """Kept, and not yet under way."""
        chosen = magic(wanted.to)
        message = Message(
            self._text(wanted, "outbound"),
            flow=scenarios.FAILED if wanted.is_too_much else chosen.flow,
            manners=found.manners,
            silent=chosen.silent,
            reply=chosen.reply,
            early=found.early,
        )
        self.posting.promise()
        self.messages.add(message)
        return message

    def inbound(self, wanted: Wanted) -> Message:
        """A text from a handset to one of the account's numbers: its callback goes out at once."""
        message = Message(self._text(wanted, "inbound"), flow=("received",))
        self.posting.promise()
        self.messages.add(message)
        self.posting.begin(message)
        return message

    def _text(self, wanted: Wanted, direction: str) -> Text:
        return Text(
            sid=str(uuid.uuid4()),
            partner_sid=self.account.partner.sid,
            created=time.time(),
            direction=direction,
            sender=wanted.sender,
            to=wanted.to,
            message=wanted.message,
            media_urls=wanted.media_urls,
            group=wanted.group,
            user_data=wanted.user_data,
            older=wanted.older if self.setup.shape == "asked" else self.setup.shape == "older",
        )

    def _address_of(self, message: Message) -> str | None:
        text = message.text
        return self.account.callback_for(text.to if text.direction == "inbound" else text.sender)

    def _replied(self, message: Message) -> None:
        """The handset answers what it has got."""
        if message.reply:
            text = message.text
            self.inbound(
                Wanted(
                    sender=text.to,
                    to=text.sender,
                    message=message.reply,
                    media_urls=(),
                    group=(),
                    user_data=None,
                    older=text.older,
                )
            )
