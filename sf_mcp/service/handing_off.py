"""Handoffs: what one must hold, and what is said in the place of a session that wrote none.

And which acceptance criteria are met, as far as the sessions of a task have said.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.last_words import LastWords
from sf_mcp.core.models import Handoff, SessionId, Task
from sf_mcp.core.text import checked_text, one_line
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import handoffs, sessions

if TYPE_CHECKING:
    # Its module brings in git, which short commands do without.
    from sf_mcp.service.branch_state import BranchState

FIELD_LIMIT = 20_000
"""Characters per field of a handoff: five fields stay well inside a fresh session's context."""
NEEDED = ("progress", "remaining", "next_step")
"""What the successor cannot do without."""
SHOWN_COMMITS = 30
SHOWN_FILES = 30
SUBJECT_CHARACTERS = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Met:
    """An acceptance criterion that a session says is met."""

    number: int
    by: str
    """The name of the newest session that says so."""
    is_repeated: bool
    """The newest handoff of a session that named any says so too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Criterion:
    """An acceptance criterion, and who has said that it is met."""

    number: int
    text: str
    met_by: str
    """The session whose handoff says so; empty: none did before the last one's summary."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is said of a session's work by somebody else."""

    progress: str
    remaining: str
    pitfalls: str
    next_step: str


def checked_texts(texts: Mapping[str, str]) -> dict[str, str]:
    """Return a handoff's texts if a successor can go on from them.

    Raises:
        InvalidInput: a field that the successor cannot do without is empty, or one is too long.
    """
    checked = {name: checked_text(text, name, limit=FIELD_LIMIT) for name, text in texts.items()}
    for name in NEEDED:
        if not checked[name].strip():
            raise InvalidInput(
                f"The handoff's {name} is empty; a fresh session knows only what you write.",
                remedy="Fill in progress, remaining and next_step and call again.",
            )
    return checked


def checked_criteria(met: Iterable[int], task: Task) -> tuple[int, ...]:
    """Return the numbers of the task's acceptance criteria in `met`, in order and once each.

    Raises:
        InvalidInput: the task has no criterion of such a number.
    """
    most = len(task.acceptance)
    wrong = [number for number in met if not 1 <= number <= most]
    if wrong:
        has = f"criteria 1 to {most}" if most else "no acceptance criteria"
        raise InvalidInput(
            f"criteria_met names {', '.join(map(str, wrong[:10]))}, but {task.id} has {has}.",
            remedy="Name the criteria by their place in the brief's `acceptance`, from 1; leave "
            "criteria_met empty if none is met.",
        )
    return tuple(sorted(set(met)))


def criteria_met(tx: Transaction, newest_first: Sequence[Handoff]) -> list[Met]:
    """Return the criteria that earlier sessions say are met, by number."""
    telling = [handoff for handoff in newest_first if handoff.met]
    by: dict[int, SessionId] = {}
    for handoff in telling:
        for number in handoff.met:
            by.setdefault(number, handoff.session_id)
    return [
        Met(
            number=number,
            by=sessions.get(tx.db, by[number]).name,
            is_repeated=number in telling[0].met,
        )
        for number in sorted(by)
    ]


def criteria_of(tx: Transaction, task: Task) -> list[Criterion]:
    """Return all of the task's criteria, each with who says that it is met."""
    met = {one.number: one.by for one in criteria_met(tx, handoffs.of_task(tx.db, task.id)[::-1])}
    return [
        Criterion(number=number, text=text, met_by=met.get(number, ""))
        for number, text in enumerate(task.acceptance, start=1)
    ]


def renumber(tx: Transaction, task: Task, acceptance: Sequence[str]) -> None:
    """Let what handoffs say of the task's criteria stay true when those are about to change.

    A criterion that keeps its words keeps what was said of it, wherever it now stands.
    """
    places = {text: number for number, text in enumerate(acceptance, start=1)}
    for handoff in handoffs.of_task(tx.db, task.id):
        words = {task.acceptance[number - 1] for number in handoff.met}
        met = tuple(sorted(places[text] for text in words & places.keys()))
        if met != handoff.met:
            handoffs.HANDOFFS.change(tx.db, handoff.number, {"met": met})


def in_its_place(
    task: Task, state: "BranchState | None", said: LastWords, *, met: Sequence[int], because: str
) -> Account:
    """Return the handoff of a session that was ended before it wrote one.

    It holds what git and the session's log say; `state` is None when git could not be read,
    `because` says why the session wrote none.
    """
    open_criteria = [
        f"{number}. {one_line(text, SUBJECT_CHARACTERS)}"
        for number, text in enumerate(task.acceptance, start=1)
        if number not in met
    ]
    remaining = ["The session did not say; compare the acceptance criteria with the branch."]
    if open_criteria:
        remaining.append(_listed("No session has said that these are met:", open_criteria))
    if said.steps:
        remaining.append(_listed("Its own list of steps:", said.steps))
    pitfalls = [because]
    if said.texts:
        pitfalls.append("Its last words:\n" + "\n---\n".join(said.texts))
    if said.calls:
        pitfalls.append(_listed("Its last calls:", said.calls))
    begun = next((step[4:] for step in said.steps if step.startswith("[~]")), "")
    first = f"It was at: {begun}. " if begun else ""
    return Account(
        progress=_progress(task, state),
        remaining="\n\n".join(remaining),
        pitfalls="\n\n".join(pitfalls),
        next_step=f"{first}Read the branch's log and diff and the uncommitted files, then go on "
        "with the first unmet criterion.",
    )


def _progress(task: Task, state: "BranchState | None") -> str:
    if state is None:
        return "Git could not be read; the branch and the worktree are as the session left them."
    commits = [
        f"{entry.commit[:12]} {one_line(entry.subject, SUBJECT_CHARACTERS)}"
        for entry in state.commits
    ]
    parts = [
        _listed(f"Commits on {task.branch}:", commits, most=SHOWN_COMMITS)
        if commits
        else "Nothing was committed."
    ]
    if state.uncommitted:
        parts.append(_listed("Uncommitted files:", state.uncommitted, most=SHOWN_FILES))
    if state.note:
        parts.append(state.note)
    return "\n\n".join(parts)


def _listed(heading: str, lines: Sequence[str], most: int = 50) -> str:
    more = [f"… and {len(lines) - most} more"] if len(lines) > most else []
    return "\n".join([heading, *lines[:most], *more])
