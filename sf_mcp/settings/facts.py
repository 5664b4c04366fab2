"""The few settings that a short command needs, without pydantic, and mostly without yaml.

`sf status` must answer in a tenth of a second. Pydantic alone takes half of that to import, so this
reads the file with yaml alone; whatever it does not understand it leaves to the full model. And
yaml takes a fifth, so what was found is kept beside the file until the file changes.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from sf_mcp.settings.source import decode, read_source, signature_of

DEFAULT_TARGET_BRANCH = "main"
DEFAULT_MAX_CONCURRENT = 6
KEPT_NAME = "config.facts.json"
_KEPT_FORMAT = [2, DEFAULT_TARGET_BRANCH, DEFAULT_MAX_CONCURRENT]
"""What the kept facts depend on besides the file; the number grows with every change of them."""
_RACY_NS = 100_000_000
"""A file written so shortly before the facts were kept may have been written again since, within
one tick of the file system's clock (git's index has the same problem)."""

SECTIONS = frozenset(
    {"orchestrator", "agents", "setup", "checks", "merge", "budget", "limits", "notify"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickFacts:
    target_branch: str
    check_names: tuple[str, ...]
    run_checks: bool
    auto_merge: bool
    max_concurrent: int
    has_budget: bool

    @property
    def checks_vacuous(self) -> bool:
        """Whether nothing is checked before the target branch moves."""
        return bool(self.vacuous_sentence)

    @property
    def vacuous_sentence(self) -> str:
        """What to tell the person while nothing is checked; empty while checks run."""
        return vacuous_sentence(len(self.check_names), run_checks=self.run_checks)


def vacuous_sentence(check_count: int, *, run_checks: bool) -> str:
    """Return what `sf serve`, `sf status` and each landing say while nothing is checked."""
    if not run_checks:
        reason = "agents.steward.runChecks is false"
    elif check_count == 0:
        reason = "the list `checks` is empty"
    else:
        return ""
    return f"Nothing is checked before the target branch moves: {reason}."


def quick_facts(path: Path) -> QuickFacts:
    """Return what the configuration at `path` says, checked no further than these facts need.

    Raises:
        ConfigInvalid: the file is missing, is not YAML, or one of these facts is wrong.
    """
    if (kept := _kept(path)) is not None:
        return kept
    # Here and not above: this is the import that the kept facts exist to avoid.
    from sf_mcp.settings.document import read_document

    source = read_source(path)
    text = decode(source.data, str(path))
    facts = _facts(read_document(text, str(path)).values)
    if facts is None:
        return _facts_by_the_model(text, str(path))
    _keep(path, source.signature, facts)
    return facts


def _kept(path: Path) -> QuickFacts | None:
    """The facts found before, if the file has not changed since."""
    beside = path.with_name(KEPT_NAME)
    try:
        signature = signature_of(path.stat())
        if beside.stat().st_mtime_ns - signature[0] < _RACY_NS:
            return None
        stored = json.loads(beside.read_bytes())
        if stored["of"] != [*_KEPT_FORMAT, *signature]:
            return None
        facts: dict[str, Any] = stored["facts"]
        facts["check_names"] = tuple(facts["check_names"])
        return QuickFacts(**facts)
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _keep(path: Path, signature: tuple[int, int, int], facts: QuickFacts) -> None:
    stored = {"of": [*_KEPT_FORMAT, *signature], "facts": asdict(facts)}
    new = path.with_name(f"{KEPT_NAME}.{os.getpid()}")
    # A full disk or a folder of somebody else's: the next command reads the file again.
    with contextlib.suppress(OSError):
        try:
            new.write_text(json.dumps(stored))
            new.replace(path.with_name(KEPT_NAME))
        finally:
            new.unlink(missing_ok=True)


def _facts(values: Mapping[str, object]) -> QuickFacts | None:
    """The facts in `values`, or None when something there is out of the ordinary."""
    from sf_mcp.core.text import branch_name_problem

    agents = _section(values, "agents")
    steward = _section(agents, "steward") if agents is not None else None
    merge, orchestrator = _section(values, "merge"), _section(values, "orchestrator")
    budget = _section(values, "budget")
    if merge is None or steward is None or orchestrator is None or budget is None:
        return None
    if not values.keys() <= SECTIONS:
        return None
    target = merge.get("targetBranch", DEFAULT_TARGET_BRANCH)
    run_checks = steward.get("runChecks", True)
    auto_merge = steward.get("autoMerge", True)
    limit = orchestrator.get("maxConcurrent", DEFAULT_MAX_CONCURRENT)
    names = _check_names(values.get("checks"))
    if (
        names is None
        or not isinstance(target, str)
        or branch_name_problem(target) is not None
        or not isinstance(run_checks, bool)
        or not isinstance(auto_merge, bool)
        or type(limit) is not int
    ):
        return None
    return QuickFacts(
        target_branch=target,
        check_names=names,
        run_checks=run_checks,
        auto_merge=auto_merge,
        max_concurrent=limit,
        has_budget=any(limit is not None for limit in budget.values()),
    )


def _section(values: Mapping[str, object], key: str) -> Mapping[str, object] | None:
    found = values.get(key)
    if found is None:
        return {}
    return cast(Mapping[str, object], found) if isinstance(found, dict) else None


def _check_names(checks: object) -> tuple[str, ...] | None:
    if checks is None:
        return ()
    if not isinstance(checks, tuple):
        return None
    names: list[str] = []
    for check in cast(tuple[object, ...], checks):
        if not isinstance(check, dict):
            return None
        name = cast(dict[str, object], check).get("name")
        if not isinstance(name, str):
            return None
        names.append(name)
    return tuple(names)


def _facts_by_the_model(text: str, source: str) -> QuickFacts:
    from sf_mcp.settings.reading import parse

    settings = parse(text, source)
    return QuickFacts(
        target_branch=settings.merge.target_branch,
        check_names=tuple(check.name for check in settings.checks),
        run_checks=settings.agents.steward.run_checks,
        auto_merge=settings.agents.steward.auto_merge,
        max_concurrent=settings.orchestrator.max_concurrent,
        has_budget=settings.budget.task_usd is not None or settings.budget.fleet_usd is not None,
    )
