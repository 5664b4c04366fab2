"""A merge request as whoever decides about it sees it: what was asked, done, checked and risked.

Put together from stored facts and from git each time it is looked at; stored nowhere. Everything in
it that people, models or files wrote is text to be shown, never to be obeyed.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sf_mcp.core.changes import FileChange
from sf_mcp.core.dependencies import reader_of
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import MergeRequest, Oid, Review, Role, Task, TrialRecord, Verdict
from sf_mcp.core.risks import Manifest, Risk, risks_of
from sf_mcp.core.states import MergeState
from sf_mcp.git.changes import changed_lines, deleted_between, file_changes, text_at
from sf_mcp.git.command import GitFailed
from sf_mcp.git.repository import Repository
from sf_mcp.git.resolving import Resolved
from sf_mcp.service.branches import BranchService
from sf_mcp.service.handing_off import Criterion, criteria_of
from sf_mcp.service.merge_status import is_reviewed
from sf_mcp.service.radar import RadarService
from sf_mcp.service.requests import RequestService
from sf_mcp.service.resolving import Resolving
from sf_mcp.service.target import TargetService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import landings, sessions, trials

FILES_SHOWN = 200
"""Of a page of changed files."""
MOST_MANIFESTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSeen:
    """What one check says of the merged tree."""

    name: str
    outcome: str
    passed: bool
    seconds: float
    log_path: str
    is_flaky: bool
    """It has both passed and failed on this very tree."""
    is_old: bool
    """It fails on the target without this work too, so it is not held against it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeView:
    """One merge request with everything beside it."""

    request: MergeRequest
    task: Task
    status: str
    session: str
    """The name of the session that asked for the merge."""
    criteria: list[Criterion]
    checked: str
    """What the checks ran on, in a phrase."""
    checks: list[CheckSeen]
    reviews: list[Review]
    verdicts: list[Verdict]
    """Every run of a check on the tree, oldest first."""
    steward: str
    """Where the steward's word stands, in a phrase."""
    person: str
    """Where the person's does."""
    files: list[FileChange]
    """A page of them, by path."""
    total_files: int
    next_after: str
    """Pass as `files_after` for the next page; empty: there is none."""
    added: int
    removed: int
    risks: list[Risk]
    note: str
    """What could not be looked at; empty when everything was."""


