"""What a steward that resolves a conflict is given, and what becomes of what it hands back.

Git runs here, never inside a transaction.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sf_mcp.core.accounting import Account, Decided, Dropped, account
from sf_mcp.core.errors import InvalidInput, StoneforgeError
from sf_mcp.core.identity import Caller
from sf_mcp.core.layout import STATE_FOLDER
from sf_mcp.core.models import (
    Conflict,
    EndKind,
    MergeRequest,
    Oid,
    Role,
    Task,
    TaskId,
)
from sf_mcp.core.states import ConflictEvent, ConflictState
from sf_mcp.core.text import checked_text, one_line
from sf_mcp.git.conflicts import SUBMODULE, Outcome, Take
from sf_mcp.git.identity import SERVER as SERVER_IDENTITY
from sf_mcp.git.identity import identity
from sf_mcp.git.repository import Repository
from sf_mcp.service.claims import require_lease
from sf_mcp.service.conflict_state import what_was_said
from sf_mcp.service.conflicts import ConflictService
from sf_mcp.service.target import TargetService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import conflicts, landings, merge_requests, tasks

SUMMARY_LIMIT = 8_000
DIFF_BYTES = 400_000
"""Of what one side did to the paths in conflict; a steward reads no more than that."""
MOST_COMMITS = 50
SHOWN_UNACCOUNTED = 40
SHOWN_CHARACTERS = 200
"""Of a line in a refusal; so much of a longer one is enough to list it."""


class Unresolved(StoneforgeError):
    """A resolution does not account for all that either side did."""

    code = "unresolved"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSide:
    """A change on the target that touches the paths in conflict."""

    commit: Oid
    subject: str
    by: str
    task: Task | None
    """None for a commit that came from elsewhere."""
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ConflictView:
    """What a steward needs to resolve a conflict."""

    conflict: Conflict
    request: MergeRequest
    task: Task
    others: tuple[OtherSide, ...]
    text: str
    """A page of: the places in conflict, both sides' diffs of these paths, what was said before."""
    next_start: int | None
    worktree: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A result that accounts for everything, as a commit that no ref names yet."""

    conflict: Conflict
    commit: Oid
    summary: str


class ResolutionService:
    """Use cases of a steward that resolves a conflict."""

    def __init__(
        self,
        workspace: Workspace,
        forge: Repository,
        target: TargetService,
        conflict_service: ConflictService,
    ) -> None:
        """Let the conflicts of this project be resolved."""
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._conflicts = conflict_service

    # -- what it reads -----------------------------------------------------------------------------

    def claimed_conflict(self, caller: Caller, start: int = 0, *, room: int) -> ConflictView:
        """Return the conflict that the calling steward was started for.

        `room` is how long the page of the text may be as JSON.

        Raises:
            StaleLease: the caller holds no conflict (any more).
            InvalidInput: it reviews.
        """
        with self._workspace.write(caller) as tx:
            conflict = self._held(tx, caller)
            request = merge_requests.get(tx.db, conflict.merge_request_id)
            task = tasks.get(tx.db, request.task_id)
            said = what_was_said(tx, request.id)
            words = [
                f"{review.by}: {review.reason}"
                for review in merge_requests.reviews_of(tx.db, request)
                if review.role is Role.PERSON and review.reason
            ]
        text, next_start = _page(self._document(conflict, task, [*said, *words]), start, room)
        return ConflictView(
            conflict=conflict,
            request=request,
            task=task,
            others=self._others(conflict),
            text=text,
            next_start=next_start,
            worktree=str(self._conflicts.merge_of(conflict).path),
        )

    def _held(self, tx: Transaction, caller: Caller) -> Conflict:
        caller.require(Role.STEWARD, to="resolve conflicts")
        lease = require_lease(tx, caller)
        conflict = conflicts.live_of(tx.db, lease.subject)
        if conflict is None or conflict.state is not ConflictState.OPEN:
            raise InvalidInput(
                f"You review {lease.subject}: it is not in conflict.", remedy="Call claim_review."
            )
        return conflict

    def _base(self, conflict: Conflict) -> Oid:
        # There is one: histories that have nothing in common are never merged.
        return self._forge.merge_base(conflict.commit, conflict.target) or conflict.target

    def _document(self, conflict: Conflict, task: Task, said: Sequence[str]) -> str:
        base, paths = self._base(conflict), conflict.paths
        mine, theirs = (
            self._forge.diff(base, side, paths=paths, max_bytes=DIFF_BYTES).text
            for side in (conflict.commit, conflict.target)
        )
        target = self._target.branch
        parts = [
            ("The places in conflict", "\n".join([*conflict.messages, "", conflict.hunks])),
            ("Why no rule resolves it", conflict.reason),
            (f"What {task.id} did to these files", mine),
            (f"What {target} did to them since {task.id} began", theirs),
            ("What came of it before", "\n".join(said)),
        ]
        return "\n\n".join(f"# {title}\n\n{text}" for title, text in parts if text.strip())

    def _others(self, conflict: Conflict) -> tuple[OtherSide, ...]:
        """Return what moved the target so that it touches the paths in conflict, newest first."""
        entries = self._forge.first_parents_between(
            self._base(conflict), conflict.target, paths=conflict.paths, limit=MOST_COMMITS
        )
        found: list[OtherSide] = []
        with self._workspace.read() as tx:
            for entry in entries:
                request_id = landings.landed_as(tx.db, entry.commit)
                request = merge_requests.get(tx.db, request_id) if request_id else None
                found.append(
                    OtherSide(
                        commit=entry.commit,
                        subject=entry.subject,
                        by=entry.author,
                        task=tasks.get(tx.db, request.task_id) if request else None,
                        summary=request.summary if request else "",
                    )
                )
        return tuple(found)

    def message_of(self, request: MergeRequest) -> str:
        """Return what was said of the resolution that is pinned; empty when none is."""
        with self._workspace.read() as tx:
            conflict = conflicts.resolved_as(tx.db, request.commit)
        return self._forge.message_of(request.commit) if conflict is not None else ""

    # -- what it hands back ------------------------------------------------------------------------

    def checked(
        self,
        caller: Caller,
        *,
        summary: str,
        dropped: Sequence[Dropped],
        decided: Sequence[tuple[Decided, Take]],
    ) -> Resolution:
        """Account for the files in the caller's worktree and make the merge commit of them.

        Raises:
            StaleLease: the caller holds no conflict (any more).
            Unresolved: something of either side is neither in the result nor listed.
            InvalidInput: there is no summary, or a path that is named is not in conflict.
        """
        text = checked_text(summary, "summary", limit=SUMMARY_LIMIT).strip()
        if not text:
            raise InvalidInput(
                "The summary is empty.", remedy="Say how both intents are met, in a few sentences."
            )
        with self._workspace.write(caller) as tx:
            conflict = self._held(tx, caller)
            task = tasks.get(tx.db, merge_requests.get(tx.db, conflict.merge_request_id).task_id)
        merge = self._conflicts.merge_of(conflict)
        if not merge.is_begun:
            raise InvalidInput(
                f"The merge is not under way in {merge.path} any more.",
                remedy="End your turn; it is made anew for another session.",
            )
        takes = {one.path: take for one, take in decided}
        outcome = merge.outcome(takes, conflict.paths)
        self._refuse_odd_paths(conflict, outcome, takes)
        accounted = account(outcome.files, dropped, [one for one, _ in decided])
        if accounted.unaccounted:
            raise self._refusal(accounted, task.id)
        message = self._message(conflict, caller, text, accounted, takes)
        commit = self._forge.commit_tree(
            outcome.tree,
            [conflict.commit, conflict.target],
            message,
            identity(self._workspace.layout.root) or SERVER_IDENTITY,
            self._workspace.now(),
        )
        return Resolution(conflict=conflict, commit=commit, summary=text)

    def _refuse_odd_paths(
        self, conflict: Conflict, outcome: Outcome, takes: dict[str, Take]
    ) -> None:
        conflicting = {one.path for one in outcome.files if one.is_conflicting or one.is_special}
        sided = {path for path, take in takes.items() if take in (Take.MINE, Take.TARGET)}
        if strange := sorted(sided - conflicting):
            raise InvalidInput(
                f"{', '.join(strange[:5])} is not in conflict: no side of it can be taken.",
                remedy=f"In conflict are {', '.join(sorted(conflicting)[:10])}.",
            )
        for one in outcome.files:
            result = one.result
            if result is None or result in (one.mine, one.theirs, one.merged):
                continue
            if result.mode == SUBMODULE:
                raise InvalidInput(
                    f"{one.path} holds a repository of its own.",
                    remedy="Take its .git away, or decide for a side.",
                )
        rules = [
            path
            for path in self._forge.changed_paths(conflict.target, outcome.tree)
            if path.split("/", 1)[0] == STATE_FOLDER
        ]
        if rules:
            raise InvalidInput(
                f"The result changes {', '.join(rules[:5])}: those rules are the person's.",
                remedy="Leave them as the target has them.",
            )

    def _refusal(self, accounted: Account, mine: TaskId) -> Unresolved:
        found = accounted.unaccounted
        lines = [
            _shown(one.sentence(mine, self._target.branch)) for one in found[:SHOWN_UNACCOUNTED]
        ]
        more = [f"… and {len(found) - len(lines)} more"] if len(found) > len(lines) else []
        return Unresolved(
            f"{len(found)} lines or paths are not accounted for:\n" + "\n".join([*lines, *more]),
            remedy="\nEdit the files so that each line is so in the result, or list it in "
            "`dropped`: the path, the exact text, a reason. Then submit again.",
        )

    def _message(
        self,
        conflict: Conflict,
        caller: Caller,
        summary: str,
        accounted: Account,
        takes: dict[str, Take],
    ) -> str:
        lines = [
            f"Merge {self._target.branch} into {conflict.merge_request_id}, resolved by "
            f"{caller.name}",
            "",
            summary,
        ]
        if accounted.dropped or accounted.decided:
            lines += ["", "Not taken over:"]
        for one in accounted.dropped:
            count = "1 line" if len(one.lines) == 1 else f"{len(one.lines)} lines"
            lines += [f"- {_shown(one.path)}, {count}: {one_line(one.reason, 500)}"]
            lines += [f"    {_shown(line)}" for line in one.lines]
        lines += [
            f"- {_shown(one.path)}, {takes[one.path].value}: {one_line(one.reason, 500)}"
            for one in accounted.decided
        ]
        return "\n".join([*lines, "", f"Merge-Request: {conflict.merge_request_id}"])

    def accept(self, caller: Caller, resolution: Resolution) -> MergeRequest:
        """Record an accounted resolution; `ConflictService.settle` then moves the branch to it.

        Raises:
            StaleLease: the caller holds the conflict no longer.
            InvalidInput: the conflict is another one by now.
        """
        with self._workspace.write(caller) as tx:
            conflict = self._held(tx, caller)
            seen = resolution.conflict
            if (conflict.number, conflict.commit, conflict.target) != (
                seen.number,
                seen.commit,
                seen.target,
            ):
                raise InvalidInput(
                    f"{conflict.merge_request_id} is in another conflict by now.",
                    remedy="Call claim_conflict again.",
                )
            tx.move_conflict(
                conflict,
                ConflictEvent.ACCEPT,
                resolution=resolution.commit,
                note=f"{caller.name}: {resolution.summary}",
            )
            tx.end_lease(require_lease(tx, caller), EndKind.DONE, "resolved")
            tx.event(
                "resolution_accepted",
                conflict.merge_request_id,
                commit=resolution.commit,
                summary=resolution.summary,
            )
            return merge_requests.get(tx.db, conflict.merge_request_id)


def _page(text: str, start: int, room: int) -> tuple[str, int | None]:
    """Return a page of the text from a character on, cut at a line's end if it has one."""
    if start < 0:
        raise InvalidInput("A page cannot begin before the text.", remedy="Pass `next_start`.")
    page = text[start : start + room]
    while len(json.dumps(page, ensure_ascii=False)) > room:
        page = page[: len(page) * 3 // 4]
    if start + len(page) >= len(text):
        return page, None
    page = page[: page.rfind("\n") + 1 or len(page)]
    return page, start + len(page)


def _shown(text: str) -> str:
    """Return text of a file so that it can be stored and shown, a long line cut."""
    shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return shown if len(shown) <= SHOWN_CHARACTERS else f"{shown[:SHOWN_CHARACTERS]}…"
