"""Warnings of conflicts: each side is told once, beside the result of its next tool call.

Told by whichever comes first, a tool of ours or the hook after any tool. A session is told again of
the same other side only when what is in conflict has changed; a fresh session of the task is new to
it all. A reply that is lost takes its warning along: `check_conflicts` always tells.
"""

import logging
from collections.abc import Sequence

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role, SessionId, Task
from sf_mcp.core.radar import Conflict
from sf_mcp.core.states import TASK_ENDS, TaskState
from sf_mcp.service.radar import RadarService, named_task
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import conflict_warnings, leases, tasks

logger = logging.getLogger(__name__)

MOST_SHOWN = 3
"""Conflicts in one warning that are shown; more are named."""
HUNKS_SHOWN = 2
"""Of each."""
PATHS_NAMED = 8

STANDINGS = {
    TaskState.CLAIMED: "being worked on now",
    TaskState.WAITING: "waiting for an answer",
    TaskState.IN_REVIEW: "finished and about to land",
    TaskState.OPEN: "to be gone on with",
    TaskState.STUCK: "set aside for now",
}


class ConflictWarnings:
    """What sessions are told of the radar's findings."""

    def __init__(self, workspace: Workspace, radar: RadarService) -> None:
        """Tell this project's workers."""
        self._workspace = workspace
        self._radar = radar
        self._told: dict[SessionId, set[tuple[str, str]]] = {}

    def are_due(self, caller: Caller) -> bool:
        """Return whether `take` may have something to say; costs two rows and a ref."""
        if caller.role is not Role.WORKER or caller.session_id is None:
            return False
        with self._workspace.peek() as tx:
            task = _task_of(tx, caller.session_id)
        if task is None or task.branch is None:
            return False
        if self._radar.has_moved(task):
            return True
        told = self._told.get(caller.session_id)
        return any(
            told is None or (one.other or "", one.clash.content) not in told
            for one in self._radar.known().of(task.id)
        )

    def take(self, caller: Caller) -> str:
        """Return what the calling session is to be told now, and count it as told; "" if nothing.

        Its own commits are looked at first, so that it hears of what it has just done.
        """
        if not self.are_due(caller):
            return ""
        assert caller.session_id is not None  # a session of a worker
        try:
            survey = self._radar.look()
        except StoneforgeError as error:
            logger.warning("The radar sees nothing new: %s", error)
            return ""
        with self._workspace.write(caller) as tx:
            task = _task_of(tx, caller.session_id)
            told = conflict_warnings.told(tx.db, caller.session_id)
            new: list[tuple[Conflict, Task | None]] = []
            for one in survey.of(task.id) if task is not None else ():
                other = tasks.get(tx.db, one.other) if one.other is not None else None
                key = one.other or "", one.clash.content
                # What has landed since the look is the target's by now.
                if key not in told and (other is None or other.state not in TASK_ENDS):
                    new.append((one, other))
                    told.add(key)
                    conflict_warnings.note(tx.db, caller.session_id, *key, tx.now)
            if task is not None and new:
                tx.event(
                    "conflict_warned",
                    task.id,
                    session=caller.session_id,
                    others=[one.other for one, _ in new if one.other],
                    paths=list(dict.fromkeys(path for one, _ in new for path in one.clash.paths)),
                )
        self._told[caller.session_id] = told
        return _text(new, self._workspace.settings.merge.target_branch) if new else ""


def _task_of(tx: Transaction, session_id: SessionId) -> Task | None:
    lease = leases.live_of(tx.db, session_id)
    return tasks.TASKS.get(tx.db, lease.subject) if lease is not None else None


def _text(new: Sequence[tuple[Conflict, Task | None]], target: str) -> str:
    shown = [_one(one, other, target) for one, other in new[:MOST_SHOWN]]
    if more := [_name(other, target) for _, other in new[MOST_SHOWN:]]:
        shown.append(f"So does it with {len(more)} more, such as {', '.join(more[:5])}.")
    return "\n".join([*shown, "`check_conflicts` shows how things stand at any time."])


def _one(one: Conflict, other: Task | None, target: str) -> str:
    paths = ", ".join(one.clash.paths[:PATHS_NAMED]) or "all of it"
    if len(one.clash.paths) > PATHS_NAMED:
        paths += f" and {len(one.clash.paths) - PATHS_NAMED} more"
    lines = [f"Your work conflicts with {_name(other, target)} in {paths}."]
    lines += [
        f"{hunk.path}, theirs:\n{hunk.theirs}\n{hunk.path}, yours:\n{hunk.ours}"
        for hunk in one.clash.hunks[:HUNKS_SHOWN]
    ]
    if not one.clash.hunks:
        lines += [said.sentence for said in one.clash.said[:HUNKS_SHOWN]]
    if other is None:
        lines.append(
            f"Commit, then `git fetch origin && git merge origin/{target}`: keep both intents."
        )
    else:
        lines.append(
            "They are told too, if they are at work. Whoever lands second has to merge: leave "
            "those lines to them if your task allows it, else keep your change there small."
        )
    return "\n".join(lines)


def _name(other: Task | None, target: str) -> str:
    if other is None:
        return f"the target {target}"
    return f"{named_task(other)}, {STANDINGS.get(other.state, other.state.value)},"
