"""What a resolved merge must account for: nothing of either side is dropped in silence."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.accounting import (
    LONG_LINE,
    Account,
    Decided,
    Dropped,
    File,
    Unaccounted,
    Versions,
    What,
    account,
    unaccounted_lines,
)

Lines = Sequence[str]

some_lines = st.lists(st.sampled_from(["a", "b", "c", "  a", "", "}", "d\r"]), max_size=8)
three_versions = st.tuples(some_lines, some_lines, some_lines)


def a_file(lines: Lines | None, *, mode: str = "100644") -> File | None:
    if lines is None:
        return None
    text = "".join(f"{line}\n" for line in lines)
    return File(mode=mode, oid=f"oid of {text!r}", text=text)


def a_path(
    base: Lines | None,
    mine: Lines | None,
    theirs: Lines | None,
    result: Lines | None,
    *,
    path: str = "a.py",
    merged: Lines | None = None,
    is_conflicting: bool = True,
) -> Versions:
    return Versions(
        path=path,
        is_conflicting=is_conflicting,
        base=a_file(base),
        mine=a_file(mine),
        theirs=a_file(theirs),
        merged=a_file(merged),
        result=a_file(result),
    )


def of(
    *files: Versions, dropped: Sequence[Dropped] = (), decided: Sequence[Decided] = ()
) -> Account:
    return account(files, dropped, decided)


def said(outcome: Account) -> list[str]:
    return [one.sentence("T1", "main") for one in outcome.unaccounted]


def because(*lines: str, path: str = "a.py", reason: str = "it is elsewhere") -> Dropped:
    return Dropped(path=path, lines=lines, reason=reason)


def both_sides(base: Lines, mine: Lines, theirs: Lines) -> list[str]:
    """Make the smallest result that has all that both sides did: a change made by both, once."""
    b, m, t = Counter(base), Counter(mine), Counter(theirs)
    result: list[str] = []
    for line in dict.fromkeys((*base, *mine, *theirs)):
        added = [(m - b)[line], (t - b)[line]]
        removed = [(b - m)[line], (b - t)[line]]
        count = b[line] + (max(added) if all(added) else sum(added)) - sum(removed)
        result += [line] * max(0, count)
    return result


# -- lines -----------------------------------------------------------------------------------------


@given(three_versions)
def test_all_of_both_sides_is_accounted_for(versions: tuple[Lines, Lines, Lines]) -> None:
    result = both_sides(*versions)
    assert said(of(a_path(*versions, result))) == []


@given(three_versions, st.data())
def test_a_result_that_drops_a_line_in_silence_is_refused(
    versions: tuple[Lines, Lines, Lines], data: st.DataObject
) -> None:
    result = both_sides(*versions)
    if not result:
        return
    lost = data.draw(st.integers(0, len(result) - 1))
    left = result[:lost] + result[lost + 1 :]
    (one,) = of(a_path(*versions, left)).unaccounted
    assert one.line == result[lost]
    assert one.what.value.endswith("missing from the result")


@given(three_versions, some_lines)
def test_whatever_the_result_is_a_line_of_one_side_alone_is_there_or_named(
    versions: tuple[Lines, Lines, Lines], result: Lines
) -> None:
    base, mine, theirs = versions
    named = {one.line for one in of(a_path(base, mine, theirs, result)).unaccounted}
    for side, other in ((mine, theirs), (theirs, mine)):
        added = set(side) - set(base) - set(other)
        assert added - set(result) <= named
        removed = {line for line in base if other.count(line) <= base.count(line)} - set(side)
        assert removed & set(result) <= named


@given(three_versions)
def test_keeping_one_side_names_every_line_that_only_the_other_changed(
    versions: tuple[Lines, Lines, Lines],
) -> None:
    base, mine, theirs = versions
    b, m, t = Counter(base), Counter(mine), Counter(theirs)
    named = {one.line for one in of(a_path(base, mine, theirs, mine)).unaccounted}
    assert named >= {line for line in b | t if m[line] == b[line] != t[line]}
    if b == t:
        assert named == set()


@given(three_versions, some_lines, st.randoms())
def test_where_in_the_file_a_line_stands_plays_no_role(
    versions: tuple[Lines, Lines, Lines], result: list[str], random: object
) -> None:
    shuffled = list(result)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    before = [(one.line, one.what) for one in of(a_path(*versions, result)).unaccounted]
    assert [(one.line, one.what) for one in of(a_path(*versions, shuffled)).unaccounted] == before


@given(three_versions, some_lines)
def test_what_is_listed_with_a_reason_is_accounted_for_and_only_that(
    versions: tuple[Lines, Lines, Lines], result: Lines
) -> None:
    path = a_path(*versions, result)
    lines = [one.line for one in of(path).unaccounted]
    outcome = of(path, dropped=[because(*lines)])
    assert outcome.unaccounted == ()
    assert sorted(line for one in outcome.dropped for line in one.lines) == sorted(lines)
    assert len(of(path, dropped=[because(*lines[1:])]).unaccounted) == len(lines[:1])
    assert len(of(path, dropped=[because(*lines, reason=" ")]).unaccounted) == len(lines)
    assert len(of(path, dropped=[because(*lines, path="b.py")]).unaccounted) == len(lines)


def test_each_line_is_named_with_the_side_and_its_place() -> None:
    outcome = of(
        a_path(
            ["one", "two", "three", "four"],
            ["one", "mine", "three", "four"],
            ["one", "theirs", "three", "both?"],
            ["one", "two", "three"],
        )
    )
    assert said(outcome) == [
        "a.py:2 added by T1, missing from the result: mine",
        "a.py:2 added by main, missing from the result: theirs",
        "a.py:4 added by main, missing from the result: both?",
        "a.py:2 removed by both sides, still in the result: two",
    ]


def test_a_line_that_neither_side_touched_must_stay() -> None:
    assert said(of(a_path(["x", "y"], ["x", "y", "m"], ["x", "y", "t"], ["y", "m", "t"]))) == [
        "a.py:1 kept by both sides, missing from the result: x"
    ]


def test_lines_that_neither_side_has_may_be_added() -> None:
    assert said(of(a_path(["x"], ["x", "m"], ["x", "t"], ["x", "m", "glue", "t"]))) == []


def test_the_same_line_added_by_both_is_needed_once() -> None:
    for result in (["x", "n"], ["x", "n", "n"]):
        assert said(of(a_path(["x"], ["x", "n"], ["x", "n"], result))) == []
    (one,) = of(a_path(["x"], ["x", "n"], ["x", "n"], ["x"])).unaccounted
    assert one == Unaccounted(path="a.py", what=What.ADDED_BY_BOTH, number=2, line="n")


def test_whitespace_counts() -> None:
    (one,) = of(a_path(["x"], ["x", "  y"], ["x", "t"], ["x", "y", "t"])).unaccounted
    assert (one.what, one.line) == (What.ADDED_BY_MINE, "  y")
    (one,) = of(a_path(["x"], ["x", "y\r"], ["x", "t"], ["x", "y", "t"])).unaccounted
    assert one.line == "y\r"


def test_a_line_may_be_listed_without_its_margins_and_a_long_one_by_its_beginning() -> None:
    long = "    " + "z" * (LONG_LINE + 50)
    path = a_path(["x"], ["x", "    y", long], ["x", "t"], ["x", "t"])
    assert said(of(path, dropped=[because("y", long.strip()[:LONG_LINE])])) == []
    assert said(of(path, dropped=[because("y", long.strip()[: LONG_LINE - 1])])) != []


# -- markers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "marker",
    ["<<<<<<< HEAD", "||||||| 1a2b", "=======", ">>>>>>> main", "=======\r", "<<<<<<<<< x"],
)
def test_a_conflict_marker_is_refused_and_cannot_be_listed(marker: str) -> None:
    path = a_path(["x"], ["x", "m"], ["x", "t"], ["x", "m", marker, "t"])
    outcome = of(path, dropped=[because(marker)])
    assert [(one.what, one.number) for one in outcome.unaccounted] == [(What.MARKER, 3)]


def test_a_line_like_a_marker_that_a_side_has_itself_is_no_marker() -> None:
    heading = ["Title", "======="]
    assert said(of(a_path(heading, [*heading, "m"], [*heading, "t"], [*heading, "m", "t"]))) == []
    left = [*heading, "m", "=======", "=======", "t"]
    (one,) = of(a_path(heading, [*heading, "m"], [*heading, "t"], left)).unaccounted
    assert (one.what, one.number) == (What.MARKER, 5)


# -- paths -----------------------------------------------------------------------------------------

DECIDED = (Decided(path="a.py", reason="nobody needs it"),)


@pytest.mark.parametrize("result", [None, ["x", "m"]], ids=["deleted", "kept"])
def test_what_becomes_of_a_file_that_one_side_deleted_must_be_decided(result: Lines | None) -> None:
    path = a_path(["x"], ["x", "m"], None, result)
    (one,) = of(path).unaccounted
    assert (one.what, one.number) == (What.ONE_DELETED, 0)
    outcome = of(path, decided=DECIDED)
    assert outcome == Account(unaccounted=(), dropped=(), decided=DECIDED)


def test_a_file_that_is_kept_against_a_deletion_has_what_the_other_side_did() -> None:
    path = a_path(["x"], None, ["x", "t"], ["x"])
    assert said(of(path, decided=DECIDED)) == ["a.py:2 added by main, missing from the result: t"]


def test_a_file_that_both_sides_added_lines_to_does_not_vanish() -> None:
    path = a_path(["x"], ["x", "m"], ["x", "t"], None)
    assert said(of(path)) == ["a.py: missing from the result: say why in `decided`"]
    # That it is gone is one thing; what it had, another.
    assert len(of(path, decided=DECIDED).unaccounted) == 3
    outcome = of(path, decided=DECIDED, dropped=[because("x", "m", "t")])
    assert outcome.unaccounted == ()


def test_a_name_that_both_sides_gave_up_does_not_come_back() -> None:
    assert said(of(a_path(["x"], None, None, None))) == []
    (one,) = of(a_path(["x"], None, None, ["x"])).unaccounted
    assert one.what is What.BACK_AGAIN


def test_a_file_that_one_side_moved_here_is_there() -> None:
    assert said(of(a_path(None, ["m"], None, ["m"]))) == []
    assert said(of(a_path(None, ["m"], None, ["other"]))) == [
        "a.py:1 added by T1, missing from the result: m"
    ]
    (one,) = of(a_path(None, None, ["t"], None)).unaccounted
    assert one.what is What.NOT_THERE


@pytest.mark.parametrize(
    "mode", ["100644", "120000", "160000"], ids=["binary", "link", "submodule"]
)
def test_what_has_no_lines_must_be_decided(mode: str) -> None:
    one = File(mode=mode, oid="1", text=None)
    other = File(mode=mode, oid="2", text=None)
    path = Versions(
        path="a.py",
        is_conflicting=True,
        base=None,
        mine=one,
        theirs=other,
        merged=None,
        result=one,
    )
    assert [each.what for each in of(path).unaccounted] == [What.WITHOUT_LINES]
    assert of(path, decided=DECIDED).unaccounted == ()


def test_a_path_outside_the_conflict_stays_as_it_was_merged() -> None:
    same = a_path(["x"], ["x", "m"], ["x"], ["x", "m"], merged=["x", "m"], is_conflicting=False)
    assert said(of(same)) == []
    other = a_path(["x"], ["x", "m"], ["x"], ["x"], merged=["x", "m"], is_conflicting=False)
    assert said(of(other)) == [
        "a.py: changed, although it was not in conflict: say why in `decided`"
    ]
    assert said(of(other, decided=DECIDED)) == ["a.py:2 added by T1, missing from the result: m"]
    new = a_path(None, None, None, ["n"], is_conflicting=False)
    assert [each.what for each in of(new).unaccounted] == [What.ELSEWHERE]
    assert of(new, decided=DECIDED).unaccounted == ()


def test_a_decision_without_a_reason_is_none() -> None:
    path = a_path(["x"], ["x", "m"], None, None)
    assert len(of(path, decided=[Decided(path="a.py", reason="  ")]).unaccounted) == 1


def test_only_what_there_was_something_to_list_for_is_told() -> None:
    path = a_path(["x"], ["x", "m"], ["x", "t"], ["x", "t"])
    outcome = of(path, dropped=[because("m", "t")], decided=DECIDED)
    assert (outcome.dropped, outcome.decided) == ((because("m"),), ())


def test_lines_are_counted_one_for_one() -> None:
    found = unaccounted_lines("a.py", [], ["}", "}", "}"], [], ["}"])
    assert [one.number for one in found] == [2, 3]
