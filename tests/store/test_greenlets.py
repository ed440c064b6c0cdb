"""Errands: plain code that waits on an event loop's thread without standing in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from gateway.store.greenlets import MAX_SPARE_GREENLETS, GreenletPool, RequestGreenlet, current


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    made = asyncio.new_event_loop()
    yield made
    made.close()


def here() -> RequestGreenlet:
    errand = current()
    assert errand is not None
    return errand


def turn(loop: asyncio.AbstractEventLoop) -> None:
    loop.call_soon(loop.stop)
    loop.run_forever()


def test_nobody_is_on_an_errand_outside() -> None:
    assert current() is None


def test_one_that_waits_lets_others_go_on(loop: asyncio.AbstractEventLoop) -> None:
    errands, said, waiting = GreenletPool(loop), list[str](), list[RequestGreenlet]()

    def wait() -> None:
        waiting.append(here())
        said.append(f"got {here().wait()}")

    errands.run(wait)
    errands.run(lambda: said.append("other"))
    assert said == ["other"]
    waiting[0].switch("answer")
    assert said == ["other", "got answer"]
    assert current() is None


def test_many_wait_at_once_and_end_in_any_order(loop: asyncio.AbstractEventLoop) -> None:
    errands, said, waiting = GreenletPool(loop), list[int](), list[RequestGreenlet]()

    def wait(number: int) -> None:
        waiting.append(here())
        said.append(number * here().wait())

    for number in range(MAX_SPARE_GREENLETS + 50):
        errands.run(lambda number=number: wait(number))  # type: ignore[misc]
    for errand in reversed(waiting):
        errand.switch(10)
    assert said == [10 * number for number in reversed(range(MAX_SPARE_GREENLETS + 50))]


def test_they_are_used_again(loop: asyncio.AbstractEventLoop) -> None:
    errands, used = GreenletPool(loop), list[RequestGreenlet]()
    for _ in range(10):
        errands.run(lambda: used.append(here()))
    assert len(set(map(id, used))) == 1


def test_one_begun_by_another_waits_for_its_end(loop: asyncio.AbstractEventLoop) -> None:
    """Otherwise the first would be left lying wherever the second waits."""
    errands, said, waiting = GreenletPool(loop), list[str](), list[RequestGreenlet]()

    def second() -> None:
        waiting.append(here())
        here().wait()
        said.append("second")

    def first() -> None:
        errands.run(second)
        said.append("first")

    errands.run(first)
    assert said == ["first"] and not waiting
    turn(loop)
    waiting[0].switch()
    assert said == ["first", "second"]


def test_one_that_fails_spoils_none(loop: asyncio.AbstractEventLoop) -> None:
    errands, said = GreenletPool(loop), list[str]()

    def fail() -> None:
        raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        errands.run(fail)
    errands.run(lambda: said.append("well"))
    assert said == ["well"]
