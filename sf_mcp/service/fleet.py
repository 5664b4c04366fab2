"""The fleet as a whole: paused or not, the overview, the event log."""

from collections.abc import Callable

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Event, Role, Session, Task
from sf_mcp.core.overview import (
    DirectorLine,
    MergeLine,
    Overview,
    PlanLine,
    QuestionLine,
    SessionLine,
    TargetLine,
    TaskLine,
    WaitingLine,
)
from sf_mcp.core.states import (
    LIVE_SESSIONS,
    TASK_ENDS,
    WAITING_SESSIONS,
    MergeState,
    QuestionState,
    SessionState,
    TaskState,
)
from sf_mcp.core.text import one_line
from sf_mcp.service import check_notes
from sf_mcp.service.filling import with_room
from sf_mcp.service.inbox import inbox
from sf_mcp.service.limits import forget_question, held_reason, lift
from sf_mcp.service.merge_status import merge_status
from sf_mcp.service.pauses import parked, pause, paused_reason
from sf_mcp.service.planning_rights import planning
from sf_mcp.service.resume_status import resume_status, taken_over_status
from sf_mcp.service.rewritten import PLACES, rewritten_fact
from sf_mcp.service.spending import is_spent, of_fleet
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import (
    events,
    facts,
    landings,
    leases,
    merge_requests,
    notifications,
    plans,
    pull_requests,
    questions,
    seats,
    sessions,
    tasks,
)

SHOWN = 10
"""Lines per list in the overview; the rest is counted."""

MOST_EVENTS = 1000


