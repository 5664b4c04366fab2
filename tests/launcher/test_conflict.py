"""A steward that resolves a conflict, with the real client: it edits files and runs nothing."""

import json
from pathlib import Path

from launcher.rehearsal.script import Script
from sf_mcp.core.models import Role
from tests.launcher.builders_project import call, commit, git, running, say, worker

FILE = '{{any:"worktree": ?"([^"]+)"}}/greeting.txt'


def test_a_steward_mends_what_two_workers_wrote_in_one_place_and_both_lines_land(
    tmp_path: Path,
) -> None:
    def says(word: str) -> Script:
        steps = [
            say(call("claim_task")),
            say(commit("greeting.txt", word), together=2),
            say(call("request_merge", summary=f"It says {word}.")),
            say(),
        ]
        return worker(f"Say {word}", steps)

    resolves = [
        say(call("claim_conflict"), expect="conflicts with the target in greeting.txt"),
        say(call("Read", file_path=FILE), expect="The places in conflict"),
        say(call("Write", file_path=FILE, content="hello\n"), expect="<<<<<<<"),
        say(call("submit_resolution", summary="One word is enough.")),
        say(
            call("Edit", file_path=FILE, old_string="hello\n", new_string="hello\nhi\n"),
            expect=r"unresolved(.|\n)*missing from the result: hi",
        ),
        say(call("submit_resolution", summary="Both words.")),
        say(expect="is resolved"),
    ]
    # What both wrote is known only once the first has landed: the other one may be either.
    steward = Script(role=Role.STEWARD, attempts=(tuple(resolves),))
    with running(tmp_path, says("hello"), says("hi"), steward) as (project, api):
        tasks = project.plan({"title": "Say hello"}, {"title": "Say hi"})
        project.start_fleet("--attached")

        project.wait_for(lambda: {project.state(task) for task in tasks} == {"merged"})

        text = git(project.root / ".stoneforge" / "forge.git", "show", "main:greeting.txt")
        assert text == "hello\nhi"
        assert not api.misses
        offered = next(r for r in api.requests if r.role is Role.STEWARD and r.tools).tools
        own = {name for name in offered if "mcp__" not in name}
        assert own == {"Read", "Grep", "Glob", "Edit", "Write", "DeferredToolPlaceholder"}
        events = json.dumps(project.events("conflict_resolved"))
        assert '"subject": "M' in events
