"""The person's own command is run for what they want to hear of, once for each thing."""

import json
import shlex
import sqlite3
import sys
from pathlib import Path

import pytest

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.models import EndKind
from sf_mcp.core.states import TaskState
from sf_mcp.service.notifications import MOST_NAMED, News, environment
from tests.builders import Project, a_merge_request, a_project, a_task, a_worker, bring


class Told:
    """A project whose person has what they are told written to a file."""

    def __init__(self, folder: Path) -> None:
        self.project = a_project(folder)
        self.file = folder / "what I was told"
        self.switch_on()

    def switch_on(self, run: str = "", **more: object) -> None:
        command = f'echo "$SF_KIND|$SF_IDS|$SF_TEXT|$SF_COMMAND" >> {shlex.quote(str(self.file))}'
        self.configure({"run": run or command, **more})
        self.look()

    def configure(self, notify: dict[str, object]) -> None:
        self.project.configure(
            json.dumps(
                {
                    "checks": [],
                    "agents": {"steward": {"review": False, "autoMerge": False}},
                    "notify": notify,
                }
            )
        )

    def look(self) -> list[str]:
        """Let the loop look once; return all that was ever told."""
        self.project.services.notifications.send()
        return self.file.read_text().splitlines() if self.file.exists() else []

    def approve_all(self) -> None:
        for view in self.project.services.requests.list_merge_requests(PERSON):
            self.project.services.requests.approve_merge(PERSON, view.request.id)
        self.project.run_train()


@pytest.fixture
def told(tmp_path: Path) -> Told:
    return Told(tmp_path)


def a_stuck_task(project: Project, title: str = "Add a thing") -> str:
    return a_task(project, title, state=TaskState.STUCK)


def test_nothing_is_run_unless_the_person_wants_it(tmp_path: Path) -> None:
    project = a_project(tmp_path)
    a_stuck_task(project)
    project.services.notifications.send()
    assert project.services.workspace.settings.notify.run is None
    assert not (project.layout.logs / "notify.log").exists()


def test_a_stuck_task_is_told_once_whatever_is_restarted(told: Told) -> None:
    task = a_stuck_task(told.project, "Add invitations")
    (line,) = told.look()
    kind, _, text, _ = line.split("|")
    assert kind == "stuck"
    assert f"{task}: Add invitations is stuck" in text

    told.project.reopen()

    assert told.look() == [line]


def test_stuck_once_more_after_a_retry_is_another_thing(told: Told) -> None:
    task = a_stuck_task(told.project)
    told.look()
    told.project.services.plans.retry_task(PERSON, task)
    assert len(told.look()) == 1
    told.project.clock.advance(minutes=10)

    bring(told.project, told.project.task(task).id, TaskState.STUCK)

    assert [line.split("|")[0] for line in told.look()] == ["stuck", "stuck"]


def test_a_merge_request_that_waits_for_the_person_is_told_with_the_command(told: Told) -> None:
    request = a_merge_request(told.project, a_task(told.project, "Add invitations"))
    told.project.run_train()

    (line,) = told.look()

    kind, ids, text, command = line.split("|")
    assert (kind, ids) == ("ready-to-merge", request.id)
    assert "Add invitations" in text
    assert request.id in command


def test_what_lands_together_is_told_in_one_go(told: Told) -> None:
    tasks = [a_task(told.project, f"Part {number}") for number in (1, 2)]
    for task in tasks:
        a_merge_request(told.project, task)
    told.project.run_train()
    told.look()

    told.approve_all()

    assert told.look()[-1].split("|")[:2] == ["merged", " ".join(tasks)]
    assert len(told.look()) == 2


def test_a_question_is_told_when_it_waits_for_the_person_and_not_before(told: Told) -> None:
    question = a_worker(told.project, a_task(told.project)).ask("Which one?")
    assert told.look() == []

    told.project.services.questions.escalate(PERSON, question.id, note="a matter of taste")

    (line,) = told.look()
    assert line.startswith(f"needs-input|{question.id}|")
    assert "Which one?" in line


