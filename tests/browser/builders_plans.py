"""Plans to look at, large ones too, and sessions that are heard of."""

import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sf_mcp.core.identity import PERSON
from sf_mcp.core.models import TaskId
from sf_mcp.service.drafts import TaskDraft
from tests.builders import Project, Worker, a_plan, some_tasks

WORDS = ("invite users", "limits", "teams and roles", "parse", "retry uploads", "audit log")


def a_large_plan(project: Project, number: int, title: str = "Sprint 14") -> list[TaskId]:
    """Make a plan of tasks that depend on some of those before them; the same one each time."""
    chance = random.Random(number)
    drafts = [
        TaskDraft(
            title=" ".join(["Add", *chance.choices(WORDS, k=chance.randint(1, 8))]),
            key=f"k{index}",
            depends_on=[
                f"k{chance.randrange(max(0, index - 30), index)}"
                for _ in range(chance.choice((0, 1, 1, 2)))
                if index
            ],
            estimate_minutes=chance.choice((10, 30, 60, 120)),
        )
        for index in range(number)
    ]
    return some_tasks(project, *drafts, plan=a_plan(project, title))


def said(text: str) -> dict[str, Any]:
    """Return an event in which a session says something."""
    return {"type": "assistant", "message": {"content": [{"type": "text", "text": text}]}}


def a_log(worker: Worker, events: Iterable[dict[str, Any]] = ()) -> Path:
    """Let the session have a log of these events."""
    path = worker.project.layout.logs / "sessions" / f"{worker.session.id}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")
    goes_on(path, events)
    worker.project.services.sessions.started(
        PERSON, worker.session.id, pid=0, process_started="", log_path=str(path)
    )
    return path


def goes_on(path: Path, events: Iterable[dict[str, Any]]) -> None:
    """Append to a log."""
    with path.open("a") as file:
        file.writelines(json.dumps(event) + "\n" for event in events)
