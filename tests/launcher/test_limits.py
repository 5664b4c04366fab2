"""Limits, refusals and budgets with the real Claude Code, the real server and a scripted model."""

from pathlib import Path

from launcher.rehearsal.messages import RequestKind
from tests.launcher.builders_project import call, commit, lands, running, say, worker

MAIN = RequestKind.MAIN
NO_RETRY = {"retry-after": "3600"}
"""The client fails at once; a short one it waits out by itself."""


def test_a_usage_limit_is_waited_out_through_a_restart_and_everything_lands(
    tmp_path: Path,
) -> None:
    """The reset is 8 s away: with the margin for clocks that differ, the fleet rests for 13."""
    meets = [
        say(call("claim_task")),
        say(error=429, message="You've hit your limit, resets in 8 seconds", headers=NO_RETRY),
        *lands("limit.txt")[1:],
    ]
    goes_on = [
        say(call("claim_task")),
        say(commit("on.txt", "on"), wait_for="the limit is met"),
        *lands("on.txt")[2:],
    ]
    scripts = (
        worker("Meet the limit", meets, lands("limit.txt")),
        worker("Go on", goes_on),
        worker("Come later", lands("later.txt")),
    )
    orchestrator = {"maxConcurrent": 2}
    with running(tmp_path, *scripts, orchestrator=orchestrator) as (project, api):
        limited, on, later = project.plan(
            *({"title": title} for title in ("Go on", "Meet the limit", "Come later"))
        )
        limited, on = on, limited
        project.start_fleet("--attached")

        project.wait_for(lambda: project.events("fleet_parked"))
        until = project.call("fleet_status")["parked_until"]
        assert until
        assert "hit your limit" in project.call("fleet_status")["parked_reason"]
        # What runs is not ended, and its work lands meanwhile.
        api.open_barrier("the limit is met")
        project.wait_for_state(on, "merged")
        project.wait_for(lambda: not project.claude_pids())
        assert project.state(limited) == project.state(later) == "open"
        assert "at rest until" in project.call("why", task=later)["sentence"]

        resting = api.count(MAIN)
        project.stop_server()
        project.start_server()

        def is_over() -> bool:
            count = api.count(MAIN)
            if project.call("fleet_status")["parked_until"] is None:
                return True
            assert count == resting
            return False

        project.wait_for(is_over)
        for task in (limited, later):
            project.wait_for_state(task, "merged")

        assert not api.misses
        ends = project.call("get_task", task=limited)["attempts"]
        assert [end.split()[0] for _, end in ends] == ["usage_limit", "merge_requested"]
        starts = [event["at"] for event in project.events("session_started")]
        assert len([at for at in starts if at >= until]) == len(starts) - 2 == 2


def test_a_refused_login_account_or_model_costs_one_session_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    """Row 20 of the known defects: they were taken for a usage limit. Three tasks are ready."""
    refusals = (
        (401, "invalid x-api-key", "authentication", "log in"),
        (403, "your account may not use this", "authentication", "log in"),
        (400, "Your credit balance is too low", "authentication", "Add credit"),
        (404, "model: sonnet", "bad_configuration", "Set another `model`"),
    )
    attempts = [[say(error=code, message=text, times=100)] for code, text, _, _ in refusals]
    with running(tmp_path, worker("", *attempts, lands("{{any:Your task is (T\\d+)}}"))) as (
        project,
        _,
    ):
        tasks = project.plan(*({"title": f"Task {number}"} for number in range(3)))
        project.start_fleet("--attached")

        def refused() -> list[str]:
            return [end for end in project.ends() if end != "stopped"]

        for number, (_, _, kind, remedy) in enumerate(refusals, start=1):
            project.wait_for(lambda number=number: len(refused()) == number)

            assert refused()[-1] == kind, project.story()
            status = project.call("fleet_status")
            assert remedy in status["paused"]
            assert "sf resume" in status["paused"]
            assert status["parked_until"] is None
            assert len(project.events("session_started")) == number
            assert not project.claude_pids()
            # So that a fresh one, which is refused otherwise, takes its place.
            project.call("stop_session", session=project.sessions()[-1]["id"])
            project.call("resume_fleet")

        project.wait_for(lambda: "merged" in {project.state(task) for task in tasks})


def test_a_budget_that_runs_out_warns_hands_off_asks_and_goes_on_when_it_is_raised(
    tmp_path: Path,
) -> None:
    """At the list price of the client: 10 dollars for a million tokens of output."""
    costs = [
        say(call("claim_task")),
        say(
            call("Bash", command="echo half > half.txt; sleep 8", description="work"),
            usage={"output_tokens": 82_000},
        ),
        say(
            call("Bash", command="touch late; sleep 60", description="work"),
            expect="has cost \\$0.8[0-9] of \\$1.00(.|\\n)*Wrap up",
            usage={"output_tokens": 30_000},
        ),
    ]
    goes_on = [
        say(call("claim_task")),
        say(commit("whole.txt", "whole"), expect="ended before it wrote a handoff: T1 has cost"),
        *lands("whole.txt")[2:],
    ]
    with running(tmp_path, worker("", costs, goes_on), budget={"taskUsd": 1.0}) as (project, api):
        (task,) = project.plan({"title": "One"})
        project.start_fleet("--attached")

        project.wait_for_state(task, "stuck")
        project.wait_for(project.ends)

        assert project.ends() == ["over_budget"]
        assert len(project.events("budget_warned")) == 1
        assert not project.claude_pids()
        (question,) = project.call("list_questions")
        assert question["escalated"]
        assert "T1 has cost $1." in question["context"]
        (line,) = project.call("cost", by="task")["lines"]
        assert 1.0 <= line["cost_usd"] < 2.0
        assert line["output_tokens"] > 82_000

        project.configure(budget={"taskUsd": 5.0})
        project.wait_for_state(task, "merged")

        assert not api.misses
        assert project.call("get_task", task=task)["handoffs"][0]["by_server"]
        project.wait_for(lambda: (project.root / "half.txt").exists())
