"""Slots: never more than the limit of now, first come first served, left by those who give up."""

import threading
from collections.abc import Callable

from sf_mcp.git.fair_slots import FairSlots, Turn

BOUND_SECONDS = 20.0


def waiting(turn: Turn, then: Callable[[], object], cancel: threading.Event) -> threading.Thread:
    """Wait for the turn in a thread, do something, and leave."""

    def wait() -> None:
        with turn:
            if turn.wait(cancel):
                then()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def joined(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(BOUND_SECONDS)
        assert not thread.is_alive()


def test_who_came_first_is_served_first_however_the_threads_run() -> None:
    slots, served, cancel = FairSlots(lambda: 1), list[int](), threading.Event()
    turns = [slots.line_up() for _ in range(8)]
    # The last in the line is the first to wait.
    threads = [
        waiting(turn, lambda number=number: served.append(number), cancel)
        for number, turn in reversed(list(enumerate(turns)))
    ]
    joined(threads)
    assert served == list(range(8))


def test_no_more_than_the_limit_run_at_once() -> None:
    slots, cancel, lock = FairSlots(lambda: 3), threading.Event(), threading.Lock()
    running, seen = set[int](), list[int]()
    meet = threading.Barrier(3)

    def work() -> None:
        with lock:
            running.add(threading.get_ident())
            seen.append(len(running))
        meet.wait(BOUND_SECONDS)  # three at a time, no fewer
        with lock:
            running.remove(threading.get_ident())
        meet.wait(BOUND_SECONDS)

    joined([waiting(slots.line_up(), work, cancel) for _ in range(12)])
    assert max(seen) == 3
    assert len(seen) == 12


def test_a_limit_that_rises_is_followed_by_those_who_wait() -> None:
    limit, went = [1], threading.Event()
    slots = FairSlots(lambda: limit[0])
    with slots.line_up() as first:
        assert first.wait()
        second = waiting(slots.line_up(), went.set, threading.Event())
        limit[0] = 2
        assert went.wait(BOUND_SECONDS)
    joined([second])


def test_who_is_cancelled_stands_in_nobodys_way() -> None:
    slots, went, cancel = FairSlots(lambda: 1), list[str](), threading.Event()
    with slots.line_up() as first:
        assert first.wait()
        given_up = waiting(slots.line_up(), lambda: went.append("given up"), cancel)
        patient = waiting(slots.line_up(), lambda: went.append("patient"), threading.Event())
        cancel.set()
        joined([given_up])
    joined([patient])
    assert went == ["patient"]


def test_a_turn_that_nobody_waits_for_is_left_too() -> None:
    slots = FairSlots(lambda: 1)
    with slots.line_up():
        pass
    with slots.line_up() as turn:
        assert turn.wait()
