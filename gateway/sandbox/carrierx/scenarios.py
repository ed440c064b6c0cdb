"""What becomes of a message: the flows that CarrierX documents, and the numbers that choose one by their ending."""

from __future__ import annotations

from dataclasses import dataclass

DELIVERED = ("queued", "sent", "delivered")
UNDELIVERED = ("queued", "sent", "undelivered")
TIMED_OUT = ("queued", "sent", "timed_out")
SENDING_TIMED_OUT = ("queued", "sending_timed_out", "sending_failed")
INTERNAL_ERROR = ("queued", "internal_error", "sending_failed")
FAILED = ("queued", "failed")
FLOWS = (DELIVERED, UNDELIVERED, TIMED_OUT, SENDING_TIMED_OUT, INTERNAL_ERROR, FAILED)

BEFORE = ("conflict", "too_many", "error_before", "lost_before")
"""Answers to a request that had no effect: 409, 429, 500, and none at all."""
AFTER = ("error_after", "lost_after", "broken_json", "slow")
"""Answers to a request that had its effect: 500, none at all, a 200 that nobody can read, and one that takes long."""
TIMES = 2
"""Requests for one message that a number refuses which takes it in the end."""
ALWAYS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Magic:
    """What a handset's number stands for."""

    ending: str
    says: str
    """For people: what happens to a message sent there."""
    flow: tuple[str, ...] = DELIVERED
    answer: str = ""
    """One of `BEFORE` or `AFTER`, ``refused``; empty: 200."""
    times: int = ALWAYS
    """So many requests for one message get that answer, then 200."""
    silent: bool = False
    """No updates are posted."""
    manner: str = ""
    """How the updates come: ``duplicate``, ``late``, ``out_of_order``, ``early``."""
    reply: str = ""
    """The text that the handset sends back when it has got one."""


MAGIC = (
    Magic(ending="0001", says="queued, sent, delivered"),
    Magic(ending="0002", says="queued, sent, undelivered", flow=UNDELIVERED),
    Magic(ending="0003", says="queued, sent, timed_out", flow=TIMED_OUT),
    Magic(ending="0004", says="queued, sending_timed_out, sending_failed", flow=SENDING_TIMED_OUT),
    Magic(ending="0005", says="queued, internal_error, sending_failed", flow=INTERNAL_ERROR),
    Magic(ending="0006", says="queued, failed", flow=FAILED),
    Magic(ending="0007", says="refused with 400", answer="refused"),
    Magic(ending="0008", says="409 twice, then delivered", answer="conflict", times=TIMES),
    Magic(ending="0009", says="429 with Retry-After twice, then delivered", answer="too_many", times=TIMES),
    Magic(ending="0010", says="500 twice without accepting, then delivered", answer="error_before", times=TIMES),
    Magic(ending="0011", says="accepted and delivered, but the answer is 500", answer="error_after"),
    Magic(ending="0012", says="accepted and delivered, but the answer is lost", answer="lost_after"),
    Magic(ending="0013", says="connection cut without accepting, once, then delivered", answer="lost_before", times=1),
    Magic(ending="0014", says="delivered, but no update is ever posted: only GET tells", silent=True),
    Magic(ending="0015", says="accepted and delivered, but the answer is 200 with broken JSON", answer="broken_json"),
    Magic(ending="0016", says="delivered; the handset replies STOP", reply="STOP"),
    Magic(ending="0017", says="delivered; the handset replies START", reply="START"),
    Magic(ending="0018", says="delivered; the handset replies HELP", reply="HELP"),
    Magic(ending="0019", says="delivered; the updates come before the answer", manner="early"),
    Magic(ending="0020", says="delivered; each update comes twice", manner="duplicate"),
    Magic(ending="0021", says="delivered; the updates come out of order", manner="out_of_order"),
    Magic(ending="0022", says="delivered; the updates come late", manner="late"),
    Magic(ending="0023", says="delivered, but the answer takes long", answer="slow"),
)
_PLAIN = Magic(ending="", says="queued, sent, delivered")
_BY_ENDING = {one.ending: one for one in MAGIC}


def magic(phone: str) -> Magic:
    """By the last four digits; every other number gets what it is sent."""
    return _BY_ENDING.get(phone[-4:], _PLAIN)


def table() -> str:
    """The magic numbers for people, a line each."""
    return "\n".join(f"  …{one.ending}  {one.says}" for one in MAGIC)
