"""The stand-in itself, without HTTP: its account and messages, the faults that it plans, and the callbacks it posts."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import requests

from gateway.sandbox.carrierx.faults import (
    FAILED,
    Misbehaviour,
    PlannedFaults,
    Scenario,
    plan_faults,
    plan_read_faults,
    scenario_for,
)
from gateway.sandbox.carrierx.model import MAX_MESSAGES, Account, MessageList, PendingCallback, SendRequest, StubMessage

SHAPES = ("asked", "older", "newer")
INBOUND = Scenario(ending="", summary="received", flow=("received",))
MAX_REFUSED = 50_000  # requests that were not accepted, for which it is known how often they came
CALLBACK_THREADS = 8
CALLBACK_TIMEOUT_SECONDS = 20.0
FIRST_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.25, 4.0
"""From one post of a callback that was not answered 2xx to the next; doubled each time."""
TRY_LATER = frozenset({408, 425, 429})


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """The settings of a stand-in."""

    token: str = field(default="sandbox", repr=False)
    """The Bearer token. Where this and `login` are empty, no credentials are needed."""
    login: str = ""
    password: str = field(default="", repr=False)  # the user name and password for Basic
    numbers: Sequence[str] = ()  # the account's DIDs; without any, every number is one
    callback: str = field(default="", repr=False)  # the partner's callback URL; may hold a key
    misbehaviour: Misbehaviour = Misbehaviour()
    pace: float = 0.1  # seconds between two statuses of a message
    attempts: int = 8  # how often a callback is posted at most. The vendor documents nothing: 1 is the worst case
    shape: str = "asked"  # the names in Message objects: ``older``, ``newer``, or ``asked``: those of the request
    newest_first: bool = True  # the order of lists
    kept: int = MAX_MESSAGES  # messages; the oldest are forgotten


class Engine:
    """Everything that a stand-in knows and does. Thread-safe."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.misbehaviour = setup, setup.misbehaviour
        self.account = Account(setup.numbers, setup.callback)
        self.messages = MessageList(setup.kept)
        self.poster = CallbackPoster(self)
        self._lock = threading.Lock()
        self._refusals: OrderedDict[bytes, int] = OrderedDict()
        self._forced: deque[str] = deque()
        self._read_random = random.Random(setup.misbehaviour.seed)  # noqa: S311

    def force(self, answers: Sequence[str]) -> None:
        """Answers the next requests like this, whatever they ask."""
        with self._lock:
            self._forced.extend(answers)

    def calm(self) -> None:
        """Forces no answers any more, and ends all faults."""
        with self._lock:
            self._forced.clear()
        self.misbehaviour = Misbehaviour()

    def plan_send(self, request: SendRequest, body: bytes) -> PlannedFaults:
        """Plans faults by the seed, the text, its recipient and how often it was refused, whatever else is sent."""
        if forced := self._next_forced():
            return PlannedFaults(answer=forced)
        with self._lock:
            refusals = self._refusals.pop(body, 0)
            seed = f"{self.misbehaviour.seed} {request.to} {request.message} {refusals}"
            chance = random.Random(seed).random  # noqa: S311
            faults = plan_faults(self.misbehaviour, scenario_for(request.to), refusals, chance)
            if not faults.accepts:
                self._refusals[body] = refusals + 1
            while len(self._refusals) > MAX_REFUSED:
                self._refusals.popitem(last=False)
            return faults

    def plan_read(self) -> PlannedFaults:
        forced = self._next_forced()
        return PlannedFaults(answer=forced) if forced else plan_read_faults(self.misbehaviour, self._read_random.random)

    def _next_forced(self) -> str:
        with self._lock:
            return self._forced.popleft() if self._forced else ""

    def accept(self, request: SendRequest, faults: PlannedFaults) -> StubMessage:
        """Keeps a message. Its statuses come once it is given to `poster.start`."""
        scenario = scenario_for(request.to)
        if request.is_too_large:
            scenario = replace(scenario, flow=FAILED)
        return self._add(request, "outbound", scenario, faults)

    def receive(self, request: SendRequest) -> StubMessage:
        """Keeps a text from a handset to one of the account's numbers, and posts its callback at once."""
        message = self._add(request, "inbound", INBOUND, PlannedFaults())
        self.poster.start(message)
        return message

    def _add(self, request: SendRequest, direction: str, scenario: Scenario, faults: PlannedFaults) -> StubMessage:
        if self.setup.shape != "asked":
            request = replace(request, older=self.setup.shape == "older")
        message = StubMessage(request=request, direction=direction, scenario=scenario, faults=faults)
        self.poster.announce()
        self.messages.add(message)
        return message


Work = Callable[[requests.Session], None]


