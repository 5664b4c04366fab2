"""The forge against the state: what each of them says has happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from sf_mcp.core.models import Landing, Oid, TaskId
from sf_mcp.git.snapshots import SNAPSHOTS
from sf_mcp.service.doctor.found import Found, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look
from sf_mcp.store import landings
from sf_mcp.store.inspection import State

CHECKED_LANDINGS = 1000
"""The newest: each is looked for among the target's ancestors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What the rows say of git."""

    newest: Landing | None
    intent: Landing | None
    landed: list[tuple[str, Oid]]
    """Merge request and commit, newest first."""
    branches: list[tuple[TaskId, str]]
    snapshots: list[tuple[TaskId, Oid]]
    """What handoffs name."""


def target(look: Look) -> Iterator[Found]:
    """See whether the target branch of the forge is where the last landing left it."""
    if look.forge is None or not look.target:
        return
    ref = f"refs/heads/{look.target}"
    said = look.read(_said)
    at = look.forge.head_of(ref)
    again = look.read(_said)
    if said is None or again is None or said.newest is None:
        return
    if again.intent is not None and not look.has_server:
        yield warning(
            f"Landing {again.intent.number} was interrupted.",
            why="Whether it happened is for git to say.",
            remedy="Run: sf serve (it settles this first)",
        )
    elif again.intent is not None or said.newest != again.newest or at == said.newest.new:
        yield fine(f"{look.target} is where the last landing left it")
    else:
        yield problem(
            f"{look.target} of the forge is at {(at or 'nothing')[:12]}, and the last landing left "
            f"it at {said.newest.new[:12]}.",
            why="Something other than the server has moved it, or the state is older than the "
            "forge.",
            remedy="Run: sf serve (it puts the branch back and keeps the other commit)",
        )


def landed(look: Look) -> Iterator[Found]:
    """See whether what has landed is in the target branch."""
    if look.forge is None or not look.target or (said := look.read(_said)) is None:
        return
    ref = f"refs/heads/{look.target}"
    if look.forge.head_of(ref) is None:
        return
    reachable = set(look.forge.run("rev-list", ref).text.split())
    missing = [
        f"{request} ({commit[:12]})" for request, commit in said.landed if commit not in reachable
    ]
    if missing:
        yield problem(
            f"What is recorded as landed is not in {look.target}: {named(missing)}.",
            why="Work that was promised to be there is not.",
            remedy=f"Look at them (git -C {look.forge.git_dir} show COMMIT) and at `sf log`; "
            "`sf serve` puts the branch back where its last landing left it.",
        )
    else:
        yield fine(f"All that has landed is in {look.target} ({len(said.landed)} merge requests)")


def branches(look: Look) -> Iterator[Found]:
    """See whether tasks have the branches that they say they have."""
    if look.forge is None or (said := look.read(_said)) is None:
        return
    present = look.forge.refs_below("refs/heads")
    missing = [
        f"{task} ({branch})"
        for task, branch in said.branches
        if f"refs/heads/{branch}" not in present
    ]
    if missing:
        yield problem(
            f"Branches of tasks are not in the forge: {named(missing)}.",
            why="Their commits are on no branch; those that were snapshots or merge requests are "
            "kept.",
            remedy=f"Look for them: git -C {look.forge.git_dir} for-each-ref refs/stoneforge",
        )
    else:
        yield fine(f"All {len(said.branches)} branches of tasks are there")


def snapshots(look: Look) -> Iterator[Found]:
    """See whether the snapshots that handoffs name are kept by a ref."""
    if look.forge is None or (said := look.read(_said)) is None:
        return
    missing: list[str] = []
    for task in dict.fromkeys(task for task, _ in said.snapshots):
        wanted = [commit for owner, commit in said.snapshots if owner == task]
        kept = set(look.forge.refs_below(f"{SNAPSHOTS}/{task}").values())
        if not set(wanted) <= kept:
            # Thinned ones are ancestors of a ref.
            tips = sorted(kept)
            reachable = set(look.forge.run("rev-list", *tips).text.split()) if tips else set[str]()
            missing += [f"{task} ({commit[:12]})" for commit in wanted if commit not in reachable]
    if missing:
        yield problem(
            f"Snapshots are kept by no ref: {named(missing)}.",
            why="What was not committed there may be lost when git cleans up.",
            remedy=f"Keep them while they are there: git -C {look.forge.git_dir} update-ref "
            "refs/stoneforge/kept/NAME COMMIT",
        )
    else:
        yield fine(f"All {len(said.snapshots)} snapshots of handoffs are kept")


def _said(state: State) -> _Said:
    return _Said(
        newest=landings.newest_done(state),
        intent=landings.intended(state),
        landed=[
            (str(row[0]), Oid(row[1]))
            for row in state.execute(
                'SELECT r.merge_request_id, r."commit" FROM landing_requests r JOIN landings l'
                " ON l.number = r.landing WHERE l.state = 'done' ORDER BY l.number DESC LIMIT ?",
                (CHECKED_LANDINGS,),
            )
        ],
        branches=[
            (TaskId(row[0]), str(row[1]))
            for row in state.execute(
                "SELECT id, branch FROM tasks WHERE branch IS NOT NULL AND state NOT IN"
                " ('merged', 'closed', 'cancelled') ORDER BY number"
            )
        ],
        snapshots=[
            (TaskId(row[0]), Oid(row[1]))
            for row in state.execute(
                "SELECT task_id, snapshot FROM handoffs WHERE snapshot IS NOT NULL"
            )
        ],
    )
