"""An answer reaches the one who asked, whatever is killed or lost on the way, and no more often.

The worker's client is played here: its conversation, of which a killed process keeps what a resumed
one has, and its hooks and reports, each of which may get lost. All else is the program itself.
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sf_mcp.core.identity import PERSON, Caller
from sf_mcp.core.interrupted import Trace
from sf_mcp.core.models import EndKind, QuestionId, Session, SessionId, TaskId
from sf_mcp.core.states import QuestionState, SessionState, TaskState
from sf_mcp.service.dispatch import DispatchService, Place, WorkOrder
from sf_mcp.service.turns import NextStep, TurnVerdict
from tests.builders import Project, a_project, a_task

CONFIG = """
checks: []
orchestrator: {maxConcurrent: 1, maxFailures: 50, reservationSeconds: 86400}
agents: {director: {headless: false}, steward: {review: false}}
"""
BLUE = "Blue it is."
FINE = ""
FAULTS = ("lost", "server restarts", "killed", "launcher dies")
"""A reply or a hook gets lost; the server is killed and started; the client is; the launcher is."""

MOMENTS = ("while it waits", "while it works", "while it parks", "while it is parked")
"""When the answer is given."""


class Gone(Exception):
    """The client's process is no more."""

    def __init__(self, kind: EndKind) -> None:
        super().__init__(kind)
        self.kind = kind


@dataclass
class Asker:
    """One task's worker, as it was ordered, with everything that its model can know."""

    project: Project
    faults: list[str]
    """What goes wrong at the crash points, in their order; then all goes well."""
    moment: str
    task_id: TaskId
    session: Session | None = None
    conversation: list[str] = field(default_factory=list[str])
    kept: int = 0
    """How much of it survives a kill: what a model that went on had before it."""
    question: str = ""
    turn: int = 0
    losses: int = 0
    points: int = 0
    acknowledged_with: int | None = None
    """How often the answer had been given when it was first seen as acknowledged."""

    # -- what may go wrong -------------------------------------------------------------------------

    def point(self) -> str:
        """Come to the next point at which something may happen; return what does."""
        self.points += 1
        fault = self.faults.pop(0) if self.faults else FINE
        if fault:
            self.losses += 1
        if fault == "server restarts":
            self.project.reopen()
        if fault == "killed":
            raise Gone(EndKind.KILLED)
        if fault == "launcher dies":
            raise Gone(EndKind.STOPPED)
        return fault

    def knows(self) -> int:
        """Return how often the answer stands in the conversation."""
        return sum(text.count(BLUE) for text in self.conversation)

    # -- the fleet's side --------------------------------------------------------------------------

    @property
    def dispatch(self) -> DispatchService:
        services = self.project.services
        return DispatchService(
            services.workspace,
            services.claims,
            services.sessions,
            services.requests,
            lambda session: Place(cwd=session.name, environment={}),
        )

    def order(self) -> WorkOrder:
        for _ in range(20):
            if (order := self.dispatch.next_order(PERSON)) is not None:
                return order
            self.project.clock.advance(minutes=6)  # a back-off
        raise AssertionError("nobody goes on with the task")

    def answer(self, moment: str) -> None:
        """Give the answer, if this is the moment for it."""
        if moment == self.moment and self.question and not self.is_answered():
            self.project.services.questions.answer_question(PERSON, self.question, answer=BLUE)

    def is_answered(self) -> bool:
        return self.project.question(self.question).state is QuestionState.ANSWERED

    def run(self) -> None:
        """Work, through every fault, until the session rests with its answer."""
        while True:
            order = self.order()
            self.session = order.session
            assert order.session.subject == self.task_id
            self.turn = 0
            if not order.is_resume:
                self.conversation, self.kept = [], 0
            try:
                self.start(order)
                self.work()
                return
            except Gone as gone:
                del self.conversation[self.kept :]
                self.note()
                services = self.project.services
                services.sessions.ended(
                    PERSON,
                    order.session.id,
                    kind=gone.kind,
                    detail="",
                    trace=Trace(is_resumable=self.kept > 0),
                )
                if self.project.session(order.session.id).state is SessionState.PARKED:
                    self.answer("while it is parked")
                    self.answer_at_last()

    def answer_at_last(self) -> None:
        if not self.is_answered():
            self.moment = "now"
            self.answer("now")

    def start(self, order: WorkOrder) -> None:
        self.point()  # the order may never become a process
        services = self.project.services
        pid = 1000 + self.points
        services.sessions.started(
            PERSON, order.session.id, pid=pid, process_started="", log_path=""
        )
        services.sessions.connected(PERSON, order.session.id, model="m")
        self.conversation.append(order.message)
        self.point()

    # -- the client's side -------------------------------------------------------------------------

    @property
    def caller(self) -> Caller:
        assert self.session is not None
        return Caller(
            role=self.session.role,
            name=self.session.name,
            session_id=SessionId(self.session.id),
        )

    def act(self, name: str, tool: str = "Bash") -> None:
        """Be the model that goes on, with all that is in its conversation; its client says so."""
        self.kept = len(self.conversation)
        self.hook(name, tool)

    def hook(self, name: str, tool: str = "Bash", **event: object) -> None:
        if self.point() != "lost":
            self.project.services.hooks.answer(
                self.caller, {"hook_event_name": name, "tool_name": tool, **event}
            )
        self.note()

    def note(self) -> None:
        """Hold that what was acknowledged stays so, and is not given again."""
        if not self.question:
            return
        given = self.project.event_kinds(self.question).count("answer_delivered")
        if self.acknowledged_with is not None:
            assert given == self.acknowledged_with
        elif self.project.question(self.question).acknowledged_at is not None:
            self.acknowledged_with = given

    def call_ask_director(self) -> None:
        self.act("PreToolUse", "mcp__sf__ask_director")
        services = self.project.services
        asked = services.questions.ask_director(self.caller, question=f"Which {self.task_id}?")
        assert asked.question is not None
        self.question = asked.question.id
        self.answer("while it waits")
        if self.point() == "lost":
            self.conversation.append("The response was lost.")
            return
        found = self.project.services.questions.get_question(PERSON, QuestionId(self.question))
        result = {"question": found.id, "status": found.state.value, "answer": found.answer or ""}
        self.conversation.append(str(result))
        self.hook("PostToolUse", "mcp__sf__ask_director", tool_response=result)

    def work(self) -> None:
        """Be the model: ask, go on for a while, end the turn; take what is said then, and again."""
        if self.knows() == 0:
            self.call_ask_director()
        while True:
            self.answer("while it works")
            self.act("PreToolUse")
            self.hook("PostToolUse")
            self.act("Stop")
            verdict = self.report()
            if verdict.step is NextStep.PARK:
                self.point()
                self.answer("while it parks")
                raise Gone(EndKind.PARKED)
            if self.question and self.is_answered() and not verdict.message.count(BLUE):
                return
            assert verdict.step is NextStep.CONTINUE, verdict
            self.point()
            self.conversation.append(verdict.message)

    def report(self) -> TurnVerdict:
        assert self.session is not None
        self.turn += 1
        self.project.services.sessions.heard(
            PERSON,
            self.session.id,
            is_turn_active=False,
            last_line="",
            context_tokens=0,
            context_window=0,
            cost_usd=0,
        )
        verdict = self.turn_ended()
        if self.point():
            # Asked again: the reply was lost with the server, or on its way.
            assert self.turn_ended() == verdict
        self.note()
        return verdict

    def turn_ended(self) -> TurnVerdict:
        assert self.session is not None
        return self.project.services.sessions.turn_ended(PERSON, self.session.id, turn=self.turn)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Generator[Project]:
    project = a_project(tmp_path_factory.mktemp("answers"), config=CONFIG)
    yield project
    project.services.close()


