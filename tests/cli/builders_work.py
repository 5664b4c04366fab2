"""A worker's side, done on the state itself: the session that the terminal's commands are about."""

import json
import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from sf_mcp.clock import utc_now
from sf_mcp.core.identity import PERSON, SERVER, Caller
from sf_mcp.core.models import Role
from sf_mcp.service import Services, open_services
from sf_mcp.service.dispatch import WorkOrder
from tests.cli.builders_project import Person


@contextmanager
def services_of(person: Person) -> Generator[Services]:
    # Git is run from this process here: it must see the person's home, not the machine's. So must
    # what lies in the person's folder for state.
    home = person.environment["HOME"]
    own = {"HOME": home, "XDG_STATE_HOME": f"{home}/.local/state"}
    with patch.dict(os.environ, own):
        services = open_services(person.root, utc_now)
        try:
            yield services
        finally:
            services.close()


def an_order(services: Services) -> WorkOrder:
    """The next session that the server wants started."""
    order = services.dispatch.next_order(SERVER)
    assert order is not None
    return order


def caller_of(order: WorkOrder) -> Caller:
    session = order.session
    return Caller(role=session.role, name=session.name, session_id=session.id)


def someone_hands_in(person: Person, text: str) -> None:
    """Have a worker claim the next task, commit `new.txt` with this text, and ask for its merge."""
    with services_of(person) as services:
        order = an_order(services)
        assert order.session.role is Role.WORKER
        Path(order.cwd, "new.txt").write_text(text)
        for words in (["add", "--all"], ["commit", "--quiet", "-m", "done"]):
            env = {**os.environ, **person.environment, **order.environment}
            subprocess.run(["git", *words], cwd=order.cwd, env=env, check=True, timeout=30)
        facts = services.branches.merge_facts(caller_of(order), "")
        services.requests.open_request(
            caller_of(order),
            commit=facts.commit,
            base=facts.base,
            branch=facts.branch,
            summary="Adds a file.",
        )


def someone_asks(person: Person, question: str) -> None:
    """Have a worker claim the next task and ask."""
    with services_of(person) as services:
        services.questions.ask_director(
            caller_of(an_order(services)), question=question, options=("yes", "no"), context="C"
        )


SAID: tuple[dict[str, Any], ...] = (
    {"type": "system", "subtype": "init", "session_id": "x", "model": "sonnet"},
    {
        "type": "assistant",
        "message": {
            "content": [
                {"type": "thinking", "thinking": "hm"},
                {"type": "text", "text": "I look\x1b[2J at\nit."},
                {"type": "tool_use", "name": "Bash", "input": {"command": "ls\n\x1b[31m"}},
            ]
        },
    },
    {
        "type": "user",
        "message": {
            "content": [
                {"type": "tool_result", "content": "fine"},
                {"type": "tool_result", "is_error": True, "content": [{"text": "no such\nfile"}]},
            ]
        },
    },
    {"type": "result", "subtype": "success", "total_cost_usd": 0.125},
)
"""Lines of a session's stream, in the forms that Claude Code writes (stream-json)."""


def stream_lines(*events: dict[str, Any]) -> str:
    return "".join(json.dumps(event) + "\n" for event in events)


def a_line(text: str) -> dict[str, Any]:
    """What a session says in a turn."""
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}


def someone_starts_a_session(person: Person, *events: dict[str, Any]) -> Path:
    """Have a session of the next task started that has said this; return its log."""
    with services_of(person) as services:
        session = an_order(services).session
        log = services.workspace.layout.logs / f"{session.id}.jsonl"
        log.parent.mkdir(exist_ok=True)
        log.write_text(stream_lines(*events))
        services.sessions.started(PERSON, session.id, pid=1, process_started="", log_path=str(log))
        return log
