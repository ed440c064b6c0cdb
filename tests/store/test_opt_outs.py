"""Who wants no more texts, on both databases."""

from __future__ import annotations

from functools import partial

from gateway.store import Store, opt_outs
from gateway.store.opt_outs import OptOut
from tests.store_samples import NOW


def note(store: Store, number: str, phone: str, word: str = "STOP", at: float = NOW, *, out: bool = True) -> bool:
    return store.writer.write(partial(opt_outs.record_opt_out, number=number, phone=phone, word=word, at=at, out=out))


def test_nobody_is_out_who_has_not_said_so(store: Store) -> None:
    with store.reader() as conn:
        assert opt_outs.opt_out_of(conn, "1", "2") is None
        assert not opt_outs.has_opted_out(conn, "1", "2")


def test_out_and_back(store: Store) -> None:
    assert note(store, "1", "2")
    with store.reader() as conn:
        assert opt_outs.opt_out_of(conn, "1", "2") == OptOut("1", "2", True, "STOP", NOW)
        assert opt_outs.has_opted_out(conn, "1", "2")
        assert not opt_outs.has_opted_out(conn, "1", "3") and not opt_outs.has_opted_out(conn, "3", "2"), (
            "of this pair alone"
        )
    assert note(store, "1", "2", "START", NOW + 1, out=False)
    with store.reader() as conn:
        assert opt_outs.opt_out_of(conn, "1", "2") == OptOut("1", "2", False, "START", NOW + 1)
        assert not opt_outs.has_opted_out(conn, "1", "2")


def test_the_last_word_counts_whichever_is_told_first(store: Store) -> None:
    note(store, "1", "2", "START", NOW + 1, out=False)
    assert not note(store, "1", "2", "STOP", NOW)
    with store.reader() as conn:
        assert not opt_outs.has_opted_out(conn, "1", "2")
    assert note(store, "1", "2", "STOP", NOW + 1), "said at the same time: the one told last"
    with store.reader() as conn:
        assert opt_outs.has_opted_out(conn, "1", "2")


def test_a_page_goes_on_where_the_last_one_ended(store: Store) -> None:
    pairs = [(number, phone) for number in ("1", "2", "3") for phone in ("10", "11", "12")]
    for number, phone in reversed(pairs):
        note(store, number, phone)
    found: list[tuple[str, str]] = []
    with store.reader() as conn:
        while page := opt_outs.opt_outs_after(conn, found[-1] if found else ("", ""), 2):
            found += [(one.number, one.phone) for one in page]
    assert found == pairs


def test_by_phone_by_number_and_how_many(store: Store) -> None:
    for number, phone in (("1", "10"), ("2", "10"), ("2", "11"), ("2", "12"), ("3", "12")):
        note(store, number, phone)
    note(store, "3", "12", "START", NOW + 1, out=False)
    with store.reader() as conn:
        assert [(one.number, one.out) for one in opt_outs.of_phone(conn, "12")] == [("2", True), ("3", False)]
        assert opt_outs.of_phone(conn, "99") == []
        assert [one.phone for one in opt_outs.of_number(conn, "2")] == ["10", "11", "12"]
        assert [one.phone for one in opt_outs.of_number(conn, "2", "10", 1)] == ["11"]
        assert opt_outs.count(conn) == 4


def test_no_table_no_search(store: Store) -> None:
    with store.reader() as conn:
        assert opt_outs.of_phone(conn, "1") == opt_outs.of_number(conn, "1") == opt_outs.opt_outs_after(conn) == []
        assert opt_outs.count(conn) == 0
