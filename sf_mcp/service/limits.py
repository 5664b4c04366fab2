"""Limits of the account: met by a session, waited out, asked about, lifted by the person.

What the client reports of a limit closes the account's gate for every fleet. `limits.onUsageLimit`
says what becomes of this fleet at the end: it goes on by itself, asks the person, or stays paused.
"""

from sf_mcp.core.account import Park, reset_time
from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import EndKind, Question
from sf_mcp.core.states import QuestionState
from sf_mcp.core.text import one_line
from sf_mcp.service.claims import ask
from sf_mcp.service.endings import withdraw
from sf_mcp.service.pauses import pause
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import facts, questions

WAIT, GO_ON, STOP = "wait", "go on now", "stop"
OPTIONS = (WAIT, GO_ON, STOP)
"""What the question about a usage limit may be answered with."""

ASKED = "limit_question"
"""The fact that names the question about the newest usage limit."""


class LimitService:
    """Use cases of the account's gate that nobody asks for."""

    def __init__(self, workspace: Workspace) -> None:
        """Watch the gate of this project's account."""
        self._workspace = workspace
        self._told = ""

    def look(self, caller: Caller) -> None:
        """Say what is wrong with the gate's file, once."""
        self._workspace.gate.current(self._workspace.now())
        problem = self._workspace.gate.problem
        if problem == self._told:
            return
        if problem:
            with self._workspace.write(caller) as tx:
                tx.event("account_gate_unusable", detail=problem)
        self._told = problem


def meet(workspace: Workspace, tx: Transaction, kind: EndKind, detail: str, resets_at: str) -> None:
    """Close the gate of the account, and do what the configuration says about a usage limit."""
    park = workspace.gate.park(
        Park(
            kind=kind,
            reason=one_line(detail, 200),
            since=tx.now,
            until=reset_time(resets_at, tx.now),
        )
    )
    tx.event("fleet_parked", reason=kind.value, until=park.until.isoformat(timespec="seconds"))
    wish = workspace.settings.limits.on_usage_limit
    if kind is EndKind.OVERLOADED or wish == "wait":
        return
    until = f"{park.until:%Y-%m-%d %H:%M} UTC"
    reason = f"{kind.value}: {one_line(detail, 200)} (resets {until})"
    if wish == "stop":
        pause(tx, reason)
    elif open_question(tx) is None:
        number = ask(
            tx,
            task_id=None,
            session=None,
            text=f"The account has reached its usage limit; it resets at {until}. Should the "
            "fleet wait for that, go on now (with another login, or more allowance), or stop "
            "until you say `sf resume`?",
            options=OPTIONS,
            context=reason,
            escalated=True,
        )
        facts.put(tx.db, ASKED, number)


def open_question(tx: Transaction) -> Question | None:
    """Return the question about a usage limit that the person has not answered yet."""
    number = facts.get(tx.db, ASKED)
    question = questions.QUESTIONS.get(tx.db, number) if number else None
    return question if question is not None and question.state is QuestionState.OPEN else None


def held_reason(tx: Transaction) -> str:
    """Return why nothing starts before the person has answered; empty when nothing is asked."""
    if (question := open_question(tx)) is None:
        return ""
    return f'{question.context}; answer {question.id}: sf question answer {question.id} "wait"'


def is_about_limit(tx: Transaction, question: Question) -> bool:
    """Return whether the question asks what to do at a usage limit."""
    return facts.get(tx.db, ASKED) == question.id


def decide(workspace: Workspace, tx: Transaction, question: Question, answer: str) -> None:
    """Do what the person has answered.

    Raises:
        InvalidInput: the answer is none of the options.
    """
    said = answer.strip().strip("\"'`.").lower()
    match next((option for option in OPTIONS if said.startswith(option)), ""):
        case "wait":
            pass
        case "go on now":
            lift(workspace, tx)
        case "stop":
            pause(tx, f"stopped at the usage limit by {tx.actor}: {question.context}")
        case _:
            raise InvalidInput(
                f"{question.id} asks whether to wait for the limit's end; the answer must begin "
                f"with {WAIT}, {GO_ON} or {STOP}.",
                remedy="Begin with one of them.",
            )


def lift(workspace: Workspace, tx: Transaction) -> None:
    """Open the gate for all fleets of the account, as the person wants it."""
    if (park := workspace.gate.open(tx.now)) is not None:
        tx.event(
            "limit_lifted", reason=park.kind.value, until=park.until.isoformat(timespec="seconds")
        )


def forget_question(tx: Transaction, reason: str) -> None:
    """Withdraw the question about a usage limit, if one is open."""
    if (question := open_question(tx)) is not None:
        withdraw(tx, question, reason)
