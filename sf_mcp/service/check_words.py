"""What whoever repairs the work is told of the checks that it failed."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from sf_mcp.core.models import Verdict
from sf_mcp.git.checks import tail
from sf_mcp.service.check_notes import MOST_NAMES, named

LOG_TAIL_LINES = 60


def repair_detail(
    failed: Sequence[Mapping[str, str]], of_target: Mapping[str, Verdict], branch: str
) -> str:
    """Return what whoever repairs the work must know of the checks that it failed.

    `failed` is as a trial stores them. Said are the failing tests by name, whether all that passes
    on the target, and the end of each log.
    """
    on_target = [
        f"On {branch} alone, {on.check} {on.outcome}{named(on, MOST_NAMES)}: not the same."
        for one in failed
        if (on := of_target.get(one["check"])) is not None and not on.passed
    ]
    heads = on_target or [f"It passed on {branch} alone."]
    logs = "\n\n".join(_failure(one) for one in failed)
    return f"{' '.join(heads)} Run it again with run_checks.\n{logs}"


def _failure(one: Mapping[str, str]) -> str:
    """Return how a check failed: its outcome, the tests that failed, the end of its log."""
    names = list(filter(None, one.get("failing", "").split("\n")))
    tests = "".join(f"\n- {name}" for name in names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        tests += f"\n- and {len(names) - MOST_NAMES} more"
    failing = f"\nfailing tests:{tests}" if tests else ""
    return (
        f"{one['check']}: {one['outcome']}{failing}\n{tail(Path(one['log_path']), LOG_TAIL_LINES)}"
    )
