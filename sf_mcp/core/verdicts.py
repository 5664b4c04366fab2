"""What the verdicts of checks on a candidate mean, held against those on the target it lands on.

A check that fails condemns the candidate, unless the target fails it in the same way: that was so
before, and is nobody's fault who left it as it was. A check that could not start condemns only what
took away what it starts with; where it does not start on the target either, all that can be done is
to wait until it does.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sf_mcp.core.models import Verdict

COULD_NOT_START = "could not start"
NOT_SET_UP = f"{COULD_NOT_START}: the set-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The verdicts on a candidate that did not pass, told apart."""

    condemned: tuple[Verdict, ...] = ()
    """They fail here, and not so on the target."""
    preexisting: tuple[Verdict, ...] = ()
    """They fail on the target in the same way."""
    held: tuple[Verdict, ...] = ()
    """They could not start, and nothing says that this is the candidate's doing."""
    undecided: tuple[str, ...] = ()
    """The checks of which the verdict on the target is needed and not there."""

    @property
    def is_final(self) -> bool:
        """Return whether all that is needed to judge was there."""
        return not self.undecided


def condemning(
    of_candidate: Mapping[str, Verdict], of_target: Mapping[str, Verdict] | None
) -> Judgement:
    """Tell which of the verdicts condemn the candidate; those on the target are None or by check.

    Where the target's verdict on a check that did not pass is missing, the check is `undecided`;
    a candidate that passed everything never needs any.
    """
    condemned: list[Verdict] = []
    preexisting: list[Verdict] = []
    held: list[Verdict] = []
    undecided: list[str] = []
    for name, verdict in of_candidate.items():
        if verdict.passed:
            continue
        on_target = (of_target or {}).get(name)
        if on_target is None:
            undecided.append(name)
        elif did_not_start(verdict):
            (condemned if on_target.passed else held).append(verdict)
        elif fails_the_same_way(verdict, on_target):
            preexisting.append(verdict)
        else:
            condemned.append(verdict)
    return Judgement(
        condemned=tuple(condemned),
        preexisting=tuple(preexisting),
        held=tuple(held),
        undecided=tuple(undecided),
    )


def fails_the_same_way(verdict: Verdict, on_target: Verdict) -> bool:
    """Return whether the failure leaves the target failing as it does.

    Where both name the tests that failed: no test fails that does not fail on the target. Else:
    both ended in the same words, such as `failed (exit 1)`.
    """
    if on_target.passed or did_not_start(on_target):
        return False
    if verdict.failing and on_target.failing:
        return set(verdict.failing) <= set(on_target.failing)
    return verdict.outcome == on_target.outcome


def is_not_set_up(verdict: Verdict) -> bool:
    """Return whether the check could not start since the worktree could not be set up."""
    return verdict.outcome.startswith(NOT_SET_UP)


def did_not_start(verdict: Verdict) -> bool:
    """Return whether the check says nothing of the tree, since its command could not be run."""
    return verdict.outcome.startswith(COULD_NOT_START)
