"""The forge: its settings, its guard, what a killed git has left in it, its worktrees."""

from collections.abc import Iterator

from sf_mcp.core.models import TaskId
from sf_mcp.core.states import TASK_ENDS
from sf_mcp.git.forge import mend_forge
from sf_mcp.git.inspection import guard_faults, settings_faults
from sf_mcp.git.locks import half_added, stale_locks
from sf_mcp.service.doctor.found import Found, Mend, OpenServices, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look
from sf_mcp.store import tasks
from sf_mcp.store.inspection import State

STALE_LOCK_SECONDS = 60.0
"""Younger ones may be a git's that is being ended at this moment."""


def made(look: Look) -> Iterator[Found]:
    """See whether the forge is there and as it was made."""
    if not look.is_set_up:
        return
    if look.forge is None:
        yield problem(
            f"There is no forge at {look.layout.forge}.",
            why="All commits and snapshots of the fleet are kept there.",
            remedy="Put it back from a backup if it held work; else: sf init",
        )
        return
    forge, target = look.forge, look.target
    if not (faults := settings_faults(forge)):
        yield fine(f"The forge {forge.git_dir} is as it was made")
        return

    def mend(_: OpenServices) -> str:
        mend_forge(forge, target)
        return "The forge's settings are as they were made."

    yield problem(
        f"The forge is not as it was made: {named(faults)}.",
        why="Git could delete what only the forge has, push where it should not, or go without "
        "the guard.",
        remedy="Run: sf doctor forge --fix",
        mend=Mend(what="Put the forge's settings back", carry_out=mend) if target else None,
    )


def guard(look: Look) -> Iterator[Found]:
    """See whether the guard is in place in the forge and in each of its worktrees."""
    if (worktrees := look.worktrees) is None:
        return
    if not (faults := guard_faults(worktrees)):
        yield fine("The guard is in place everywhere")
        return

    def mend(_: OpenServices) -> str:
        for name in faults:
            if name == "forge":
                mend_forge(worktrees.forge, worktrees.target)
            else:
                worktrees.guard_anew(name)
        return f"The guard is in place again: {named(faults)}."

    yield problem(
        f"The guard is missing or changed: {named(faults)}.",
        why="Git could move the target branch, or another task's, from there.",
        remedy="Run: sf doctor forge --fix",
        mend=Mend(what=f"Write the guard anew: {named(faults)}", carry_out=mend),
    )


def locks(look: Look) -> Iterator[Found]:
    """See whether a killed git has left a lock in the forge."""
    if (forge := look.forge) is None:
        return
    places = (forge.worktrees,) if forge.worktrees else ()
    left = stale_locks(forge.git_dir, places, older_than_seconds=STALE_LOCK_SECONDS)
    if not left:
        yield fine("No lock of git's is left in the forge")
        return

    def mend(_: OpenServices) -> str:
        # Looked at again: one that a living git owns by now stays.
        removed = forge.clear_stale_locks(older_than_seconds=STALE_LOCK_SECONDS)
        return f"Removed {named([str(lock) for lock in removed]) or 'nothing'}."

    listed = named([str(lock.relative_to(forge.git_dir)) for lock in left])
    yield problem(
        f"A git that was killed has left locks in the forge: {listed}.",
        why="Git refuses to write there, so that nothing can be committed or land.",
        remedy="Run: sf doctor forge --fix",
        mend=Mend(what=f"Remove {listed}, which no living git can own", carry_out=mend),
    )


def half_made(look: Look) -> Iterator[Found]:
    """See whether a killed git has left a worktree half added."""
    if (forge := look.forge) is None or forge.worktrees is None:
        return
    if not (left := half_added(forge.git_dir, forge.worktrees)):
        yield fine("No worktree is half added")
        return
    names = named([admin.name for admin in left])

    def mend(_: OpenServices) -> str:
        dropped = forge.drop_half_added()
        return f"Forgot the half-added worktrees {named([one.name for one in dropped])}."

    yield problem(
        f"A git that was killed has half added the worktrees {names}.",
        why="Git refuses to fetch into the forge until they are forgotten.",
        remedy="Run: sf doctor forge --fix",
        mend=Mend(what=f"Forget them ({names}): nothing is in them yet", carry_out=mend),
    )


def stale(look: Look) -> Iterator[Found]:
    """See whether there are worktrees of tasks that have ended."""
    if (worktrees := look.worktrees) is None:
        return
    occupied = worktrees.occupied()
    standing = look.read(lambda state: _standing(state, occupied))
    if standing is None:
        return
    ended, unknown = standing
    aside = sorted(path.name for path in worktrees.root.glob(".T*.aside-*"))
    if not (ended or unknown or aside):
        yield fine(f"{len(occupied)} worktrees of tasks, none of them left over")
        return
    if ended and look.has_server:
        # It is at it, or tries again in a moment.
        ended = []

    def tidy(services: OpenServices) -> str:
        services().work.tidy_ended()
        left = [task for task in ended if worktrees.path(task).exists()]
        gone = [task for task in ended if task not in left]
        kept = f"; left where they are: {named(list(left))}" if left else ""
        return f"Removed the worktrees of {named(list(gone)) or 'none'}, a snapshot first{kept}."

    if ended:
        yield warning(
            f"Tasks that have ended still have a worktree: {named(list(ended))}.",
            why="They take space. A running server removes them, once a snapshot has what is not "
            "committed.",
            remedy="Run: sf serve, or sf doctor forge --fix",
            mend=Mend(
                what=f"Remove the worktrees of {named(list(ended))}, once a snapshot has what is "
                "not committed",
                carry_out=tidy,
            ),
        )
    if unknown or aside:
        listed = named([*unknown, *aside])
        yield warning(
            f"There are worktrees that belong to no task of the state: {listed}.",
            why="The state may be older than the forge. They are never touched.",
            remedy=f"Look at {worktrees.root}; keep what you need, then remove them yourself.",
        )
    if not (ended or unknown or aside):
        yield fine("Worktrees of tasks that have ended are being removed")


def _standing(state: State, occupied: tuple[TaskId, ...]) -> tuple[list[TaskId], list[TaskId]]:
    """Return which of these tasks have ended and which are not known at all."""
    found = {task_id: tasks.TASKS.get(state, task_id) for task_id in occupied}
    ended = [key for key, task in found.items() if task is not None and task.state in TASK_ENDS]
    return ended, [key for key, task in found.items() if task is None]