class CallbackPoster:
    """Posts callbacks when they are due, on a few threads, each with one connection that it keeps.
    A message gets its statuses by the clock, whether or not its callbacks arrive. Its callbacks are posted one after
    the other, each when the one before was taken or given up; only faults change that."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._due: list[tuple[float, int, Work]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._in_progress = self._announced = 0
        self._has_threads = self._is_closed = False
        self.counts = {"attempted": 0, "acknowledged": 0, "given_up": 0}  # posts, those taken, callbacks never taken

    def announce(self) -> None:
        """Counts a message as outstanding until it is started."""
        with self._changed:
            self._announced += 1

    def start(self, message: StubMessage) -> None:
        """Gives an announced message its first status, now."""
        self._schedule(0.0, lambda session: self._advance(message, session))
        with self._changed:
            self._announced -= 1

    @property
    def outstanding(self) -> int:
        """Messages and callbacks for which something is still to come."""
        with self._changed:
            return len(self._due) + self._in_progress + self._announced

    def close(self) -> None:
        """Posts nothing more. Does not wait for what is being posted."""
        with self._changed:
            self._is_closed = True
            self._due.clear()
            self._changed.notify_all()

    def _schedule(self, after: float, work: Work) -> None:
        with self._changed:
            if self._is_closed:
                return
            heapq.heappush(self._due, (time.monotonic() + after, next(self._count), work))
            if not self._has_threads:
                self._has_threads = True
                for number in range(CALLBACK_THREADS):
                    threading.Thread(target=self._run, name=f"callbacks-{number}", daemon=True).start()
            self._changed.notify()

    def _run(self) -> None:
        with requests.Session() as session:
            session.trust_env = False
            session.headers.update({"Content-Type": "application/json", "User-Agent": "CarrierX stand-in"})
            while (work := self._next_due()) is not None:
                try:
                    work(session)
                finally:
                    with self._changed:
                        self._in_progress -= 1

    def _next_due(self) -> Work | None:
        """Waits for the next work. None once closed."""
        with self._changed:
            while not self._is_closed:
                wait = self._due[0][0] - time.monotonic() if self._due else None
                if wait is not None and wait <= 0:
                    self._in_progress += 1
                    return heapq.heappop(self._due)[2]
                self._changed.wait(wait)
        return None

    # On one of the threads:

    def _advance(self, message: StubMessage, session: requests.Session) -> None:
        """Gives the message its next status. A callback that is to come out of order waits for the one behind it."""
        with message.lock:
            callback = message.advance(time.time())
            posts = [callback, replace(callback, faults=frozenset())] if "duplicate" in callback.faults else [callback]
            if "out_of_order" in callback.faults and not callback.last and not message.held:
                message.held = posts
            else:
                message.pending.extend((*posts, *message.held))
                message.held = []
        if not callback.last:
            self._schedule(self._engine.setup.pace, lambda session: self._advance(message, session))
        elif message.scenario.reply:
            sent, text = message.request, message.scenario.reply
            self._engine.receive(SendRequest(sender=sent.to, to=sent.sender, message=text, older=sent.older))
        self._post_next(message, session)

    def _post_next(self, message: StubMessage, session: requests.Session) -> None:
        """Posts the next callback of a message, unless one is being posted."""
        with message.lock:
            if message.is_posting or not message.pending:
                return
            callback, message.is_posting = message.pending.popleft(), True
        if "late" in callback.faults and not callback.attempts:
            late_by = self._engine.misbehaviour.late_by
            self._schedule(late_by, lambda session: self._post(message, callback, session))
        else:
            self._post(message, callback, session)

    def _post(self, message: StubMessage, callback: PendingCallback, session: requests.Session) -> None:
        setup, sent = self._engine.setup, message.request
        number = sent.to if message.direction == "inbound" else sent.sender
        url = None if message.scenario.silent else self._engine.account.callback_for(number)
        if url is not None:
            callback.attempts += 1
            taken, again = False, True
            with suppress(requests.RequestException):
                answer = session.post(url, callback.body, timeout=CALLBACK_TIMEOUT_SECONDS, allow_redirects=False)
                taken = answer.ok and answer.status_code < 300
                again = answer.status_code >= 500 or answer.status_code in TRY_LATER
            given_up = not taken and (not again or callback.attempts >= setup.attempts)
            with self._changed:
                self.counts["attempted"] += 1
                self.counts["acknowledged"] += taken
                self.counts["given_up"] += given_up
            with message.lock:
                message.given_up += given_up
                if taken:
                    message.acknowledged.append(callback.status)
            if again and not given_up:
                pause = min(MAX_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** (callback.attempts - 1))
                self._schedule(pause, lambda session: self._post(message, callback, session))
                return
        with message.lock:
            message.is_posting = False
            message.finished.add(callback.status)
            if len(message.finished) >= message.faults.early:
                message.early_posted.set()
        self._post_next(message, session)
