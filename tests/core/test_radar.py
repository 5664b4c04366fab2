"""The radar's rules: whose footprints meet, whose a conflict is, who lets others go first."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.models import Oid, TaskId
from sf_mcp.core.radar import (
    MOST_HELD,
    Clash,
    Footprint,
    Ground,
    Hunk,
    Said,
    Spot,
    first_to_start,
    folders_above,
    is_over,
    meeting,
    of_the_pair,
    starting_order,
)

NOON = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=3).map("/".join)


def footprint(*changed: str, added: tuple[str, ...] = (), gone: tuple[str, ...] = ()) -> Footprint:
    into = {folder for path in added for folder in folders_above(path)}
    return Footprint(frozenset({*changed, *added}), frozenset(gone), frozenset(into))


@pytest.mark.parametrize(
    ("one", "other", "is_met"),
    [
        (footprint("a"), footprint("a"), True),
        (footprint("a"), footprint("b"), False),
        (footprint(), footprint("a"), False),
        (footprint("x/a"), footprint("x/b"), False),
        (footprint(added=("x",)), footprint(added=("x/y",)), True),
        (footprint("x/a", gone=("x",)), footprint(added=("x/new",)), True),
        (footprint("x/y/a", gone=("x", "x/y")), footprint(added=("x/new",)), True),
        (footprint("x/a", gone=("x",)), footprint(added=("xx/new",)), False),
        (footprint("x/a", gone=("x",)), footprint("y/a", gone=("y",)), False),
    ],
)
def test_footprints_meet_where_a_merge_could_stop(
    one: Footprint, other: Footprint, is_met: bool
) -> None:
    assert one.meets(other) is other.meets(one) is is_met


def test_pairs_go_by_number_and_not_by_letter() -> None:
    spot = Spot(Oid("1"), footprint("a"), (Oid("0"),))
    assert meeting({"T10": spot, "T9": spot, "T1": Spot(Oid("2"), footprint("b"), ())}) == [
        ("T9", "T10")
    ]


def test_what_is_in_conflict_has_the_same_name_from_whichever_commits_it_comes() -> None:
    clash = Clash(("a",), (Said("CONFLICT (content): in a", ("a",)),), (Hunk("a", "1", "2"),))
    other_words = Clash(clash.paths, (Said("CONFLICT (content): at 123", ("a",)),), clash.hunks)
    assert clash.content == other_words.content
    assert clash.content != clash.turned().content
    assert clash.content != Clash(("a",), clash.said, (Hunk("a", "1", "3"),)).content
    assert clash.turned().turned() == clash


def test_of_two_that_left_at_different_times_what_the_target_conflicts_in_is_told_apart() -> None:
    old = Spot(Oid("1"), footprint("a", "b", "c"), (Oid("t1"),))
    new = Spot(Oid("2"), footprint("b", "c"), (Oid("t2"),))
    said = tuple(Said(f"in {path}", (path,)) for path in "abc")
    merged = Clash(("a", "b", "c"), said, (Hunk("a", "1", "2"), Hunk("b", "1", "2")))
    of_target = Clash(("a", "b"))
    told = of_the_pair(merged, (old, new), (of_target, None))
    assert told == Clash(("b", "c"), said[1:], merged.hunks[1:])
    assert of_the_pair(Clash(("a",)), (old, new), (of_target, None)) is None
    assert of_the_pair(Clash(("a",)), (old, old), (of_target, None)) == Clash(("a",))
    assert of_the_pair(None, (old, new), (None, None)) is None


# -- holding back ----------------------------------------------------------------------------------


@given(paths, paths)
def test_a_path_lies_on_work_at_it_below_it_and_above_it(declared: str, worked_on: str) -> None:
    a, b = declared.split("/"), worked_on.split("/")
    shorter = min(len(a), len(b))
    met = Ground({TaskId("T1"): [worked_on]}).met_by([declared + "/"])
    assert met == ((declared + "/", "T1") if a[:shorter] == b[:shorter] else None)


@given(st.lists(st.integers(), unique=True), st.sets(st.integers()))
def test_the_first_that_nothing_holds_back_starts_and_without_one_the_first(
    ready: list[int], held: set[int]
) -> None:
    chosen, passed = first_to_start(iter(ready), held.__contains__)
    free = [one for one in ready if one not in held]
    assert chosen == next(iter([*free, *ready]), None)
    assert passed == (ready[: ready.index(free[0])] if free else [])
    order = starting_order(ready, held.__contains__)
    assert sorted(order) == sorted(ready)
    assert order[:1] == ([] if chosen is None else [chosen])


@given(st.lists(st.integers(0, 20), max_size=30), st.integers(1, 5))
def test_nobody_is_held_back_for_longer_than_the_limit(arrivals: list[int], slot: int) -> None:
    """One task that live work holds back for ever, others that arrive, a start each `slot`."""
    waiting = sorted(arrivals)
    since: datetime | None = None
    for minute in range(0, 60, slot):
        now = NOON + timedelta(minutes=minute)
        others = [arrival for arrival in waiting if arrival <= minute]
        held = set[int]() if is_over(since, now) else {-1}
        chosen, passed = first_to_start([-1, *others], held.__contains__)
        if chosen == -1:
            assert since is None or now - since <= MOST_HELD + timedelta(minutes=slot)
            return
        assert passed == [-1]
        since = since or now
        assert chosen is not None
        waiting.remove(chosen)
    raise AssertionError("it never started")
