"""From any state a fleet in which all goes well brings each task to its end, or says what it lacks.

First nobody but the sessions does anything, and time passes. What is left then must be waiting for
the person, and `why` must say for what: it is done as it says, and the sessions go on.
"""

import re

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind, LandingKind, MergeRequest, Oid, Role, TaskId
from sf_mcp.core.states import MergeEvent, PlanState, QuestionState, TaskState
from sf_mcp.service.merge_status import is_released
from sf_mcp.service.pauses import paused_reason
from sf_mcp.store import landings, merge_requests, plans, questions, tasks
from tests.service.fleets import Fleet, configuration

ROUNDS = 60
"""Of the person's help: more than tasks and what may stand in the way of each."""
STEP_SECONDS = 50.0
QUIET_STEPS = 16
"""Without any progress: longer than leases, reservations and back-offs of these tests."""


def bring_to_an_end(fleet: Fleet) -> None:
    """Let all go well until every task has ended."""
    fleet.rolls_back = False
    services = fleet.services
    for session in fleet.alive():
        if fleet.project.session(session).pid is not None:
            # The launcher has started anew, and ends what its predecessor left.
            services.sessions.ended(PERSON, session, kind=EndKind.STOPPED, detail="")
    for _ in range(ROUNDS):
        quiet = 0
        while quiet < QUIET_STEPS and fleet.unfinished():
            quiet = 0 if _work(fleet) else quiet + 1
            fleet.project.clock.advance(seconds=STEP_SECONDS)
            _look_after_time(fleet)
        left = fleet.unfinished()
        if not left:
            return
        helped = [_do_what_is_said(fleet, task) for task in left]
        said = [services.queries.why(PERSON, task).sentence for task in left]
        assert any(helped), f"nothing goes on, and nobody is told what to do: {said}"
    raise AssertionError("the person is asked for one thing after the other and nothing ends")


def _look_after_time(fleet: Fleet) -> None:
    services = fleet.services
    services.lease_watch.look(SERVER)
    services.lease_watch.release_reservations(SERVER)
    services.work.end_lost_sessions(SERVER)
    services.budgets.look(SERVER)


# -- what sessions and the train do ----------------------------------------------------------------


def _work(fleet: Fleet) -> bool:
    """Start what can be started, have it do its work, land what may; return whether any was."""
    is_any = False
    while (order := fleet.order()) is not None:
        is_any = True
        session = order.session
        services = fleet.services
        services.sessions.started(PERSON, session.id, pid=0, process_started="", log_path="")
        services.sessions.connected(PERSON, session.id, model="m")
        match session.role:
            case Role.WORKER:
                _do_task(fleet, session.id)
            case Role.STEWARD:
                services.requests.approve_merge(fleet.caller(session.id))
            case _:
                _answer(fleet, session.id, session.subject)
        services.sessions.ended(PERSON, session.id, kind=EndKind.DONE, detail="")
    for request in fleet.open_requests():
        if request.checked_tree is None:
            fleet.pass_checks(request)
            is_any = True
        elif _may_land(fleet, request):
            land(fleet, request, target=fleet.project.target)
            is_any = True
    return is_any


def _do_task(fleet: Fleet, session: str) -> None:
    caller = fleet.caller(session)
    brief = fleet.services.claims.claim_task(caller)
    if fleet.request_merge_of(session) is None:
        with fleet.services.workspace.read() as tx:
            assert tx.graph.unmet(brief.task.id)
        fleet.services.claims.release_task(caller, reason="it depends on others now")


def _answer(fleet: Fleet, session: str, question: str) -> None:
    """Answer as a director does: with the first of the options, or leave it to the person."""
    caller = fleet.caller(session)
    with fleet.services.workspace.read() as tx:
        options = questions.get(tx.db, question).options
    try:
        answer = options[0] if options else "yes"
        fleet.services.questions.answer_question(caller, question, answer=answer)
    except StoneforgeError:
        fleet.services.questions.escalate(caller, question, note="I may not")


def _may_land(fleet: Fleet, request: MergeRequest) -> bool:
    with fleet.services.workspace.read() as tx:
        settings = fleet.services.workspace.settings
        return not paused_reason(tx) and is_released(tx, request, settings)


def land(fleet: Fleet, request: MergeRequest, *, target: Oid) -> None:
    """Crash in the middle of a landing, and recover: it landed if `target` is where the ref is."""
    with fleet.services.workspace.write(SERVER) as tx:
        tx.move_merge_request(request, MergeEvent.START_LANDING)
        landings.intend(
            tx.db,
            kind=LandingKind.MERGE,
            old=fleet.project.target,
            new=target,
            tree=Oid("t"),
            is_green=None,
            at=tx.now,
            brings={request.id: target},
        )
    fleet.attempt(lambda: fleet.services.plans.cancel_task(PERSON, request.task_id))
    fleet.services.target.recover()


# -- what the person does, as `why` says -----------------------------------------------------------


def _do_what_is_said(fleet: Fleet, task: TaskId) -> bool:
    """Check that the reason is true, and do what the person is asked for; False: it is nothing."""
    services = fleet.services
    why = services.queries.why(PERSON, task)
    with services.workspace.read() as tx:
        found = tasks.get(tx.db, task)
        plan = plans.get(tx.db, found.plan_id)
        unmet = [tasks.get(tx.db, on) for on in tx.graph.unmet(task)]
        question = questions.open_of_task(tx.db, task)
        request = merge_requests.live_of_task(tx.db, task)
        paused = paused_reason(tx)
    match found.state:
        case TaskState.PROPOSED:
            assert "--accept" in why.next_step
            services.plans.update_task(PERSON, task, accept=True)
        case TaskState.WAITING:
            assert question is not None
            assert question.id in why.sentence
            services.questions.answer_question(PERSON, question.id, answer="this one")
        case TaskState.STUCK if "Raise budget" in why.next_step:
            fleet.project.configure(configuration())
        case TaskState.STUCK:
            assert not re.search(r"\b0 failed", why.sentence), why.sentence
            assert f"sf task retry {task}" in why.next_step
            services.plans.retry_task(PERSON, task)
        case TaskState.IN_REVIEW:
            assert request is not None
            if paused:
                services.fleet.resume_fleet(PERSON)
            elif "sf mr approve" in why.sentence or "left to the person" in why.sentence:
                services.requests.approve_merge(PERSON, request.id)
            else:
                return False
        case TaskState.OPEN if plan.state is not PlanState.ACTIVE:
            assert f"plan {plan.id} is {plan.state.value}" in why.sentence
            assert plan.id in why.next_step
            services.plans.activate_plan(PERSON, plan.id)
        case TaskState.OPEN if unmet:
            assert all(f"{on.id} ({on.state.value})" in why.sentence for on in unmet)
            ended = [on.id for on in unmet if on.state is TaskState.CANCELLED]
            if not ended:
                return False
            services.plans.set_dependencies(PERSON, task, remove=ended)
        case TaskState.OPEN if paused:
            assert paused in why.sentence
            assert why.next_step == "sf resume"
            services.fleet.resume_fleet(PERSON)
        case _:
            return False
    return True


def answer_the_rest(fleet: Fleet) -> None:
    """Answer what is still asked when no task is left; nothing of it may be unanswerable."""
    with fleet.services.workspace.read() as tx:
        left = questions.in_state(tx.db, QuestionState.OPEN)
    for question in left:
        fleet.services.questions.answer_question(PERSON, question.id, answer="wait")
