"""Merge requests mirrored as pull requests on GitHub (`merge.requests: github`).

Rule 1: a mirror and no more: what is decided, is decided here, and local work never waits for it.
Rule 2: what is there is looked up before anything is made, so that a crash between the two makes
nothing twice.
Rule 3: one pull request for each task. It stays open while the work goes back and forth, and is
closed when the task has landed, was cancelled or withdrawn.
"""

import logging
import re
import threading
from dataclasses import dataclass, replace

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import SERVER
from sf_mcp.core.models import MergeRequest, PullRequest, RepairNote, Task, TaskId
from sf_mcp.core.states import MergeState, TaskState
from sf_mcp.core.text import one_line
from sf_mcp.git.remotes import Rejected, RejectedBecause, push_branch, url_of
from sf_mcp.git.repository import Repository
from sf_mcp.github import Github, GithubFailed
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.tries import Tries
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import facts, merge_requests, pull_requests, tasks

logger = logging.getLogger(__name__)

REMOTE = "origin"
TITLE_CHARACTERS, TEXT_CHARACTERS = 200, 50_000
"""GitHub takes 256 and 65,536."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Mirrored:
    """What a pull request should show."""

    task: Task
    request: MergeRequest
    known: PullRequest
    state: str
    """`open`, `sent back`, `landed` or `withdrawn`."""
    note: RepairNote | None

    @property
    def told(self) -> str:
        at = f" {self.request.commit}" if self.state == "open" else ""
        return f"{self.state} {self.request.id}{at}"


class PullRequestService:
    """Use cases of mirroring. Called by one loop of its own."""

    def __init__(self, workspace: Workspace, forge: Repository, branch: str) -> None:
        """Mirror this project's merge requests onto `branch` of the remote."""
        self._workspace = workspace
        self._forge = forge
        self._branch = branch
        self._tries = Tries(workspace.now)
        self.cancel = threading.Event()
        """Set at the server's stop: a `gh` that runs is ended."""

    def mirror(self) -> float | None:
        """Bring every pull request up to date; return after how long to try again, if it failed."""
        if self._workspace.settings.merge.requests != "github":
            self._note("", "")
            return None
        waiting = self._waiting()
        if not waiting:
            return None
        if self._tries.may_try():
            problem = self._mirror(waiting)
            if self.cancel.is_set():
                return None
            if problem is None:
                self._tries.succeeded()
                self._note("", "")
                return None
            self._tries.failed()
            self._note(problem.message, problem.remedy)
        assert self._tries.next_try is not None  # it has failed, just now or before
        return max(1.0, (self._tries.next_try - self._workspace.now()).total_seconds())

    def _mirror(self, waiting: list[_Mirrored]) -> StoneforgeError | None:
        """Bring each up to date; return the first thing that went wrong."""
        url = url_of(self._workspace.layout.root, REMOTE)
        if not url:
            return GithubFailed(
                f"There is no remote {REMOTE}.",
                remedy=f"Add it (`git remote add {REMOTE} URL`), or set merge.requests: none.",
            )
        github = Github(self._workspace.layout.root, url, self.cancel)
        first: StoneforgeError | None = None
        for one in waiting:
            try:
                self._bring(github, one)
            except StoneforgeError as error:
                logger.warning("%s is not mirrored: %s", one.request.id, error)
                first = first or error
                # One that is refused must not hold up those behind it.
                if isinstance(error, GithubFailed) and error.is_general:
                    break
        return first

    def _waiting(self) -> list[_Mirrored]:
        """Return what does not show its newest state yet, oldest task first."""
        with self._workspace.read() as tx:
            known = pull_requests.all_of(tx.db)
            newest = {one.task_id: one for one in merge_requests.all_of(tx.db)}
            found = [_mirrored(tx, request, known.get(task)) for task, request in newest.items()]
        return [one for one in found if one is not None and one.told != one.known.told]

    def _bring(self, github: Github, one: _Mirrored) -> None:
        match one.state:
            case "open":
                self._open(github, one)
                return
            case "sent back":
                reason = one.note.reason if one.note else ""
                detail = f"\n\n{_text(one.note.detail)}" if one.note and one.note.detail else ""
                text = f"Sent back for changes: {_line(reason)}{detail}"
            case "landed":
                landed = one.request.landed_commit
                text = f"Landed on `{self._branch}` as {landed}." if landed else "Nothing to merge."
            case _:
                text = "Withdrawn: the task was cancelled."
        number = one.known.number
        assert number is not None  # only what was opened is told of its end
        github.comment(number, text, mark=f"stoneforge {one.told}")
        if one.state != "sent back":
            github.close(number)
        self._keep(replace(one.known, told=one.told), f"pull_request_{one.state}", one.request)

    def _open(self, github: Github, one: _Mirrored) -> None:
        """Push the pinned commit to a branch of the fleet's own, and open or update its request."""
        known = self._push(one)
        title = one_line(f"{one.task.id}: {one.task.title}", TITLE_CHARACTERS)
        body = _body(one)
        found = github.find_open(known.branch)
        if found is None:
            found = github.open(branch=known.branch, onto=self._branch, title=title, body=body)
            kind = "pull_request_opened"
        else:
            github.edit(found.number, title=title, body=body)
            kind = "pull_request_updated"
        known = replace(known, number=found.number, url=found.url, told=one.told)
        self._keep(known, kind, one.request)

    def _push(self, one: _Mirrored) -> PullRequest:
        known, commit = one.known, one.request.commit
        if known.pushed == commit:
            return known
        if known.pushed is not None:
            # Whoever has seen it there may come back for it.
            self._forge.keep(known.pushed, f"pull-request-{one.task.id}")
        root = self._workspace.layout.root
        pushed = push_branch(root, self._forge, REMOTE, commit, known.branch)
        if isinstance(pushed, Rejected) and pushed.because is RejectedBecause.BEHIND:
            # The work was redone on another base.
            pushed = push_branch(
                root, self._forge, REMOTE, commit, known.branch, replaces=known.pushed
            )
        if isinstance(pushed, Rejected):
            raise GithubFailed(
                f"{REMOTE} does not take {known.branch}: {pushed.reason}",
                remedy=f"See whether you may push there: git push --dry-run {REMOTE} "
                f"HEAD:refs/heads/{known.branch}",
                is_general=pushed.because is RejectedBecause.UNREACHABLE,
            )
        known = replace(known, pushed=commit)
        with self._workspace.write(SERVER) as tx:
            pull_requests.put(tx.db, known)
        return known

    def _keep(self, known: PullRequest, kind: str, request: MergeRequest) -> None:
        with self._workspace.write(SERVER) as tx:
            pull_requests.put(tx.db, known)
            tx.event(kind.replace(" ", "_"), request.id, url=known.url, number=known.number)

    def _note(self, message: str, remedy: str) -> None:
        """Tell what is wrong unless it was told; nothing: it is over."""
        text = f"Pull requests are not up to date: {message} {remedy}".strip() if message else ""
        with self._workspace.read() as tx:
            if (facts.get(tx.db, pull_requests.PROBLEM) or "") == text:
                return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, pull_requests.PROBLEM, text)
            if text:
                tx.event("pull_requests_failed", "", detail=message, remedy=remedy)


