"""The plain readings: every line that a side added is there, and what is not plain is refused."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.straightforward import NotStraightforward, same_edit, union

HEAD = "# Changes\n\n"
OLD = HEAD + "- old\n"


def united(base: str, ours: str, theirs: str) -> str:
    return union(base.encode(), ours.encode(), theirs.encode()).decode()


@pytest.mark.parametrize(
    ("ours", "theirs", "both"),
    [
        pytest.param(
            HEAD + "- a\n- old\n", HEAD + "- b\n- old\n", HEAD + "- a\n- b\n- old\n", id="on top"
        ),
        pytest.param(OLD + "- a\n", OLD + "- b\n", OLD + "- a\n- b\n", id="at the end"),
        pytest.param(
            HEAD + "- a\n- old\n", OLD + "- b\n", HEAD + "- a\n- old\n- b\n", id="at either end"
        ),
        pytest.param(
            HEAD + "## 2\n- a\n\n- old\n",
            HEAD + "## 2\n- b\n\n- old\n",
            HEAD + "## 2\n- a\n- b\n\n- old\n",
            id="in a section that both began",
        ),
        pytest.param(
            HEAD + "## A\n- a\n\n- old\n",
            HEAD + "## B\n- b\n\n- old\n",
            HEAD + "## A\n- a\n\n## B\n- b\n\n- old\n",
            id="a section each",
        ),
        pytest.param(
            "# Changes\n\n- a\n\n- old\n",
            "# Changes\n\n- b\n- old\n",
            "# Changes\n\n- a\n\n- b\n- old\n",
            id="parted by a blank line, whichever of two it was",
        ),
        pytest.param(OLD + "- same\n", OLD + "- same\n", OLD + "- same\n", id="the same"),
        pytest.param(
            OLD + "- same\n", OLD + "- same\n- b\n", OLD + "- same\n- b\n", id="the same and more"
        ),
        pytest.param(OLD, OLD + "- b\n", OLD + "- b\n", id="one side only"),
        pytest.param(OLD + "- a", OLD + "- b", OLD + "- a\n- b", id="without a last line end"),
        pytest.param(OLD + "- é\r\n", OLD + "- ü\r\n", OLD + "- é\r\n- ü\r\n", id="as they end"),
    ],
)
def test_what_both_sides_added_is_kept_once_ours_first(ours: str, theirs: str, both: str) -> None:
    assert united(OLD, ours, theirs) == both


def test_two_new_files_are_two_additions_to_nothing() -> None:
    assert united("", "# C\n- a\n", "# C\n- b\n") == "# C\n- a\n- b\n"


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        pytest.param("", OLD + "- b\n", "the target changed or removed lines", id="removed"),
        pytest.param(
            OLD + "- a\n", HEAD + "- new\n", "the task changed or removed lines", id="changed"
        ),
        pytest.param(
            OLD.replace("\n", "\r\n"), OLD + "- b\n", "the target changed", id="other line ends"
        ),
        pytest.param("- old\n" + HEAD, OLD + "- b\n", "the target changed", id="another order"),
        pytest.param(
            OLD + "## A\n- x\n", OLD + "## B\n- x\n", "in different places (`- x`)", id="twice"
        ),
        pytest.param(OLD + "\0", OLD + "- b\n", "no text", id="binary"),
    ],
)
def test_what_is_no_pure_addition_on_both_sides_is_refused(
    ours: str, theirs: str, words: str
) -> None:
    with pytest.raises(NotStraightforward) as refused:
        united(OLD, ours, theirs)
    assert words in str(refused.value)


LINES = st.sampled_from(["", "# a", "# b", "- x", "- y", "- z", "- \N{BUG}", "\r"])


@st.composite
def additions(draw: st.DrawFn) -> tuple[list[str], list[str], list[str]]:
    """A text and two that add lines to it, each at up to three places."""
    base = draw(st.lists(LINES, max_size=6))

    def side() -> list[str]:
        lines = list(base)
        for _ in range(draw(st.integers(0, 3))):
            at = draw(st.integers(0, len(lines)))
            lines[at:at] = draw(st.lists(LINES, min_size=1, max_size=4))
        return lines

    return base, side(), side()


def text(lines: list[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def is_within(side: list[str], whole: list[str]) -> bool:
    rest = iter(whole)
    return all(line in rest for line in side)


@given(additions())
def test_no_line_is_dropped_and_none_is_made_up(
    texts: tuple[list[str], list[str], list[str]],
) -> None:
    base, ours, theirs = texts
    try:
        united_text = united(text(base), text(ours), text(theirs))
    except NotStraightforward as refused:
        assert "in different places" in str(refused)  # noqa: PT017
        return
    merged = united_text.split("\n")[:-1]
    assert is_within(ours, merged)
    assert is_within(theirs, merged)
    most = Counter(ours) + Counter(theirs)
    most.subtract(base)
    assert all(count <= most[line] for line, count in Counter(merged).items())


@given(additions(), st.data())
def test_a_removed_line_is_never_brought_back(
    texts: tuple[list[str], list[str], list[str]], data: st.DataObject
) -> None:
    base, ours, theirs = texts
    gone = "- only here"
    base.insert(at := data.draw(st.integers(0, len(base))), gone)
    theirs.insert(min(at, len(theirs)), gone)
    for one, other in ((ours, theirs), (theirs, ours)):
        with pytest.raises(NotStraightforward):
            united(text(base), text(one), text(other))


@given(additions())
def test_a_side_that_adds_nothing_leaves_the_other_as_it_is(
    texts: tuple[list[str], list[str], list[str]],
) -> None:
    base, ours, _ = texts
    assert united(text(base), text(ours), text(base)) == text(ours)
    assert united(text(base), text(base), text(ours)) == text(ours)
    assert united(text(base), text(ours), text(ours)) == text(ours)


def edit(base: str, ours: str, theirs: str) -> str:
    sides = (list(side.encode().split()) for side in (base, ours, theirs))
    return b" ".join(same_edit(*sides)).decode()


@pytest.mark.parametrize("ours", ["A b c", "A B c"])
def test_of_the_same_edit_the_side_that_went_further_is_taken(ours: str) -> None:
    assert edit("a b c", ours, "A B c") == "A B c"
    assert edit("a b c", "A B c", ours) == "A B c"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("A b c", "X b c"),
        ("A b c", "a B c"),
        ("A B c", "A b C"),
        ("A b c", "X B c"),
        ("A b c", "A b c d"),
        ("b c", "c"),
    ],
)
def test_edits_that_are_not_one_within_the_other_are_refused(ours: str, theirs: str) -> None:
    for one, other in ((ours, theirs), (theirs, ours)):
        with pytest.raises(NotStraightforward):
            edit("a b c", one, other)
