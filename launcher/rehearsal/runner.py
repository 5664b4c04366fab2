"""Runs a story: the real server, launcher and client, and a model that says what is written.

The runner does only what the story's person does in the terminal: create the plan, start
`sf serve`, watch, press Ctrl-C at the end.
"""

import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from launcher.rehearsal.scripted_api import ScriptedApi
from launcher.rehearsal.story import Story
from launcher.rehearsal.verdict import Ending, Finding, look, verify
from launcher.rehearsal.world import SF, World, make_world
from sf_mcp import process
from sf_mcp.client import Client, connect
from sf_mcp.core.errors import ServerUnreachable, StoneforgeError

START_SECONDS = 30.0
STOP_SECONDS = 40.0
LOOK_SECONDS = 0.25

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsal:
    """How a story went."""

    story: str
    findings: list[Finding]
    ending: Ending
    seconds: float
    model_requests: int
    folder: str = ""
    """Where everything can be looked at; empty when it was removed."""
    left_running: list[str] = field(default_factory=list[str])

    @property
    def held(self) -> bool:
        """Whether everything was as the story says."""
        return all(finding.held for finding in self.findings)


def rehearse(
    story: Story,
    say: Say,
    *,
    keep: Path | None = None,
    prepare: Callable[[World], None] | None = None,
) -> Rehearsal:
    """Run the story to its end and look whether everything is as it says.

    `prepare` may change the person's world before the story begins.

    Raises:
        StoneforgeError: the story could not be run at all.
    """
    started = monotonic()
    with ExitStack() as stack:
        folder = open_folder(stack, keep)
        api = stack.enter_context(ScriptedApi(story.model, log=folder / "model.jsonl"))
        say(f"story {story.name}: {len(story.plan.tasks)} tasks, model on {api.url}")
        world = make_world(folder, story, api.url)
        if prepare is not None:
            prepare(world)
        keys_by_id = _play(world, story, say)
        ending = look(world, keys_by_id)
        say("the story is over; looking at what came of it")
        findings = list(verify(world, story, ending, api))
        return Rehearsal(
            story=story.name,
            findings=findings,
            ending=ending,
            seconds=monotonic() - started,
            model_requests=api.count(),
            folder=str(folder) if keep is not None else "",
        )


def open_folder(stack: ExitStack, keep: Path | None) -> Path:
    """Return the folder of a rehearsal: a new one to be kept, or one that goes with `stack`.

    Raises:
        StoneforgeError: there is something in the one that was named.
    """
    if keep is None:
        temporary = tempfile.TemporaryDirectory(prefix="rehearsal-", ignore_cleanup_errors=True)
        return Path(stack.enter_context(temporary)).resolve()
    folder = keep.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise StoneforgeError(f"{folder} is not empty.", remedy="Name a new folder.")
    return folder


def _play(world: World, story: Story, say: Say) -> dict[str, str]:
    """Serve the project until the plan has ended; return the story's keys by task id."""
    output = world.folder / "serve.log"
    with output.open("wb") as log:
        server = process.spawn(
            [*SF, "serve"], cwd=world.root, env=world.environment, stdout=log, stderr=log
        )
    try:
        client = _wait_for_server(world, server, output)
        keys_by_id = _create_plan(client, story)
        _watch(client, server, story, say)
        return keys_by_id
    finally:
        _stop(server)


def _wait_for_server(world: World, server: "subprocess.Popen[bytes]", output: Path) -> Client:
    deadline = monotonic() + START_SECONDS
    while monotonic() < deadline and server.poll() is None:
        if (client := connect(world.root)) is not None:
            return client
        threading.Event().wait(LOOK_SECONDS)
    raise StoneforgeError(
        f"The server did not start: {output.read_text('utf-8', 'replace').strip()[-2000:]}"
    )


def _create_plan(client: Client, story: Story) -> dict[str, str]:
    tasks = [task.model_dump(mode="json") for task in story.plan.tasks]
    view = client.call("create_plan", title=story.plan.title, tasks=tasks)
    return {
        task["id"]: planned.key
        for task, planned in zip(view["tasks"], story.plan.tasks, strict=True)
    }


def _watch(client: Client, server: "subprocess.Popen[bytes]", story: Story, say: Say) -> None:
    """Tell what happens until every task has ended."""
    started = monotonic()
    newest = 0
    while True:
        events: list[dict[str, Any]] = []
        status: dict[str, Any] | None = None
        try:
            events = client.call("read_log", after=newest, limit=100)
            status = client.call("fleet_status")
        except ServerUnreachable as error:
            if server.poll() is not None:
                raise StoneforgeError("The server ended in the middle of the story.") from error
        for event in events:
            newest = event["number"]
            if line := told(event):
                say(f"{monotonic() - started:5.1f} s  {line}")
        if status is not None and not events and _is_over(status):
            return
        if monotonic() - started > story.timeout_seconds:
            say(f"the story did not end within {story.timeout_seconds:g} s")
            return
        threading.Event().wait(LOOK_SECONDS)


def _is_over(status: dict[str, Any]) -> bool:
    ended = ("merged", "closed", "cancelled", "stuck")
    return all(state in ended or not number for state, number in status["counts"].items()) and not (
        status["sessions"] or status["merges"]
    )


def told(event: Mapping[str, Any]) -> str:
    """Return an event as a line for who watches; empty when it is of no interest to them."""
    subject, data = event["subject"], event["data"]
    match event["kind"]:
        case "claimed":
            return f"{data.get('name', 'a session')} takes {subject}"
        case "handed_off":
            return f"{event['actor']} hands {subject} off to a fresh session"
        case "question_asked":
            return f"{event['actor']} asks {subject}: {data['text']}"
        case "question_answered":
            return f"{event['actor']} answers {subject}: {data['answer']}"
        case "merge_requested":
            return f"{event['actor']} asks to merge {data['task']} ({subject})"
        case "check_finished":
            return f"check {data['check']}: {data['outcome']}"
        case "approved":
            return f"{event['actor']} approves {subject}"
        case "sent_back":
            return f"{subject} goes back: {data['reason']}"
        case "conflict_found":
            return f"{subject} is in conflict in {', '.join(data['paths'])}"
        case "conflict_resolved":
            return f"the conflict of {subject} is resolved"
        case "flaky_check":
            return f"check {data['check']} is flaky"
        case "merged":
            return f"{subject} has landed as {str(data['commit'])[:12]}"
        case "task_stuck":
            return f"{subject} is stuck: {data['evidence']}"
        case "plan_completed":
            return f"plan {subject} is complete"
        case _:
            return ""


def _stop(server: "subprocess.Popen[bytes]") -> None:
    """Press Ctrl-C, as the person would, and wait; then end what is left of the group."""
    if server.poll() is None:
        server.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_SECONDS)
    process.end_child(server)
