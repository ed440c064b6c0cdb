"""The flows of statuses that CarrierX documents, and the handset numbers that choose one of them. Pure."""

from __future__ import annotations

from dataclasses import dataclass

DELIVERED = ("queued", "sent", "delivered")
UNDELIVERED = ("queued", "sent", "undelivered")
TIMED_OUT = ("queued", "sent", "timed_out")
SENDING_TIMED_OUT = ("queued", "sending_timed_out", "sending_failed")
INTERNAL_ERROR = ("queued", "internal_error", "sending_failed")
FAILED = ("queued", "failed")
FLOWS = (DELIVERED, UNDELIVERED, TIMED_OUT, SENDING_TIMED_OUT, INTERNAL_ERROR, FAILED)

FAULTS_BEFORE = ("conflict", "too_many", "error_before", "lost_before")
"""Answers to a request that is not accepted: 409, 429, 500, and none at all."""
FAULTS_AFTER = ("error_after", "lost_after", "broken_json", "slow")
"""Answers to a request that is accepted: 500, none at all, a 200 with JSON that nobody can parse, and a late one."""
TWICE = 2
ALWAYS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The course of a message to a handset whose number has this ending."""

    ending: str
    summary: str
    """For people."""
    flow: tuple[str, ...] = DELIVERED
    answer: str = ""
    """One of `FAULTS_BEFORE` or `FAULTS_AFTER`, or ``refused``; empty: 200."""
    times: int = ALWAYS
    """This many requests for one message get that answer; the next one gets 200."""
    silent: bool = False
    """No updates are posted."""
    update_fault: str = ""
    """``duplicate``, ``late``, ``out_of_order`` or ``early``: all updates come like this."""
    reply: str = ""
    """The text that the handset sends back once it has got the message."""


SCENARIOS = (
    Scenario(ending="0001", summary="queued, sent, delivered"),
    Scenario(ending="0002", summary="queued, sent, undelivered", flow=UNDELIVERED),
    Scenario(ending="0003", summary="queued, sent, timed_out", flow=TIMED_OUT),
    Scenario(ending="0004", summary="queued, sending_timed_out, sending_failed", flow=SENDING_TIMED_OUT),
    Scenario(ending="0005", summary="queued, internal_error, sending_failed", flow=INTERNAL_ERROR),
    Scenario(ending="0006", summary="queued, failed", flow=FAILED),
    Scenario(ending="0007", summary="refused with 400", answer="refused"),
    Scenario(ending="0008", summary="409 twice, then delivered", answer="conflict", times=TWICE),
    Scenario(ending="0009", summary="429 with Retry-After twice, then delivered", answer="too_many", times=TWICE),
    Scenario(ending="0010", summary="500 twice, not accepted; then delivered", answer="error_before", times=TWICE),
    Scenario(ending="0011", summary="accepted and delivered, but the answer is 500", answer="error_after"),
    Scenario(ending="0012", summary="accepted and delivered, but the answer is lost", answer="lost_after"),
    Scenario(ending="0013", summary="connection cut once, not accepted; then delivered", answer="lost_before", times=1),
    Scenario(ending="0014", summary="delivered, but no update is ever posted: only GET shows it", silent=True),
    Scenario(ending="0015", summary="accepted and delivered, but the answer has broken JSON", answer="broken_json"),
    Scenario(ending="0016", summary="delivered; the handset replies STOP", reply="STOP"),
    Scenario(ending="0017", summary="delivered; the handset replies START", reply="START"),
    Scenario(ending="0018", summary="delivered; the handset replies HELP", reply="HELP"),
    Scenario(ending="0019", summary="delivered; the updates come before the answer", update_fault="early"),
    Scenario(ending="0020", summary="delivered; each update comes twice", update_fault="duplicate"),
    Scenario(ending="0021", summary="delivered; the updates come out of order", update_fault="out_of_order"),
    Scenario(ending="0022", summary="delivered; the updates come late", update_fault="late"),
    Scenario(ending="0023", summary="delivered, but the answer takes long", answer="slow"),
)
_DEFAULT = Scenario(ending="", summary="queued, sent, delivered")
_BY_ENDING = {scenario.ending: scenario for scenario in SCENARIOS}


def scenario_for(phone: str) -> Scenario:
    """The scenario of a handset, by the last four digits of its number; every other number gets what it is sent."""
    return _BY_ENDING.get(phone[-4:], _DEFAULT)


def scenario_table() -> str:
    """All scenarios for people, a line each."""
    return "\n".join(f"  …{scenario.ending}  {scenario.summary}" for scenario in SCENARIOS)
