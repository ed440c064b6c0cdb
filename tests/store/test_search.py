"""What people look at, on both databases."""

from __future__ import annotations

from functools import partial

import pytest

from gateway.store import Store, leases, replay, search
from schemas.message import CannotSay
from tests.store_samples import BODY, EVENT, NOW, add, claim, letter, owe, settle


def search_ids(store: Store, **fields: object) -> list[int]:
    with store.reader() as conn:
        page = search.search_events(conn, search.EventSearch(**fields))  # type: ignore[arg-type]
    return [found.event.id for found in page.found]


def overview(store: Store, since: float = 0.0, *configured: str) -> search.Overview:
    with store.reader() as conn:
        return search.overview(conn, since, configured)


def test_events_are_found_by_what_people_know_of_them(store: Store) -> None:
    plain = add(store)
    odd = add(
        store,
        source="legacy-status",
        state="stale",
        received_at=NOW + 10,
        phone="15550000000",
        number="12345",
        keyword="STOP",
        message_sid="another",
        ticket="T-1",
        custom_ticket="C-1",
    )
    for field in ("phone", "number", "keyword", "message_sid", "state", "source"):
        assert search_ids(store, **{field: getattr(EVENT, field)}) == [plain]
    for fields in ({"ticket": "T-1"}, {"ticket": "C-1"}, {"state": "stale"}, {"since": NOW + 10}, {"keyword": "STOP"}):
        assert search_ids(store, **fields) == [odd]
    assert search_ids(store, until=NOW + 10) == [plain]
    assert search_ids(store) == [odd, plain]
    assert search_ids(store, phone=EVENT.phone, ticket="T-1") == []
    assert search_ids(store, phone="no\0ne\ud800", state="no\0ne", source="no\0ne") == []