def _mirrored(
    tx: Transaction, request: MergeRequest, known: PullRequest | None
) -> _Mirrored | None:
    """Return what the task's pull request should show; None when it needs none."""
    task = tasks.get(tx.db, request.task_id)
    is_open = request.state in (MergeState.OPEN, MergeState.LANDING)
    if request.no_changes_reason or (known is None and not is_open):
        return None
    known = known or _unopened(task.id, request.branch)
    if known.number is None and not is_open:
        return None
    if is_open:
        state = "open"
    elif request.state is MergeState.LANDED:
        state = "landed"
    elif request.state is MergeState.WITHDRAWN or task.state is TaskState.CANCELLED:
        state = "withdrawn"
    else:
        state = "sent back"
    notes = merge_requests.repair_notes(tx.db, task.id) if state == "sent back" else []
    return _Mirrored(
        task=task, request=request, known=known, state=state, note=notes[-1] if notes else None
    )


def _unopened(task_id: TaskId, branch: str) -> PullRequest:
    return PullRequest(task_id=task_id, branch=branch, number=None, url="", pushed=None, told="")


def _body(one: _Mirrored) -> str:
    criteria = "\n".join(f"- {_line(text)}" for text in one.task.acceptance)
    parts = [
        _text(one.request.summary),
        f"### Task\n\n{_text(one.task.description)}" if one.task.description else "",
        f"### Acceptance criteria\n\n{criteria}" if criteria else "",
        f"---\n{one.request.id} of {one.task.id}, at {one.request.commit}. Stoneforge checks and "
        "lands it; this pull request follows.",
    ]
    return "\n\n".join(part for part in parts if part)[:TEXT_CHARACTERS]


def _line(text: str) -> str:
    return _text(one_line(text, 1000))


def _text(text: str) -> str:
    """Return a model's text without the power to call people: `@name` mentions nobody."""
    return re.sub(r"@(?=\w)", "@\u200b", text)