class FleetService:
    """Use cases of the fleet as a whole."""

    def __init__(self, workspace: Workspace) -> None:
        """Work on this project."""
        self._workspace = workspace

    def pause_fleet(self, caller: Caller, *, reason: str = "") -> str:
        """Start no new sessions and land nothing; those that run go on to their turn's end."""
        text = one_line(reason, 200) or f"paused by {caller.name}"
        with planning(self._workspace, caller, to="pause the fleet") as tx:
            pause(tx, text)
        return text

    def resume_fleet(self, caller: Caller) -> None:
        """Go on after a pause; for a person also at a usage limit, with the account's other fleets.

        A limit is the account's and not this project's, so a headless director does not lift it.
        """
        with planning(self._workspace, caller, to="resume the fleet") as tx:
            facts.remove(tx.db, "paused")
            tx.event("fleet_resumed")
            if caller.role is Role.PERSON:
                forget_question(tx, "the fleet was resumed")
                lift(self._workspace, tx)

    def fleet_status(self, _caller: Caller) -> Overview:
        """Return the overview."""
        vacuous, target_branch, has_budget = self._configured()
        park = parked(self._workspace)
        with self._workspace.read() as tx:
            counts = tasks.count_by_state(tx.db)
            ready = tx.graph.ready()
            unfinished = sum(number for state, number in counts.items() if state not in TASK_ENDS)
            in_hand = sum(
                counts.get(state, 0)
                for state in (TaskState.CLAIMED, TaskState.WAITING, TaskState.IN_REVIEW)
            )
            waiting, waiting_count = self._inbox(tx, has_budget=has_budget)
            set_aside = counts.get(TaskState.STUCK, 0) + counts.get(TaskState.PROPOSED, 0)
            return Overview(
                at=tx.now,
                project=self._workspace.layout.root.name,
                paused=paused_reason(tx) or held_reason(tx),
                parked_until=park.until if park else None,
                parked_reason=f"{park.what}: {park.reason}" if park else "",
                notes=self._notes(tx, vacuous, target_branch, has_budget=has_budget),
                waiting=waiting,
                waiting_count=waiting_count,
                target=_target_line(tx, target_branch),
                counts={state.value: number for state, number in counts.items()},
                ready=len(ready),
                blocked=unfinished - in_hand - set_aside - len(ready),
                plans=_plan_lines(tx),
                next_ready=[_task_line(tx, task_id) for task_id in ready[:SHOWN]],
                stuck=[_task_line(tx, task.id) for task in tasks.in_state(tx.db, TaskState.STUCK)],
                sessions=_session_lines(tx, self._most_failures, self._most_tokens),
                merges=[
                    MergeLine(
                        id=request.id,
                        task_id=request.task_id,
                        title=tasks.get(tx.db, request.task_id).title,
                        state=request.state,
                        status=merge_status(tx, request, self._workspace.settings),
                    )
                    for request in merge_requests.in_state(
                        tx.db, MergeState.OPEN, MergeState.LANDING
                    )
                ],
                questions=[
                    QuestionLine(
                        id=question.id,
                        task_id=question.task_id,
                        text=one_line(question.text, 300),
                        options=question.options,
                        escalated=question.escalated,
                        asked_at=question.asked_at,
                    )
                    for question in questions.in_state(tx.db, QuestionState.OPEN)
                ],
                directors=[
                    DirectorLine(
                        id=seat.client_session,
                        context_tokens=seat.context_tokens,
                        context_window=seat.context_window,
                        seen_at=seat.seen_at,
                    )
                    for seat in seats.attached(tx.db)
                ],
                cost_usd=sessions.total_cost(tx.db),
                newest_event=events.newest_number(tx.db),
            )

    def _most_tokens(self) -> int:
        return self._workspace.settings.agents.worker.max_session_tokens

    def _most_failures(self) -> int:
        # Asked for only when it is shown: reading the configuration whole takes long.
        return self._workspace.settings.orchestrator.max_failures

    def _configured(self) -> tuple[str, str, bool]:
        """Return what is to be said of the checks, the target branch, whether there is a budget."""
        # Here, since yaml costs as much as all the rest of a short command.
        from sf_mcp.settings import quick_facts

        try:
            read = quick_facts(self._workspace.layout.config)
        except ConfigInvalid:
            # A bad edit: the last good configuration goes on, unless there has been none.
            settings = self._workspace.settings
            return settings.vacuous_sentence, settings.merge.target_branch, True
        if self._workspace.settings_file.problem:
            self._workspace.settings_file.current()  # it may have been mended since
        return read.vacuous_sentence, read.target_branch, read.has_budget

    def _inbox(self, tx: Transaction, *, has_budget: bool) -> tuple[list[WaitingLine], int]:
        spent = ""
        if has_budget:
            fleet = of_fleet(tx, self._workspace.settings.budget)
            spent = str(fleet) if is_spent(fleet) else ""
        problem = self._workspace.settings_file.problem
        return inbox(tx, lambda: self._workspace.settings, str(problem or ""), spent)

    def _notes(
        self, tx: Transaction, vacuous: str, target_branch: str, *, has_budget: bool
    ) -> list[str]:
        problem = self._workspace.settings_file.problem
        notes = [vacuous] if vacuous else []
        notes += filter(None, (facts.get(tx.db, rewritten_fact(place)) for place in PLACES))
        for problem_of in (pull_requests.PROBLEM, notifications.PROBLEM):
            if text := facts.get(tx.db, problem_of):
                notes.append(text)
        if problem:
            notes.append(f"The last good configuration is in use: {problem}")
        if self._workspace.gate.problem:
            notes.append(self._workspace.gate.problem)
        notes += check_notes.notes(tx, target_branch)
        if has_budget:
            from sf_mcp.service import budgets

            notes += budgets.notes(self._workspace, tx)
        return notes

    def read_log(
        self, _caller: Caller, *, after: int | None = None, subject: str = "", limit: int = 50
    ) -> list[Event]:
        """Return events: the newest, or those after a number."""
        limit = max(1, min(limit, MOST_EVENTS))
        with self._workspace.read() as tx:
            if subject and (session_id := sessions.newest_named(tx.db, subject)):
                subject = session_id
            if after is None:
                return events.latest(tx.db, subject=subject, limit=limit)
            return events.after(tx.db, after, subject=subject, limit=limit)

    def search_log(
        self,
        _caller: Caller,
        *,
        before: int | None = None,
        subject: str = "",
        kind: str = "",
        actor: str = "",
        text: str = "",
        limit: int = 50,
    ) -> list[Event]:
        """Return events, the newest first: those before a number, of a subject, kind or actor.

        A session may be named as the subject by its name.
        """
        limit = max(1, min(limit, MOST_EVENTS))
        with self._workspace.read() as tx:
            if subject and (session_id := sessions.newest_named(tx.db, subject)):
                subject = session_id
            return events.search(
                tx.db,
                before=before,
                subject=subject,
                kind=kind,
                actor=actor,
                text=text,
                limit=limit,
            )

    def newest_event(self) -> int:
        """Return the number of the newest event."""
        with self._workspace.read() as tx:
            return events.newest_number(tx.db)


