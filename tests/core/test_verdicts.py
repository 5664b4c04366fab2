"""Which failures condemn a candidate, and which were there before."""

from sf_mcp.core.models import Oid, Verdict
from sf_mcp.core.verdicts import Judgement, condemning
from tests.builders import NOON


def a_verdict(
    outcome: str = "passed", *, check: str = "tests", failing: tuple[str, ...] = ()
) -> Verdict:
    return Verdict(
        tree=Oid("0" * 40),
        check=check,
        command="pytest",
        passed=outcome == "passed",
        outcome=outcome,
        failing=failing,
        log_path="",
        seconds=1.0,
        created_at=NOON,
    )


def judged(of_candidate: Verdict, of_target: Verdict | None) -> Judgement:
    return condemning(
        {of_candidate.check: of_candidate},
        {of_target.check: of_target} if of_target is not None else {},
    )


def test_what_passes_needs_nothing_of_the_target() -> None:
    passed = condemning({"tests": a_verdict()}, None)
    assert passed == Judgement()
    assert passed.is_final


def test_what_fails_here_and_passes_there_condemns() -> None:
    failed = a_verdict("failed (exit 1)")
    assert judged(failed, a_verdict()) == Judgement(condemned=(failed,))


def test_what_fails_as_it_does_there_was_there_before() -> None:
    failed = a_verdict("failed (exit 1)")
    assert judged(failed, a_verdict("failed (exit 1)")) == Judgement(preexisting=(failed,))


def test_what_fails_in_another_way_than_there_condemns() -> None:
    failed = a_verdict("failed (exit 2)")
    assert judged(failed, a_verdict("failed (exit 1)")).condemned == (failed,)
    slow = a_verdict("timed out after 900 s")
    assert judged(slow, a_verdict("failed (exit 1)")).condemned == (slow,)


def test_without_the_targets_verdict_nothing_is_decided() -> None:
    failed = a_verdict("failed (exit 1)")
    undecided = condemning({"tests": failed, "lint": a_verdict(check="lint")}, None)
    assert undecided == Judgement(undecided=("tests",))
    assert not undecided.is_final


def test_what_can_start_neither_here_nor_there_condemns_nobody() -> None:
    missing = a_verdict("could not start: pytest: not found (exit 127)")
    assert judged(missing, missing) == Judgement(held=(missing,))
    assert judged(missing, a_verdict("failed (exit 1)")) == Judgement(held=(missing,))


def test_what_took_away_what_a_check_starts_with_is_condemned() -> None:
    missing = a_verdict("could not start: ./test.sh: not found (exit 127)")
    assert judged(missing, a_verdict()).condemned == (missing,)


def test_what_fails_where_the_target_cannot_even_start_is_condemned() -> None:
    failed = a_verdict("failed (exit 1)")
    missing = a_verdict("could not start: pytest: not found (exit 127)")
    assert judged(failed, missing).condemned == (failed,)


def test_each_check_is_judged_by_itself() -> None:
    here = {name: a_verdict("failed (exit 1)", check=name) for name in ("tests", "lint", "types")}
    there = {"tests": a_verdict(), "lint": a_verdict("failed (exit 1)", check="lint")}
    assert condemning(here, there) == Judgement(
        condemned=(here["tests"],), preexisting=(here["lint"],), undecided=("types",)
    )


def test_where_both_name_their_failing_tests_those_decide() -> None:
    there = a_verdict("failed (exit 1)", failing=("a", "b"))
    as_there = a_verdict("failed (exit 2)", failing=("b",))
    one_more = a_verdict("failed (exit 1)", failing=("b", "c"))
    assert judged(as_there, there).preexisting == (as_there,)
    assert judged(one_more, there).condemned == (one_more,)
