"""What the server tells the launcher, as values: orders, stops, and the word on a turn's end."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

from sf_mcp.core.models import EndKind, Role, SessionId


class NextStep(StrEnum):
    """What to do with a session whose turn has ended."""

    CONTINUE = "continue"
    FINISH = "finish"
    PARK = "park"
    HAND_OVER = "hand_over"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The server's word on a session at rest; `message` is what to tell it next."""

    step: NextStep
    message: str
    end: EndKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One session to start: its claim is made and its place prepared."""

    session_id: SessionId
    name: str
    role: Role
    subject: str
    model: str
    cost_usd: float
    """What earlier processes of a resumed session have cost."""
    token: str = field(repr=False)
    is_resume: bool
    cwd: Path
    message: str
    """The first user message."""
    environment: Mapping[str, str] = field(repr=False)
    may_edit: bool
    """It changes files where it works: a worker, or a steward that resolves a conflict."""


class HandOver(StrEnum):
    """Whether, and how soon, a session's process is to end for a person who goes on in it."""

    NO = "no"
    AT_A_STEP = "at_a_step"
    NOW = "now"


@dataclass(frozen=True, slots=True, kw_only=True)
class Directives:
    """The answer to a poll."""

    order: Order | None
    stops: Mapping[SessionId, str]
    """Why, by session."""
    hand_over: Mapping[SessionId, HandOver]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A session that the server takes for alive, with its recorded process."""

    session_id: SessionId
    name: str
    pid: int
    process_started: str
    log_path: str


def directives(value: Any) -> Directives:
    """Return the answer to a poll from its JSON."""
    return Directives(
        order=order(value["order"]) if value["order"] is not None else None,
        stops={SessionId(stop["session_id"]): str(stop["reason"]) for stop in value["stop"]},
        hand_over={
            SessionId(wish["session_id"]): HandOver(wish["how"]) for wish in value["hand_over"]
        },
    )


def order(value: Any) -> Order:
    """Return a work order from its JSON."""
    session = value["session"]
    return Order(
        session_id=SessionId(session["id"]),
        name=session["name"],
        role=Role(session["role"]),
        subject=session["subject"],
        model=session["model"],
        cost_usd=float(session["cost_usd"]),
        token=value["token"],
        is_resume=bool(value["is_resume"]),
        cwd=Path(value["cwd"]),
        message=value["message"],
        environment=value["environment"],
        may_edit=bool(value["may_edit"]),
    )


def verdict(value: Any) -> Verdict:
    """Return the word on a turn's end from its JSON."""
    return Verdict(
        step=NextStep(value["step"]), message=value["message"], end=EndKind(value["end"])
    )


def recorded(value: Any) -> Recorded:
    """Return a listed session from its JSON."""
    return Recorded(
        session_id=SessionId(value["id"]),
        name=value["name"],
        pid=int(value["pid"] or 0),
        process_started=value["process_started"],
        log_path=value["log_path"],
    )