def test_the_newest_come_first_page_by_page(store: Store) -> None:
    made = [add(store, received_at=NOW + turn // 2) for turn in range(5)]
    with store.reader() as conn:
        first = search.search_events(conn, search.EventSearch(), limit=2)
        second = search.search_events(conn, search.EventSearch(), limit=2, offset=2)
        third = search.search_events(conn, search.EventSearch(), limit=2, offset=4)
    pages = [[found.event.id for found in page.found] for page in (first, second, third)]
    assert pages == [[made[4], made[3]], [made[2], made[1]], [made[0]]]
    assert [page.more for page in (first, second, third)] == [True, True, False]


@pytest.mark.parametrize(("limit", "offset"), [(0, 0), (-1, -1), (10**30, 0)])
def test_pages_beyond_reason_are_no_error(store: Store, limit: int, offset: int) -> None:
    kept = add(store)
    with store.reader() as conn:
        page = search.search_events(conn, search.EventSearch(), limit=limit, offset=offset)
        assert [found.event.id for found in page.found] == [kept]
        assert search.search_events(conn, search.EventSearch(), offset=10**30).found == ()
        assert search.settled_deliveries(conn, "dead", limit=limit, offset=10**30) == []


def test_a_list_shows_the_beginning_of_a_body_and_what_became_of_its_deliveries(store: Store) -> None:
    owe(store, letter("a"), letter("b"), letter("c"))
    first, second, _third = claim(store)
    settle(store, first)
    settle(store, second, "dead")
    large = add(store, body=b"x" * 100_000, received_at=NOW + 1)
    with store.reader() as conn:
        page = search.search_events(conn, search.EventSearch())
        assert [len(found.event.body) for found in page.found] == [search.PREVIEW_BYTES, len(EVENT.body)]
        assert [dict(found.deliveries) for found in page.found] == [{}, {"succeeded": 1, "dead": 1, "pending": 1}]
        whole = search.load_event(conn, large)
    assert whole is not None
    assert len(whole.event.body) == 100_000


def test_one_event_whole(store: Store) -> None:
    delivery_id, _other = owe(store, letter("a"), letter("b", "signup", CannotSay("It has no form.")))
    [claimed] = claim(store)
    settle(store, claimed, "again", due=NOW + 5)
    with store.reader() as conn:
        whole = search.load_event(conn, claimed.event_id)
    assert whole is not None
    first, second = whole.deliveries
    assert (first.delivery_id, first.endpoint, first.state, first.queue_position) == (
        delivery_id,
        "crm",
        "pending",
        "head",
    )
    assert (first.body, first.headers, first.notes) == (BODY.data, BODY.headers, BODY.notes)
    assert [(attempt.outcome, attempt.sentence) for attempt in first.attempts] == [("again", "It answered 500.")]
    assert (second.endpoint, second.state, second.last_error) == ("signup", "dead", "It has no form.")


@pytest.mark.parametrize("event_id", [0, -1, 1, 2**63, 10**30])
def test_an_event_that_is_not_there(store: Store, event_id: int) -> None:
    with store.reader() as conn:
        assert search.load_event(conn, event_id) is None
        assert search.load_delivery(conn, "not\0there") is None


def test_the_dead_letters_last_first_without_bodies(store: Store) -> None:
    owe(store, letter("a"), letter("b"), letter("c", "signup"))
    first, second = claim(store)
    [third] = claim(store, "signup")
    for turn, each in enumerate((third, second, first)):
        settle(store, each, "dead", now=NOW + turn)
    with store.reader() as conn:
        everything = search.settled_deliveries(conn, "dead")
        assert [each.id for each in everything] == [first.id, second.id, third.id]
        assert {each.body for each in everything} == {b""}
        assert [each.id for each in search.settled_deliveries(conn, "dead", "crm", limit=1, offset=1)] == [second.id]
        assert search.settled_deliveries(conn, "succeeded") == []


def test_the_overview_of_nothing(store: Store) -> None:
    seen = overview(store, 0.0, "crm")
    assert (seen.events, seen.owed, seen.dead, seen.oldest) == ({"accepted": 0}, 0, 0, None)
    assert seen.endpoints == (search.EndpointState(endpoint="crm"),)


def test_the_overview_counts_what_came_in_since(store: Store) -> None:
    for state, at in (("accepted", 1), ("accepted", 5), ("duplicate", 5), ("refused", 6), ("refused", 2)):
        add(store, state=state, received_at=NOW + at)
    assert overview(store, NOW + 5).events == {"accepted": 1, "duplicate": 1, "refused": 1}
    assert overview(store, NOW).events == {"accepted": 2, "duplicate": 1, "refused": 2}


def test_the_overview_says_how_each_endpoint_fares(store: Store) -> None:
    owe(store, letter("crm|1"), letter("crm|1"), letter("crm|2"), now=NOW)
    owe(store, letter("crm|3"), letter("gone|1", "gone"), now=NOW + 1)
    first, second, third = claim(store, now=NOW + 2)
    settle(store, second, "dead", now=NOW + 3)
    settle(store, third, "again", due=NOW + 60, now=NOW + 4)
    settle(store, first, now=NOW + 5)
    seen = overview(store, NOW, "crm", "idle")
    assert [each.endpoint for each in seen.endpoints] == ["crm", "gone", "idle"]
    crm, gone, _idle = seen.endpoints
    assert (crm.pending, crm.oldest, crm.dead) == (2, NOW, 1)
    assert (crm.last_latency, crm.last_error) == (12.5, "It answered 500.")
    assert crm.last_error_at in (NOW + 3, NOW + 4)
    assert (gone.pending, gone.oldest, gone.last_at, gone.last_error) == (1, NOW + 1, None, None)
    assert (seen.owed, seen.dead, seen.oldest) == (3, 1, NOW)


def test_the_ledger_balances_after_a_replay(store: Store) -> None:
    owe(store, letter("a"), letter("b"))
    for each in claim(store):
        settle(store, each, "dead")
    assert (overview(store).owed, overview(store).dead) == (0, 2)
    replay.replay_all(store, replay.ReplayFilter(), NOW, 0.0)
    assert (overview(store).owed, overview(store).dead) == (2, 0)
    work = partial(leases.release_unattempted, owner="worker", claimed=claim(store), due=NOW)
    assert store.writer.write(work) == 2
    assert (overview(store).owed, overview(store).dead) == (2, 0)