def test_what_ended_before_it_was_told_is_not_told(told: Told) -> None:
    question = a_worker(told.project, a_task(told.project)).ask()
    told.project.services.questions.escalate(PERSON, question.id, note="taste")
    told.project.services.questions.answer_question(PERSON, question.id, answer="the first")
    assert told.look() == []


def test_a_pause_is_told_unless_it_is_the_persons_own(told: Told) -> None:
    told.project.services.fleet.pause_fleet(PERSON, reason="lunch")
    assert told.look() == []
    told.project.services.fleet.resume_fleet(PERSON)
    told.project.clock.advance(minutes=1)

    told.project.services.fleet.pause_fleet(SERVER, reason="the usage limit")

    (line,) = told.look()
    assert line.startswith("needs-input||")
    assert line.endswith("the usage limit|sf resume")


def test_only_what_was_chosen_is_told(told: Told) -> None:
    told.switch_on(events=["merged"])
    a_stuck_task(told.project)
    assert told.look() == []


def test_what_landed_before_it_was_switched_on_is_not_told(told: Told) -> None:
    told.configure({"run": None})
    told.look()
    a_merge_request(told.project, a_task(told.project))
    told.project.run_train()
    told.approve_all()

    told.switch_on()

    assert told.look() == []


def test_a_title_is_text_to_the_command_whatever_it_says(told: Told, tmp_path: Path) -> None:
    title = f"`touch {tmp_path}/a` $(touch {tmp_path}/b) \"; touch {tmp_path}/c; # '\n-x"
    task = a_stuck_task(told.project, title.replace("\n", " "))

    (line,) = told.look()

    assert task in line
    assert "`touch" in line
    assert not any((tmp_path / name).exists() for name in "abc")


def test_a_command_that_fails_or_hangs_changes_nothing_and_is_not_run_again(told: Told) -> None:
    runs = told.file.with_name("runs")
    for command, said in (("exit 3", "failed (exit 3)"), ("exec sleep 600", "timed out")):
        told.switch_on(f"echo x >> {shlex.quote(str(runs))}; {command}", timeoutSeconds=1)
        a_stuck_task(told.project)
        told.look()
        told.look()
        notes = told.project.services.fleet.fleet_status(PERSON).notes
        assert any(f"notify.run {said}" in note for note in notes)
    assert runs.read_text().split() == ["x", "x"]

    told.switch_on("true")
    a_stuck_task(told.project)
    told.look()

    notes = told.project.services.fleet.fleet_status(PERSON).notes
    assert not any("notify.run" in note for note in notes)


def test_it_is_written_down_before_the_command_runs(told: Told) -> None:
    """A crash in between must not make it run twice."""
    database = shlex.quote(str(told.project.layout.database))
    program = (
        "import sqlite3, sys; print(sqlite3.connect(sys.argv[1])"
        ".execute('SELECT kind FROM notifications').fetchall())"
    )
    run = f"{shlex.quote(sys.executable)} -c {shlex.quote(program)} {database}"
    told.switch_on(f"{run} > {shlex.quote(str(told.file))}")
    a_stuck_task(told.project)
    assert told.look() == ["[('stuck',)]"]
    with sqlite3.connect(told.project.layout.database) as db:
        assert db.execute("SELECT count(*) FROM notifications").fetchone() == (1,)


def test_a_crowd_is_told_in_one_short_text() -> None:
    news = [
        News(kind="merged", id=f"T{number}", since="", text=f"T{number}: " + "x" * 200, command="")
        for number in range(1, 41)
    ]
    told = environment("app", news)
    assert told["SF_IDS"].split() == [one.id for one in news]
    assert len(told["SF_TEXT"]) <= 501
    assert environment("app", [*news[:1] * (MOST_NAMED + 3)])["SF_KIND"] == "merged"
    assert told["SF_COMMAND"] == "sf status"


def test_a_handed_off_task_and_a_crash_are_nothing_to_be_told_of(told: Told) -> None:
    worker = a_worker(told.project, a_task(told.project), with_worktree=True)
    worker.hand_off()
    worker.end()
    a_worker(told.project, a_task(told.project)).end(EndKind.KILLED)
    assert told.look() == []
