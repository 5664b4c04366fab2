"""What the work has cost, by task, session, role or day, and coordination's share of the tokens."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role
from sf_mcp.core.states import LIVE_SESSIONS
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import plans, tasks, usage
from sf_mcp.store.usage import Used

WAYS = ("task", "session", "role", "day")
KINDS = ("input_tokens", "cache_read_tokens", "cache_write_tokens", "output_tokens")
ESTIMATES = ("coordination_tokens", "coordination_share", "cost_usd")


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One task, session, role or day; or all of them."""

    key: str
    """A task's or session's id, a role, a day (UTC); empty for what belongs to no task."""
    title: str
    sessions: int
    input_tokens: int
    """Neither read from the cache nor written to it."""
    cache_read_tokens: int
    cache_write_tokens: int
    output_tokens: int
    coordination_tokens: int
    """Of all of these, what the fleet itself brought in; an estimate."""
    cost_usd: float
    """As the client reckons it from list prices."""
    tokens: int
    """All of them: input, cache and output."""
    is_running: bool
    """A turn under way counts as far as it has been told, so that the numbers will grow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CostReport:
    """What was spent, the dearest first; days in their order."""

    by: str
    plan: str
    lines: list[CostLine]
    total: CostLine
    coordination_share: float | None
    """Of all tokens, from 0 to 1; an estimate. None when no tokens are known."""
    estimates: tuple[str, ...]
    """The fields that are no exact counts."""
    summary: str
    """What the share means, in a sentence."""


class CostService:
    """The use case of costs."""

    def __init__(self, workspace: Workspace) -> None:
        """Look at this project."""
        self._workspace = workspace

    def cost(self, _caller: Caller, *, by: str = "task", plan: str = "") -> CostReport:
        """Return what was spent, of one plan or of all; reviews and answers with their task.

        Raises:
            InvalidInput: `by` is none of `task`, `session`, `role` and `day`.
        """
        if by not in WAYS:
            raise InvalidInput(
                f"Costs cannot be listed by {by!r}.", remedy=f"Use one of {', '.join(WAYS)}."
            )
        with self._workspace.read() as tx:
            found = usage.of_all(tx.db)
            if plan:
                plan = plans.find(tx.db, plan).id
                of_plan = {task.id for task in tasks.of_plan(tx.db, plans.get(tx.db, plan).id)}
                found = [used for used in found if used.task_id in of_plan]
            key = _KEYS[by]
            groups: defaultdict[str, list[Used]] = defaultdict(list)
            for used in found:
                groups[key(used)].append(used)
            lines = [_line(name, _title(tx, by, name, of), of) for name, of in groups.items()]
        lines.sort(key=lambda line: line.key if by == "day" else (-line.cost_usd, -line.tokens))
        total = _line("total", "", found)
        share = total.coordination_tokens / total.tokens if total.tokens else None
        return CostReport(
            by=by,
            plan=plan,
            lines=lines,
            total=total,
            coordination_share=share,
            estimates=ESTIMATES,
            summary=_summary(share),
        )


_KEYS: dict[str, Callable[[Used], str]] = {
    "task": lambda used: used.task_id,
    "session": lambda used: used.session_id,
    "role": lambda used: used.role.value,
    "day": lambda used: used.day,
}


def _line(key: str, title: str, parts: Iterable[Used]) -> CostLine:
    parts = list(parts)
    counts = {kind: sum(getattr(part, kind) for part in parts) for kind in KINDS}
    return CostLine(
        key=key,
        title=title,
        sessions=len({part.session_id for part in parts}),
        **counts,
        tokens=sum(counts.values()),
        coordination_tokens=sum(part.coordination_tokens for part in parts),
        cost_usd=sum(part.cost_usd for part in parts),
        is_running=any(part.state in LIVE_SESSIONS for part in parts),
    )


def _title(tx: Transaction, by: str, key: str, parts: list[Used]) -> str:
    match by:
        case "task":
            return tasks.get(tx.db, key).title if key else "planning, and what has no task"
        case "session":
            return f"{parts[0].name} on {parts[0].subject}"
        case "role":
            return _WORK[Role(key)]
        case _:
            return ""


_WORK = {
    Role.WORKER: "work on tasks",
    Role.STEWARD: "reviews",
    Role.DIRECTOR: "plans and answers",
    Role.PERSON: "",
}


def _summary(share: float | None) -> str:
    if share is None:
        return "No tokens are known yet."
    return (
        f"About {100 * share:.0f} % of all tokens (an estimate) is coordination: the schemas of "
        "the fleet's tools, the roles' prompts and the results of its tools, sent again with each "
        "request, mostly from the cache. The rest is the work itself."
    )
