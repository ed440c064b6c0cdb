"""Who is looked at next, and for how many: without store and network."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.config import Endpoint
from gateway.delivery.circuit_breaker import IN_A_ROW, WAITS
from gateway.delivery.result import Attempt, Judge
from gateway.delivery.scheduler import MOST_CLAIMS, MOST_LOOKS, Scheduler, shown
from gateway.safe_http.models import Request, Response
from gateway.store.leases import ClaimedDelivery, ClaimLimit

NOW = 1_800_000_000.0
MIDDLE = 0.5
OK, FAILED = Response(status=200, body=b"ok"), Response(status=500)


def endpoints(*names: str, concurrency: int = 8) -> dict[str, Endpoint]:
    return {name: Endpoint(name=name, url="http://a.test/", concurrency=concurrency) for name in names}


def claimed(endpoint: str, count: int = 1, tries: int = 1) -> list[ClaimedDelivery]:
    return [
        ClaimedDelivery(
            id=nth,
            delivery_id=str(nth),
            event_id=1,
            endpoint=endpoint,
            wire_format="legacy-callback",
            ordering_key=str(nth),
            number=tries,
            attempts_since_replay=tries,
            content_type="text/plain",
            headers=(),
            body=b"",
            created_at=NOW,
        )
        for nth in range(count)
    ]


def begin(dispatch: Scheduler, configured: dict[str, Endpoint], ones: Sequence[ClaimedDelivery]) -> list[Attempt]:
    request = Request(url="http://a.test/", body=b"")
    return [Attempt(one, configured[one.endpoint], request, 0.0, dispatch.begins(one)) for one in ones]


def end(dispatch: Scheduler, attempt: Attempt, answer: Response = OK, now: float = NOW) -> None:
    attempt.seconds = 0.1
    dispatch.ended(attempt, Judge().judge(attempt, answer, now, MIDDLE), now, MIDDLE)


def test_who_rang_is_looked_at_once() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    dispatch.agenda.look("crm")
    rooms = dispatch.plan(crm.get, NOW)
    assert rooms == {"crm": ClaimLimit(8, 2)} and dispatch.plan(crm.get, NOW) == {}
    dispatch.claimed(rooms, [])
    assert dispatch.plan(crm.get, NOW) == {}, "there was nothing"


def test_a_ring_while_the_store_has_the_round_is_heard() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    dispatch.agenda.look("crm")
    rooms = dispatch.plan(crm.get, NOW)
    dispatch.agenda.look("crm")
    dispatch.claimed(rooms, [])
    assert dispatch.plan(crm.get, NOW)


def test_a_round_that_came_to_nothing_is_repeated() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    dispatch.agenda.look("crm")
    dispatch.not_claimed(dispatch.plan(crm.get, NOW))
    assert dispatch.plan(crm.get, NOW)


def test_who_took_all_is_looked_at_again_when_there_is_room() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    dispatch.agenda.look("crm")
    rooms = dispatch.plan(crm.get, NOW)
    ones = claimed("crm", 8)
    dispatch.claimed(rooms, ones)
    attempts = begin(dispatch, crm, ones)
    assert dispatch.plan(crm.get, NOW) == {} and dispatch.agenda.next(NOW) is None
    end(dispatch, attempts[0])
    assert dispatch.plan(crm.get, NOW) == {"crm": ClaimLimit(1, 0)}


def test_repetitions_that_fill_their_places_are_no_reason_to_look_all_the_time() -> None:
    dispatch, crm = Scheduler(), endpoints("crm", concurrency=2)
    dispatch.agenda.look("crm")
    rooms = dispatch.plan(crm.get, NOW)
    assert rooms == {"crm": ClaimLimit(2, 1)}
    ones = claimed("crm", 1, tries=2)
    dispatch.claimed(rooms, ones)
    (attempt,) = begin(dispatch, crm, ones)
    assert dispatch.plan(crm.get, NOW) == {} and dispatch.agenda.next(NOW) is None
    dispatch.agenda.look("crm")
    rooms = dispatch.plan(crm.get, NOW)
    assert rooms == {"crm": ClaimLimit(1, 1)}
    dispatch.claimed(rooms, [])
    assert dispatch.plan(crm.get, NOW) == {} and dispatch.agenda.next(NOW) is None
    end(dispatch, attempt)
    assert dispatch.plan(crm.get, NOW) == {"crm": ClaimLimit(2, 1)}


def test_one_that_is_not_configured_is_passed_over() -> None:
    dispatch = Scheduler()
    dispatch.agenda.look("gone")
    assert dispatch.plan({}.get, NOW) == {} and dispatch.agenda.next(NOW) is None


def test_a_failed_delivery_is_looked_for_when_it_is_due() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    (attempt,) = begin(dispatch, crm, claimed("crm"))
    end(dispatch, attempt, FAILED)
    dispatch.claimed(dispatch.plan(crm.get, NOW), [])
    assert dispatch.plan(crm.get, NOW + 4.9) == {} and dispatch.agenda.next(NOW) == 5.0
    assert dispatch.plan(crm.get, NOW + 5)


def test_one_that_was_put_off_is_looked_for_when_it_is_due() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    (attempt,) = begin(dispatch, crm, claimed("crm"))
    dispatch.put_off(attempt, NOW + 5)
    dispatch.claimed(dispatch.plan(crm.get, NOW), [])
    assert dispatch.plan(crm.get, NOW + 4.9) == {} and dispatch.agenda.next(NOW) == 5.0
    assert dispatch.plan(crm.get, NOW + 5)


def test_an_open_breaker_is_looked_at_when_it_lets_one_through() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    for attempt in begin(dispatch, crm, claimed("crm", IN_A_ROW)):
        end(dispatch, attempt, FAILED)
    dispatch.agenda.look("crm")
    assert dispatch.plan(crm.get, NOW) == {} and dispatch.agenda.next(NOW) == WAITS[0]
    assert dispatch.plan(crm.get, NOW + WAITS[0]) == {"crm": ClaimLimit(1, 0)}
    ((name, breaker),) = dispatch.breakers.changes()
    assert shown(name, breaker).state == "half_open" and "500" in shown(name, breaker).reason


def test_a_pause_that_one_asks_for_is_everybodys_at_that_endpoint() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    (attempt,) = begin(dispatch, crm, claimed("crm"))
    end(dispatch, attempt, Response(status=503, headers=(("Retry-After", "120"),)))
    dispatch.agenda.look("crm")
    assert dispatch.plan(crm.get, NOW + 119) == {}
    assert dispatch.plan(crm.get, NOW + 150) == {"crm": ClaimLimit(1, 0)}


def test_a_transaction_is_bounded() -> None:
    dispatch, many = Scheduler(most=10_000), endpoints(*map(str, range(200)))
    for name in many:
        dispatch.agenda.look(name)
    seen: list[str] = []
    while rooms := dispatch.plan(many.get, NOW):
        assert len(rooms) <= MOST_LOOKS and sum(room.all for room in rooms.values()) <= MOST_CLAIMS + 8
        seen += rooms
    assert seen == list(many)


def test_there_is_an_end_to_all_together() -> None:
    dispatch, many = Scheduler(most=16), endpoints(*"abcd")
    for name in many:
        dispatch.agenda.look(name)
    flying: list[Attempt] = []
    while rooms := dispatch.plan(many.get, NOW):
        ones = [one for name, room in rooms.items() for one in claimed(name, room.all)]
        dispatch.claimed(rooms, ones)
        flying += begin(dispatch, many, ones)
    assert len(flying) == 8, "half of it, for none of them has shown to be quick"
    assert dispatch.agenda.next(NOW) is None, "nothing to do before one ends"
    end(dispatch, flying.pop())
    rooms = dispatch.plan(many.get, NOW)
    assert rooms and sum(room.all for room in rooms.values()) <= 16 - len(flying)


def test_hanging_makes_slow_and_a_clock_that_was_set_forgets() -> None:
    dispatch, crm = Scheduler(), endpoints("crm")
    attempts = begin(dispatch, crm, claimed("crm", 2))
    end(dispatch, attempts.pop())
    assert dispatch.rooms.of("crm").quick
    dispatch.hang(attempts, 1.0)
    assert dispatch.rooms.of("crm").quick
    dispatch.hang(attempts, 3.0)
    assert not dispatch.rooms.of("crm").quick
    dispatch.agenda.looked("crm")
    dispatch.agenda.look_at("crm", NOW + 5)
    dispatch.clock_was_set(-3600)
    assert dispatch.agenda.next(NOW) is None