def played(project: Project, moment: str, faults: Sequence[str]) -> Asker:
    """Play one task's question to its end; what must hold in any case is held here."""
    asker = Asker(project, list(faults), moment, a_task(project))
    try:
        asker.run()
        knows, question = asker.knows(), project.question(asker.question)
        given = project.event_kinds(question.id).count("answer_delivered")
        brief = project.services.claims.claim_task(asker.caller)
        # It has the answer: from what it was told, or, when it is new to it all, from its brief.
        assert knows > 0 or BLUE in str(brief.answers)
        assert question.acknowledged_at is not None
        assert 1 <= given <= 1 + asker.losses
        assert project.event_kinds(question.id).count("answer_acknowledged") == 1
        assert project.event_kinds(question.id).count("question_asked") == 1
        assert project.task(asker.task_id).state is TaskState.CLAIMED
    finally:
        project.services.plans.cancel_task(PERSON, asker.task_id)
        if asker.session is not None:
            project.services.sessions.ended(
                PERSON, asker.session.id, kind=EndKind.CANCELLED, detail=""
            )
    return asker


@pytest.mark.parametrize("moment", MOMENTS)
def test_without_a_fault_an_answer_is_given_once_and_stands_in_the_conversation_once(
    project: Project, moment: str
) -> None:
    asker = played(project, moment, [])
    assert asker.knows() == 1
    assert project.event_kinds(asker.question).count("answer_delivered") == 1


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_one_fault_at_any_point_of_the_way_loses_no_answer(
    project: Project, moment: str, fault: str
) -> None:
    points = played(project, moment, []).points
    assert points > 8
    for place in range(points):
        asker = played(project, moment, [*[FINE] * place, fault])
        assert asker.knows() <= 2, place


@given(
    moment=st.sampled_from(MOMENTS),
    faults=st.lists(st.sampled_from([FINE, *FAULTS]), max_size=25),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_whatever_goes_wrong_an_answer_reaches_the_one_who_asked(
    project: Project, moment: str, faults: list[str]
) -> None:
    played(project, moment, faults)
