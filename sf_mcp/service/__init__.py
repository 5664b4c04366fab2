"""The use cases: one public method is one transaction is one sentence.

`Services` is the one place where they are put together. Each is made when it is first asked for, so
that `sf task ready` pays for the graph and not for git.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sf_mcp.core.models import TaskId
    from sf_mcp.git.worktrees import Worktrees
    from sf_mcp.service.branches import BranchService
    from sf_mcp.service.browsers import BrowserService
    from sf_mcp.service.budgets import BudgetService
    from sf_mcp.service.check_runs import CheckRuns
    from sf_mcp.service.checking import Checking
    from sf_mcp.service.claims import ClaimService
    from sf_mcp.service.conflict_warnings import ConflictWarnings
    from sf_mcp.service.conflicts import ConflictService
    from sf_mcp.service.costs import CostService
    from sf_mcp.service.diffs import DiffService
    from sf_mcp.service.dispatch import DispatchService
    from sf_mcp.service.fleet import FleetService
    from sf_mcp.service.hooks import HookService
    from sf_mcp.service.importing import ImportService
    from sf_mcp.service.launcher import LauncherService
    from sf_mcp.service.lease_watch import LeaseWatch
    from sf_mcp.service.limits import LimitService
    from sf_mcp.service.merge_views import MergeViewService
    from sf_mcp.service.notices import Notices
    from sf_mcp.service.notifications import NotificationService
    from sf_mcp.service.plan_views import PlanViewService
    from sf_mcp.service.plans import PlanService
    from sf_mcp.service.publishing import PublishingService
    from sf_mcp.service.pull_requests import PullRequestService
    from sf_mcp.service.queries import QueryService
    from sf_mcp.service.questions import QuestionService
    from sf_mcp.service.radar import RadarService
    from sf_mcp.service.reporting import ReportService
    from sf_mcp.service.requests import RequestService
    from sf_mcp.service.resolutions import ResolutionService
    from sf_mcp.service.resolving import Resolving
    from sf_mcp.service.seats import SeatService
    from sf_mcp.service.sessions import SessionService
    from sf_mcp.service.snapshots import SnapshotService
    from sf_mcp.service.takeovers import TakeoverService
    from sf_mcp.service.target import TargetService
    from sf_mcp.service.task_views import TaskViewService
    from sf_mcp.service.train import TrainService
    from sf_mcp.service.train_views import TrainViewService
    from sf_mcp.service.transcripts import TranscriptService
    from sf_mcp.service.work import WorkService
    from sf_mcp.service.workspace import Workspace


class Services:
    """Every service of one project."""

    def __init__(self, workspace: "Workspace") -> None:
        """Work on this project's state."""
        self.workspace = workspace

    @cached_property
    def plans(self) -> "PlanService":
        """Plans, tasks, dependencies."""
        from sf_mcp.service.plans import PlanService

        return PlanService(self.workspace)

    @cached_property
    def importing(self) -> "ImportService":
        """Plans that come from files."""
        from sf_mcp.service.importing import ImportService

        return ImportService(self.workspace, self.plans)

    @cached_property
    def queries(self) -> "QueryService":
        """Looking at tasks."""
        from sf_mcp.service.queries import QueryService

        return QueryService(self.workspace, self._touched, self._trials)

    @cached_property
    def plan_views(self) -> "PlanViewService":
        """Plans as graphs."""
        from sf_mcp.service.plan_views import PlanViewService

        return PlanViewService(self.workspace)

    @cached_property
    def task_views(self) -> "TaskViewService":
        """Tasks with all that was done about them."""
        from sf_mcp.service.task_views import TaskViewService

        return TaskViewService(self.workspace, self.queries.why)

    @cached_property
    def claims(self) -> "ClaimService":
        """The worker's side of a task."""
        from sf_mcp.service.claims import ClaimService

        return ClaimService(self.workspace)

    @cached_property
    def questions(self) -> "QuestionService":
        """The inbox."""
        from sf_mcp.service.questions import QuestionService

        return QuestionService(self.workspace)

    @cached_property
    def sessions(self) -> "SessionService":
        """The launcher's side of sessions, and tokens."""
        from sf_mcp.service.sessions import SessionService

        return SessionService(self.workspace, self.claims)

    @cached_property
    def browsers(self) -> "BrowserService":
        """The person's browsers."""
        from sf_mcp.service.browsers import BrowserService

        return BrowserService(self.workspace)

    @cached_property
    def lease_watch(self) -> "LeaseWatch":
        """What only the passing of time calls for."""
        from sf_mcp.service.lease_watch import LeaseWatch

        return LeaseWatch(self.workspace, self.claims)

    @cached_property
    def transcripts(self) -> "TranscriptService":
        """What sessions said."""
        from sf_mcp.service.transcripts import TranscriptService

        return TranscriptService(self.workspace)

    @cached_property
    def reporting(self) -> "ReportService":
        """What plans have come to."""
        from sf_mcp.git.forge import forge_at
        from sf_mcp.service.reporting import ReportService

        return ReportService(self.workspace, forge_at(self.workspace.layout.folder))

    @cached_property
    def budgets(self) -> "BudgetService":
        """What tasks and the fleet may cost."""
        from sf_mcp.service.budgets import BudgetService

        return BudgetService(self.workspace)

    @cached_property
    def costs(self) -> "CostService":
        """What was spent."""
        from sf_mcp.service.costs import CostService

        return CostService(self.workspace)

    @cached_property
    def limits(self) -> "LimitService":
        """The limits of the account."""
        from sf_mcp.service.limits import LimitService

        return LimitService(self.workspace)

    @cached_property
    def requests(self) -> "RequestService":
        """Merge requests and reviews."""
        from sf_mcp.service.requests import RequestService

        return RequestService(self.workspace)

    @cached_property
    def fleet(self) -> "FleetService":
        """The fleet as a whole."""
        from sf_mcp.service.fleet import FleetService

        return FleetService(self.workspace)

    @cached_property
    def hooks(self) -> "HookService":
        """Answers to Claude Code's hooks."""
        from sf_mcp.service.hooks import HookService

        return HookService(
            self.workspace, self.sessions, self.conflict_warnings, self.seats, self.takeovers
        )

    @cached_property
    def seats(self) -> "SeatService":
        """A person's own sessions as directors."""
        from sf_mcp.service.seats import SeatService

        return SeatService(self.workspace)

    @cached_property
    def notices(self) -> "Notices":
        """Waiting for the next change."""
        from sf_mcp.service.notices import Notices

        return Notices(self.workspace)

    @cached_property
    def worktrees(self) -> "Worktrees":
        """The forge's worktrees."""
        from sf_mcp.git.forge import forge_at
        from sf_mcp.git.worktrees import Worktrees

        target = self.workspace.settings.merge.target_branch
        forge = forge_at(self.workspace.layout.folder)
        return Worktrees(forge, target, self.workspace.now)

    @cached_property
    def target(self) -> "TargetService":
        """The target branch."""
        from sf_mcp.service.target import TargetService

        return TargetService(self.workspace, self.worktrees.forge, self.worktrees.target)

    @cached_property
    def publishing(self) -> "PublishingService":
        """The branches of the person and of `origin`."""
        from sf_mcp.service.publishing import PublishingService

        return PublishingService(self.workspace, self.worktrees.forge, self.target)

    @cached_property
    def work(self) -> "WorkService":
        """Worktrees, snapshots, trial merges."""
        from sf_mcp.service.work import WorkService

        return WorkService(
            self.workspace,
            self.worktrees,
            self.target,
            self.claims,
            self.sessions,
            self.conflicts,
            self.snapshots,
        )

    @cached_property
    def snapshots(self) -> "SnapshotService":
        """Work that is on no branch."""
        from sf_mcp.service.snapshots import SnapshotService

        return SnapshotService(self.workspace, self.worktrees, self.target)

    @cached_property
    def conflicts(self) -> "ConflictService":
        """Conflicts that a steward resolves."""
        from sf_mcp.service.conflicts import ConflictService

        return ConflictService(
            self.workspace, self.worktrees, self.target, self.requests, self.snapshots
        )

    @cached_property
    def resolutions(self) -> "ResolutionService":
        """What stewards make of conflicts."""
        from sf_mcp.service.resolutions import ResolutionService

        return ResolutionService(self.workspace, self.worktrees.forge, self.target, self.conflicts)

    @cached_property
    def radar(self) -> "RadarService":
        """Conflicts, while the work is being done."""
        from sf_mcp.service.radar import RadarService

        radar = RadarService(self.workspace, self.worktrees.forge, self.target)
        self.snapshots.on_taken.append(radar.note_snapshot)
        return radar

    def _touched(self) -> "Mapping[TaskId, Collection[str]]":
        """Return what live tasks have changed, as far as a radar has looked: commands have none."""
        return self.radar.touched() if "radar" in self.__dict__ else {}

    def _trials(self) -> "frozenset[int] | None":
        """Return the trials that run here; None as long as nobody has stepped a train: commands."""
        return self.train.trials.running if "train" in self.__dict__ else None

    @cached_property
    def conflict_warnings(self) -> "ConflictWarnings":
        """What workers are told of conflicts."""
        from sf_mcp.service.conflict_warnings import ConflictWarnings

        return ConflictWarnings(self.workspace, self.radar)

    @cached_property
    def branches(self) -> "BranchService":
        """What branches hold."""
        from sf_mcp.service.branches import BranchService

        return BranchService(
            self.workspace, self.worktrees, self.target, self.claims, self.requests, self.radar
        )

    @cached_property
    def diffs(self) -> "DiffService":
        """What tasks have changed, file by file."""
        from sf_mcp.service.diffs import DiffService

        return DiffService(self.workspace, self.worktrees, self.branches, self.snapshots)

    @cached_property
    def merge_views(self) -> "MergeViewService":
        """Merge requests as those who decide see them."""
        from sf_mcp.service.merge_views import MergeViewService

        return MergeViewService(
            self.workspace,
            self.worktrees.forge,
            self.target,
            self.requests,
            self.branches,
            self.radar,
            self.resolving,
        )

    @cached_property
    def pull_requests(self) -> "PullRequestService":
        """Merge requests mirrored elsewhere."""
        from sf_mcp.service.pull_requests import PullRequestService

        return PullRequestService(self.workspace, self.worktrees.forge, self.worktrees.target)

    @cached_property
    def notifications(self) -> "NotificationService":
        """The person's command for what they want to hear of."""
        from sf_mcp.service.notifications import NotificationService

        return NotificationService(self.workspace, self.fleet)

    @cached_property
    def checking(self) -> "Checking":
        """Running checks on trees."""
        from sf_mcp.service.checking import Checking

        return Checking(self.workspace, self.worktrees)

    @cached_property
    def resolving(self) -> "Resolving":
        """Merging by rules."""
        from sf_mcp.service.resolving import Resolving

        return Resolving(self.workspace, self.worktrees)

    @cached_property
    def check_runs(self) -> "CheckRuns":
        """Checks that workers ask for."""
        from sf_mcp.service.check_runs import CheckRuns

        return CheckRuns(
            self.workspace, self.worktrees.forge, self.target, self.checking, self.resolving
        )

    @cached_property
    def train(self) -> "TrainService":
        """Landing."""
        from sf_mcp.service.train import TrainService

        return TrainService(
            self.workspace,
            self.worktrees.forge,
            self.target,
            self.publishing,
            self.requests,
            self.conflicts,
            self.checking,
            self.resolving,
            self.radar,
        )

    @cached_property
    def train_views(self) -> "TrainViewService":
        """Looking at the train."""
        from sf_mcp.service.train_views import TrainViewService

        return TrainViewService(self.workspace, self.checking, self.radar, self._trials)

    @cached_property
    def dispatch(self) -> "DispatchService":
        """Starting sessions."""
        from sf_mcp.service.dispatch import DispatchService

        return DispatchService(
            self.workspace,
            self.claims,
            self.sessions,
            self.requests,
            self.work.make_place,
            self._touched,
        )

    @cached_property
    def takeovers(self) -> "TakeoverService":
        """A person in a worker's place."""
        from sf_mcp.service.takeovers import TakeoverService

        return TakeoverService(
            self.workspace, self.worktrees, self.claims, self.sessions, self.work
        )

    @cached_property
    def launcher(self) -> "LauncherService":
        """What the launcher has to do."""
        from sf_mcp.service.launcher import LauncherService

        return LauncherService(self.workspace, self.dispatch)

    def close(self) -> None:
        """Close the state."""
        self.workspace.close()


def open_services(root: Path, now: Callable[[], datetime]) -> Services:
    """Open the state of the project at `root`; the caller holds `.stoneforge/server.lock`.

    Raises:
        NotSetUp: `sf init` has not been run there.
        StorageFailed: the database is gone or cannot be used.
    """
    from sf_mcp.core.errors import NotSetUp
    from sf_mcp.core.layout import Layout
    from sf_mcp.service.workspace import Workspace

    layout = Layout(root)
    if not layout.database.exists():
        if layout.forge.exists():
            from sf_mcp.store.database_file import gone

            raise gone(layout.database)
        raise NotSetUp(f"{root} is not set up for Stoneforge.", remedy="Run `sf init` there first.")
    return Services(Workspace(root, now))