def _target_line(tx: Transaction, branch: str) -> TargetLine:
    newest = landings.newest_done(tx.db)
    return TargetLine(
        branch=branch,
        commit=newest.new if newest else None,
        is_green=newest.is_green if newest else None,
        checkout=facts.get(tx.db, "checkout") or "up to date",
        remedy=facts.get(tx.db, "checkout_remedy") or "",
    )


def _plan_lines(tx: Transaction) -> list[PlanLine]:
    rows = tx.db.execute(
        "SELECT plan_id, count(*), sum(state IN ('merged', 'closed', 'cancelled'))"
        " FROM tasks GROUP BY plan_id"
    )
    counted = {plan_id: (total, done) for plan_id, total, done in rows}
    lines: list[PlanLine] = []
    for plan in plans.all_of(tx.db):
        total, done = counted.get(plan.id, (0, 0))
        lines.append(
            PlanLine(id=plan.id, title=plan.title, state=plan.state, done=done, total=total)
        )
    return lines


def _task_line(tx: Transaction, task_id: str) -> TaskLine:
    task = tasks.get(tx.db, task_id)
    return TaskLine(id=task.id, title=task.title, state=task.state, priority=task.priority)


def _session_lines(
    tx: Transaction, most_failures: Callable[[], int], most_tokens: Callable[[], int]
) -> list[SessionLine]:
    lines: list[SessionLine] = []
    for found in sessions.in_state(tx.db, *sorted(LIVE_SESSIONS), *sorted(WAITING_SESSIONS)):
        session = with_room(found, most_tokens)
        task = tasks.TASKS.get(tx.db, session.subject)
        if request := merge_requests.MERGE_REQUESTS.get(tx.db, session.subject):
            task = tasks.get(tx.db, request.task_id)
        asked = questions.open_of_task(tx.db, task.id) if task is not None else None
        if asked is not None and asked.session_id != session.id:
            asked = None
        lines.append(
            SessionLine(
                id=session.id,
                name=session.name,
                role=session.role,
                subject=session.subject,
                title=task.title if task else "",
                state=session.state,
                note=_note(tx, task, session, most_failures),
                question_id=asked.id if asked else None,
                question=one_line(asked.text, 300) if asked else "",
                asked_at=asked.asked_at if asked else None,
                is_turn_active=session.is_turn_active,
                context_tokens=session.context_tokens,
                context_window=session.context_window,
                cost_usd=session.cost_usd,
                last_line=session.last_line,
                heard_at=session.heard_at,
                created_at=session.created_at,
                taken_over_at=session.taken_over_at,
            )
        )
    return lines


def _note(
    tx: Transaction, task: Task | None, session: Session, most_failures: Callable[[], int]
) -> str:
    if session.taken_over_at is not None:
        return taken_over_status(session.taken_over_at)
    if task is None or session.state is not SessionState.BACKOFF:
        return ""
    if leases.live_of(tx.db, session.id) is not None:
        return "given back, goes on in a moment"
    return resume_status(tx, task, session, most_failures())
