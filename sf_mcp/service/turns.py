"""What becomes of a session at a turn's end: it goes on, rests, is handed over, is over."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sf_mcp.core.models import EndKind, Lease, Role, Session, TaskId
from sf_mcp.core.states import QuestionState
from sf_mcp.service import answers, taking_over
from sf_mcp.service.transaction import Transaction
from sf_mcp.store import conflicts, leases, questions

MOST_NUDGES = 2
"""How often a session that ends its turn without an outcome is told what is missing."""

NOT_RESOLVED = (
    "The conflict of {} is not resolved yet. Edit the files, then call submit_resolution; or "
    "escalate, saying what only the person can decide."
)


class NextStep(StrEnum):
    """What the launcher does with a session whose turn has ended."""

    CONTINUE = "continue"
    FINISH = "finish"
    PARK = "park"
    HAND_OVER = "hand_over"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnVerdict:
    """The server's word on a session at rest; `message` is the next user message to send."""

    step: NextStep
    message: str = ""
    end: EndKind = EndKind.DONE

    def as_json(self) -> dict[str, str]:
        """Return it as it is stored."""
        return {"step": self.step.value, "message": self.message, "end": self.end.value}

    @classmethod
    def from_json(cls, stored: Mapping[str, str]) -> "TurnVerdict":
        """Return what `as_json` gave."""
        return cls(
            step=NextStep(stored["step"]), message=stored["message"], end=EndKind(stored["end"])
        )


def verdict_on(tx: Transaction, session: Session) -> TurnVerdict:
    """Return what becomes of a session whose turn ends now; changes nothing."""
    lease = leases.live_of(tx.db, session.id)
    if lease is None or session.stop_requested:
        ended = leases.newest_of(tx.db, session.id)
        end = ended.end if ended and ended.end else EndKind.STOPPED
        return TurnVerdict(step=NextStep.FINISH, end=end)
    if taking_over.wanted(tx, session) is not None:
        return TurnVerdict(step=NextStep.HAND_OVER, end=EndKind.TAKEN_OVER)
    if answered := questions.undelivered(tx.db, session.id):
        return TurnVerdict(step=NextStep.CONTINUE, message=answers.text_of(answered))
    if session.role is Role.WORKER and questions.open_of_task(tx.db, TaskId(lease.subject)):
        return TurnVerdict(step=NextStep.PARK, end=EndKind.PARKED)
    if session.role is Role.DIRECTOR:
        question = questions.QUESTIONS.get(tx.db, lease.subject)
        if question is None or question.escalated or question.state is not QuestionState.OPEN:
            return TurnVerdict(step=NextStep.FINISH)
    if session.nudges >= MOST_NUDGES:
        return TurnVerdict(step=NextStep.FAIL, end=EndKind.NO_OUTCOME)
    if conflicts.live_of(tx.db, lease.subject) is not None:
        return TurnVerdict(step=NextStep.CONTINUE, message=NOT_RESOLVED.format(lease.subject))
    return TurnVerdict(step=NextStep.CONTINUE, message=_missing(session, lease))


def _missing(session: Session, lease: Lease) -> str:
    if session.role is Role.STEWARD:
        return (
            f"The review of {lease.subject} has no outcome yet. Call approve_merge or send_back "
            "with your reasons, or escalate."
        )
    if session.role is Role.DIRECTOR:
        return (
            f"{lease.subject} has no outcome yet. Answer it with answer_question, or pass it on "
            "with escalate."
        )
    return (
        f"Your task {lease.subject} has no outcome yet. Commit your work, then call request_merge "
        "if it is complete, write_handoff if a fresh session should go on, ask_director if you "
        "need a decision, or release_task if you cannot do it."
    )