class MergeViewService:
    """Use cases of looking at a merge request as a whole."""

    def __init__(
        self,
        workspace: Workspace,
        forge: Repository,
        target: TargetService,
        requests: RequestService,
        branches: BranchService,
        radar: RadarService,
        resolving: Resolving,
    ) -> None:
        """Look at the merge requests of this project."""
        self._resolving = resolving
        self._workspace = workspace
        self._forge = forge
        self._target = target
        self._requests = requests
        self._branches = branches
        self._radar = radar

    def show_merge_request(
        self, caller: Caller, merge_request: str, *, files_after: str = ""
    ) -> MergeView:
        """Return one merge request, by its id or its task's, with all that there is to see."""
        request = self._requests.get_merge_request(caller, merge_request).request
        base = self._branches.base_of(request)
        files = file_changes(self._forge, base, request.commit)
        risks, note = self._risks(request, base, files)
        trial = self._trial(request)
        checked = self._checked(request, trial)
        page = [file for file in files if file.path > files_after][: FILES_SHOWN + 1]
        # As it is after git was asked: the facts of one moment, together.
        seen = self._requests.get_merge_request(caller, request.id)
        with self._workspace.read() as tx:
            verdicts = seen.verdicts
            if not verdicts and trial is not None and trial.tree is not None:
                verdicts = landings.verdicts_on(tx.db, trial.tree)
            checks = self._checks(seen.request, verdicts)
            return MergeView(
                request=seen.request,
                task=seen.task,
                status=seen.status,
                session=sessions.get(tx.db, seen.request.session_id).name,
                criteria=criteria_of(tx, seen.task),
                checked=checked,
                checks=checks,
                reviews=seen.reviews,
                verdicts=verdicts,
                steward=self._word_of_steward(tx, seen.request, seen.reviews),
                person=self._word_of_person(seen.request, seen.reviews),
                files=page[:FILES_SHOWN],
                total_files=len(files),
                next_after=page[FILES_SHOWN - 1].path if len(page) > FILES_SHOWN else "",
                added=sum(file.added or 0 for file in files),
                removed=sum(file.removed or 0 for file in files),
                risks=risks,
                note=note,
            )

    def _risks(
        self, request: MergeRequest, base: Oid, files: Sequence[FileChange]
    ) -> tuple[list[Risk], str]:
        lines, is_whole = changed_lines(self._forge, base, request.commit)
        manifests = [file for file in files if file.how != "deleted" and reader_of(file.path)]
        is_live = request.state in (MergeState.OPEN, MergeState.LANDING)
        risks = risks_of(
            files,
            lines,
            manifests=[
                Manifest(
                    path=file.path,
                    old=text_at(self._forge, base, file.was or file.path),
                    new=text_at(self._forge, request.commit, file.path),
                )
                for file in manifests[:MOST_MANIFESTS]
            ],
            # Against where the work began: a branch that merged the target badly brings back what
            # its merge base with the target has lost already.
            deleted_since=deleted_between(self._forge, request.base, self._target.head())
            if is_live and any(file.how in ("added", "renamed") for file in files)
            else (),
            touched_by=self._radar.touching(
                [path for file in files for path in (file.path, file.was) if path],
                but=request.task_id,
            )
            if is_live
            else {},
        )
        note = "" if is_whole else "The patch is too long: only its first 8 MB were searched."
        return risks, note

    def _trial(self, request: MergeRequest) -> TrialRecord | None:
        """Return the trial that tells most of it: the one that passed, else the newest."""
        with self._workspace.read() as tx:
            found = [
                one
                for one in trials.of_request(tx.db, request.id)
                if one.tree is not None
                and one.commits[one.requests.index(request.id)] == request.commit
            ]
        passed = [one for one in found if one.tree == request.checked_tree]
        return (passed or found or [None])[-1]

    def _checked(self, request: MergeRequest, trial: TrialRecord | None) -> str:
        """Return what the checks ran on: the target may have moved since."""
        branch = self._target.branch
        others = [one for one in trial.requests if one != request.id] if trial is not None else []
        on = f"merged with {branch}" + (f" and {', '.join(others)}" if others else "")
        if request.checked_tree is None:
            return on if trial is None else f"{on}, in trial {trial.number}"
        if request.state is not MergeState.OPEN:
            return f"{on} as it was"
        if self._tree_now(request) == request.checked_tree:
            return f"{on} as it is now"
        return f"{on} as it was; checked again before it lands"

    def _tree_now(self, request: MergeRequest) -> Oid | None:
        """Return what it gives merged alone by the rules, as far as that needs no command."""
        head = self._target.head()
        try:
            merged = self._resolving.known(ours=head, theirs=request.commit)
        except GitFailed:
            return None
        return merged.tree if isinstance(merged, Resolved) else None

    def _checks(self, request: MergeRequest, verdicts: Sequence[Verdict]) -> list[CheckSeen]:
        """Return the newest word of each check, in the order in which they first ran."""
        newest = {verdict.check: verdict for verdict in verdicts}
        outcomes: dict[str, set[bool]] = {}
        for verdict in verdicts:
            outcomes.setdefault(verdict.check, set()).add(verdict.passed)
        return [
            CheckSeen(
                name=name,
                outcome=verdict.outcome,
                passed=verdict.passed,
                seconds=verdict.seconds,
                log_path=verdict.log_path,
                is_flaky=len(outcomes[name]) == 2,
                # The tree counts as checked although this one fails there.
                is_old=not verdict.passed and verdict.tree == request.checked_tree,
            )
            for name, verdict in newest.items()
        ]

    def _word_of_steward(
        self, tx: Transaction, request: MergeRequest, reviews: Sequence[Review]
    ) -> str:
        if word := _newest_word(reviews, Role.STEWARD):
            return word
        if request.is_escalated:
            return "left it to the person"
        if is_reviewed(tx, request, self._workspace.settings) or not _is_under_way(request):
            return "was not asked"
        return "has not decided yet"

    def _word_of_person(self, request: MergeRequest, reviews: Sequence[Review]) -> str:
        if word := _newest_word(reviews, Role.PERSON):
            return word
        if not _is_under_way(request):
            return "was not asked"
        if self._workspace.settings.agents.steward.auto_merge and not request.is_escalated:
            return "is not asked (autoMerge is on)"
        return f"has not decided yet: sf mr approve {request.id}, or sf mr reject {request.id}"


def _is_under_way(request: MergeRequest) -> bool:
    return request.state in (MergeState.OPEN, MergeState.LANDING)


def _newest_word(reviews: Sequence[Review], role: Role) -> str:
    of_role = [review for review in reviews if review.role is role]
    if not of_role:
        return ""
    review = of_role[-1]
    return f"{review.by} {'approved' if review.approved else 'asks for changes'}"
