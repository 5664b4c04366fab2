"""Plans that come from a file: what is new in it is added, and nothing is added twice."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from sf_mcp.core.errors import InvalidInput, NotFound
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Plan, Task, TaskId
from sf_mcp.core.states import TASK_ENDS
from sf_mcp.core.text import checked_text, checked_title
from sf_mcp.service.drafts import TaskDraft, checked_acceptance, checked_paths
from sf_mcp.service.planning_rights import planning
from sf_mcp.service.plans import PlanService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import imports, plans, tasks


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedTask:
    """One task of the file, and what became of it."""

    id: TaskId
    title: str
    priority: int
    depends_on: list[TaskId]
    is_new: bool
    differs: list[str] = field(default_factory=list[str])
    """What the file says otherwise than a task that was imported before; it is left as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportReport:
    """What an import has done, or would do."""

    plan: Plan
    is_new_plan: bool
    is_dry_run: bool
    tasks: list[ImportedTask]


class _OnlyTried(Exception):
    """Ends the transaction of a dry run."""


class ImportService:
    """Use cases of importing."""

    def __init__(self, workspace: Workspace, plan_service: PlanService) -> None:
        """Import into this project."""
        self._workspace = workspace
        self._plans = plan_service

    def import_plan(
        self,
        caller: Caller,
        *,
        tasks: Sequence[TaskDraft],
        title: str = "",
        description: str = "",
        plan: str = "",
        draft: bool = False,
        dry_run: bool = False,
    ) -> ImportReport:
        """Add the tasks to `plan`, else to the plan with this title, which is created if need be.

        Each task has a key, by which it is known again: one that was imported before is not added
        a second time, and not changed. A dry run does everything, and takes it back.

        Raises:
            InvalidInput: a value cannot be accepted, a task has no key, or there is no title.
            NotFound: there is no such plan, or a task depends on one that does not exist.
            CyclicDependencies: the tasks could never start.
            IllegalTransition: the plan was cancelled.
        """
        report: ImportReport | None = None
        try:
            with planning(self._workspace, caller, to="import plans") as tx:
                found, is_new = self._plan(tx, caller, plan, title, description, draft=draft)
                lines = self._add(tx, caller, found, tasks)
                report = ImportReport(
                    plan=plans.get(tx.db, found.id),
                    is_new_plan=is_new,
                    is_dry_run=dry_run,
                    tasks=lines,
                )
                _take_back_if(dry_run)
        except _OnlyTried:
            assert report is not None  # set just before
        return report

    def _plan(
        self,
        tx: Transaction,
        caller: Caller,
        named: str,
        title: str,
        description: str,
        *,
        draft: bool,
    ) -> tuple[Plan, bool]:
        if named:
            return plans.find(tx.db, named), False
        if not title:
            raise InvalidInput(
                "The plan has no title.",
                remedy="Begin the file with `# Title`, or give --title or --plan.",
            )
        title = checked_title(title)
        try:
            return plans.find(tx.db, title), False
        except NotFound:
            if any(one.title == title for one in plans.all_of(tx.db)):
                raise  # several are called so
        made = self._plans.create_plan(
            caller, title=title, description=description, draft=draft
        ).plan
        return made, True

    def _add(
        self, tx: Transaction, caller: Caller, plan: Plan, drafts: Sequence[TaskDraft]
    ) -> list[ImportedTask]:
        if any(not draft.key for draft in drafts):
            raise InvalidInput(
                "A task of the import has no key.", remedy="Give each a key, such as its title."
            )
        known = imports.of_plan(tx.db, plan.id)
        new = [
            replace(draft, depends_on=[known.get(on, on) for on in draft.depends_on])
            for draft in drafts
            if draft.key not in known
        ]
        made = self._plans.add_tasks(caller, plan=plan.id, tasks=new) if new else []
        created = {draft.key: task for draft, task in zip(new, made, strict=True)}
        for key, task in created.items():
            imports.add(tx.db, plan.id, key, task.id)
        ids = known | {key: task.id for key, task in created.items()}
        return [self._line(tx, draft, ids, is_new=draft.key in created) for draft in drafts]

    def _line(
        self, tx: Transaction, draft: TaskDraft, ids: dict[str, TaskId], *, is_new: bool
    ) -> ImportedTask:
        task = tasks.get(tx.db, ids[draft.key])
        depends_on = list(tx.graph.dependencies(task.id))
        wanted = {ids.get(on, on) for on in draft.depends_on}
        return ImportedTask(
            id=task.id,
            title=task.title,
            priority=task.priority,
            depends_on=depends_on,
            is_new=is_new,
            differs=[] if is_new else _differences(task, draft, wanted, set(depends_on)),
        )


def _take_back_if(is_only_tried: bool) -> None:
    if is_only_tried:
        raise _OnlyTried


def _differences(task: Task, draft: TaskDraft, wanted: set[str], has: set[TaskId]) -> list[str]:
    """Return what the file says otherwise; nothing of a task that has ended."""
    if task.state in TASK_ENDS:
        return []
    said = {
        "title": (checked_title(draft.title), task.title),
        "description": (checked_text(draft.description, "description"), task.description),
        "acceptance": (checked_acceptance(draft.acceptance), task.acceptance),
        "priority": (draft.priority, task.priority),
        "estimate": (draft.estimate_minutes, task.estimate_minutes),
        "paths": (checked_paths(draft.paths), task.paths),
    }
    different = [name for name, (in_file, stored) in said.items() if in_file != stored]
    return different if wanted <= has else [*different, "depends on"]
