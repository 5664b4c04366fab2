"""What we rely on in Claude Code, each against the real binary; the API it talks to is scripted.

A failure here means that the client has changed, not that our code is wrong: see first which
version was tested.
"""

import json
import math
import os
import signal
import subprocess
from collections.abc import Generator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import reduce
from pathlib import Path
from typing import Any

import pytest

from launcher.core.command_line import (
    MINIMUM_CLIENT_VERSION,
    InteractiveDirector,
    interactive_command,
    parse_version,
)
from launcher.core.ends import End, Ending, classify
from launcher.core.observation import Observation, fold
from launcher.core.stream import (
    ControlResponse,
    Init,
    Notice,
    ToolResult,
    ToolResults,
    get_context_usage,
    get_mcp_status,
    get_session_cost,
    initialize,
    interrupt,
    mcp_statuses,
    user_message,
)
from launcher.rehearsal.messages import RequestKind
from launcher.rehearsal.script import Script
from launcher.rehearsal.scripted_api import ScriptedApi
from sf_mcp.core.models import EndKind, Role, SessionId
from sf_mcp.core.wiring import ask_first
from tests.launcher.client_harness import (
    TOKEN,
    WAIT_SECONDS,
    Bench,
    Client,
    SmallServer,
    client_binary,
)

OUTSIDE = "/tmp/stoneforge-contract-must-not-exist"
NOW = datetime(2026, 11, 22, tzinfo=UTC)
CLAIM: dict[str, Any] = {"tools": [{"name": "claim_task"}]}
LONG_FILL = 190_000


def a_script(match: str, *steps: dict[str, Any]) -> Script:
    return Script.model_validate({"match": f"^{match}$", "attempts": [steps]})


def writes(path: str, text: str = "x") -> dict[str, Any]:
    return {"name": "Write", "input": {"file_path": path, "content": text}}


def an_error(name: str, status: int, **fields: Any) -> Script:
    return a_script(name, {"error": status, "times": 9, **fields})


SCRIPTS = [
    a_script(
        "take the tour",
        CLAIM,
        {"tools": [writes(OUTSIDE), writes("{{last:in (.*)}}inside.txt")]},
        {"tools": [{"name": "Bash", "input": {"command": "echo ran"}}]},
        {"text": "I am done.", "fill": 40_000},
        {"text": "I am really done.", "fill": 50_000},
        {"text": "The second turn.", "fill": 60_000},
        {"text": "After the resume.", "fill": 70_000},
    ),
    a_script("say hello", {"text": "hello"}),
    a_script("stall", {"tools": [{"name": "stall"}]}, {"text": "going on"}),
    a_script(
        "read",
        {
            "tools": [
                {"name": "Read", "input": {"file_path": "/etc/hostname"}},
                {"name": "Grep", "input": {"pattern": "root", "path": "/etc"}},
                {"name": "Glob", "input": {"pattern": "*", "path": "/etc"}},
                {"name": "Grep", "input": {"pattern": "needle"}},
            ]
        },
        {"text": "read"},
    ),
    a_script(
        "be busy",
        {"tools": [{"name": "Bash", "input": {"command": "true"}}], "wait_for": "busy"},
        {"text": "understood"},
    ),
    a_script("approve", {"tools": [{"name": "approve_merge"}, {"name": "claim_task"}]}),
    a_script("fill up", {"text": "one", "fill": LONG_FILL}, {"text": "two"}),
    an_error("fail 401", 401, message="invalid x-api-key"),
    an_error("fail 404", 404, message="model: sonnet"),
    an_error("fail 429", 429, headers={"retry-after": "3600"}),
    an_error("fail 529", 529, message="Overloaded"),
    an_error("fail credit", 400, message="Your credit balance is too low to access the API"),
    an_error("fail long", 400, message="prompt is too long: 250000 tokens > 200000 maximum"),
]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Generator[Bench]:
    with SmallServer() as server, ScriptedApi(SCRIPTS, keep_bodies=True) as api:
        yield Bench(tmp_path_factory.mktemp("contract"), server, api)


@dataclass(kw_only=True)
class Tour:
    """One worker's session of two turns and a resume, and everything that was seen of it."""

    bench: Bench
    id: SessionId
    first: Client
    resumed: Client
    servers_before: dict[str, str]
    requests_before: int
    usage_before: dict[str, Any]
    usage: dict[str, Any]
    exit_code: int
    results: list[ToolResult] = field(default_factory=list[ToolResult])

    def told_at(self, step: int) -> str:
        """Return what the model was told before it answered `step`."""
        return next(r.newest for r in self.bench.asked_by(self.id) if r.step == step)

    def observed(self) -> Observation:
        return reduce(fold, self.first.events, Observation())


@pytest.fixture(scope="module")
def tour(bench: Bench) -> Generator[Tour]:
    session = bench.session()
    answers = bench.server.answers
    answers[session.session_id, "PostToolUse", "mcp__sf__claim_task"] = [
        {
            "hookSpecificOutput": {
                "hookEventName": "PostToolUse",
                "additionalContext": f"Work in {bench.worktree}/",
            }
        }
    ]
    answers[session.session_id, "PreToolUse", "Bash"] = [
        {
            "hookSpecificOutput": {
                "hookEventName": "PreToolUse",
                "permissionDecision": "deny",
                "permissionDecisionReason": "Only write_handoff now.",
            }
        }
    ]
    answers[session.session_id, "Stop", ""] = [
        {"decision": "block", "reason": "Request the merge first."}
    ]
    with bench.start(session) as first:
        first.send(initialize("r1"))
        first.wait_for(ControlResponse, lambda r: r.request_id == "r1")
        first.send(get_mcp_status("r2"))
        servers = first.wait_for(ControlResponse, lambda r: r.request_id == "r2").payload
        first.send(get_context_usage("r0"))
        before = first.wait_for(ControlResponse, lambda r: r.request_id == "r0").payload
        requests_before = len(bench.asked_by(session.session_id))
        first.send(user_message("take the tour"))
        first.result(1)
        first.send(user_message("and on"))
        first.result(2)
        first.send(get_context_usage("r3"))
        usage = first.wait_for(ControlResponse, lambda r: r.request_id == "r3").payload
        first.close_input()
        exit_code = first.exit_code()
        with bench.start(bench.session(session_id=session.session_id, is_resumed=True)) as resumed:
            resumed.send(user_message("what was it?"))
            resumed.result()
            yield Tour(
                bench=bench,
                id=session.session_id,
                first=first,
                resumed=resumed,
                servers_before=dict(mcp_statuses(servers)),
                requests_before=requests_before,
                usage_before=dict(before),
                usage=dict(usage),
                exit_code=exit_code,
                results=[
                    result
                    for event in first.events
                    if isinstance(event, ToolResults)
                    for result in event.results
                ],
            )


def test_the_client_is_new_enough_and_says_its_version() -> None:
    said = subprocess.run(
        [client_binary(), "--version"], capture_output=True, text=True, timeout=WAIT_SECONDS
    )
    version = parse_version(said.stdout)

    assert version is not None
    assert version >= MINIMUM_CLIENT_VERSION


def test_the_connection_can_be_checked_before_any_model_request(tour: Tour) -> None:
    assert tour.servers_before == {"sf": "connected"}
    assert tour.requests_before == 0


def test_the_init_event_names_session_servers_and_tools_and_starts_every_turn(tour: Tour) -> None:
    starts = [event for event in tour.first.events if isinstance(event, Init)]

    assert len(starts) == 2
    assert starts[0].session_id == tour.id
    assert starts[0].mcp_servers == {"sf": "connected"}
    assert "mcp__sf__claim_task" in starts[0].tools


def test_our_tools_are_in_the_first_request_and_nothing_that_wakes_or_spawns(tour: Tour) -> None:
    tools = set(tour.bench.asked_by(tour.id)[0].tools)

    assert {"Bash", "Edit", "Write", "Read", "Grep", "Glob", "mcp__sf__claim_task"} <= tools
    assert not tools & {"Agent", "Task", "ScheduleWakeup", "CronCreate", "Workflow", "WebFetch"}


def test_the_appended_prompt_is_in_the_request(tour: Tour) -> None:
    assert b"You are a worker of a fleet." in (tour.bench.asked_by(tour.id)[0].body or b"")


def test_a_tool_is_called_with_the_token_from_the_environment(tour: Tour) -> None:
    assert tour.results[0] == ToolResult(
        tool_use_id=tour.results[0].tool_use_id,
        is_error=False,
        text='{"result":"You hold T1."}',
    )


def test_context_from_post_tool_use_reaches_the_model(tour: Tour) -> None:
    assert f"Work in {tour.bench.worktree}/" in tour.told_at(2)


def test_a_write_outside_the_worktree_is_denied_and_one_inside_is_done(tour: Tour) -> None:
    outside, inside = tour.results[1:3]

    assert outside.is_error
    assert "don't ask mode" in outside.text
    assert not Path(OUTSIDE).exists()
    assert not inside.is_error
    assert (tour.bench.worktree / "inside.txt").read_text() == "x"


def test_a_pre_tool_use_hook_can_deny_and_the_model_is_told_why(tour: Tour) -> None:
    assert tour.results[3].is_error
    assert tour.results[3].text.endswith("Only write_handoff now.")


def test_a_blocked_stop_tells_the_model_why_and_the_turn_goes_on(tour: Tour) -> None:
    assert "Stop hook feedback:\nRequest the merge first." in tour.told_at(5)
    stops = tour.bench.server.hooks_of(tour.id, "Stop")
    assert [stop["stop_hook_active"] for stop in stops[:2]] == [False, True]
    assert tour.first.result(1).text == "I am really done."


def test_hooks_carry_the_sessions_token(tour: Tour) -> None:
    assert tour.bench.server.hook_tokens[tour.id] == {f"Bearer {TOKEN}"}


def test_the_fill_and_the_window_are_in_the_stream(tour: Tour) -> None:
    seen = tour.observed()
    newest_output = tour.usage["apiUsage"]["output_tokens"]

    assert newest_output > 1
    assert seen.context_tokens == 60_000 + newest_output
    assert seen.context_window == tour.usage["maxTokens"]
    assert tour.usage["totalTokens"] == 60_000


def test_the_window_and_our_tools_are_said_before_the_first_request(tour: Tour) -> None:
    assert tour.usage_before["maxTokens"] == tour.usage["maxTokens"]
    ours = [tool for tool in tour.usage_before["mcpTools"] if tool["serverName"] == "sf"]
    assert {tool["name"] for tool in ours} == {
        "mcp__sf__claim_task",
        "mcp__sf__stall",
        "mcp__sf__approve_merge",
    }
    assert all(tool["tokens"] > 0 for tool in ours)
    results = tour.usage["messageBreakdown"]["toolCallsByType"]
    claim = next(one for one in results if one["name"] == "mcp__sf__claim_task")
    assert claim["resultTokens"] > 0


def test_what_is_asked_of_the_client_costs_no_request_of_any_kind(tour: Tour) -> None:
    kinds = {record.kind for record in tour.bench.api.requests if record.session == tour.id}

    assert kinds == {RequestKind.MAIN}


def test_the_cost_can_be_asked_for_in_the_middle_of_a_turn(bench: Bench) -> None:
    """And with it the output of the newest answer, which the stream has as one token."""
    with bench.start(bench.session()) as client:
        bench.server.stalled.clear()
        client.send(get_session_cost("c1"))
        client.send(user_message("stall"))
        assert bench.server.stalled.wait(WAIT_SECONDS)
        client.send(get_session_cost("c2"))
        client.send(get_context_usage("u1"))
        client.wait_for(ControlResponse, lambda answer: answer.request_id == "u1")
        seen = reduce(fold, client.events, Observation())

        assert seen.is_turn_active
        assert 0 < seen.cost_usd < 1
        assert seen.usage.total.output > 1
        client.send(interrupt("stop"))
        result = client.result()
        assert result.turn_cost_usd is not None
        assert seen.cost_usd <= result.turn_cost_usd
        after = reduce(fold, client.events, Observation())
        assert after.cost_usd == result.turn_cost_usd
        assert after.usage.total == result.usage


def test_the_cost_of_a_session_is_cumulative_and_each_turn_says_its_own(tour: Tour) -> None:
    first, second = tour.first.result(1), tour.first.result(2)
    after = tour.resumed.result()

    assert first.turn_cost_usd is not None
    assert second.turn_cost_usd is not None
    assert after.turn_cost_usd is not None
    assert math.isclose(second.cost_usd, first.turn_cost_usd + second.turn_cost_usd)
    assert math.isclose(after.cost_usd, second.cost_usd + after.turn_cost_usd)


def test_a_closed_input_ends_the_process_with_0_and_the_session_end_hook(tour: Tour) -> None:
    assert tour.exit_code == 0
    assert len(tour.bench.server.hooks_of(tour.id, "SessionEnd")) == 1


def test_a_resumed_session_keeps_its_id_and_remembers(tour: Tour) -> None:
    request = tour.bench.asked_by(tour.id)[-1]

    assert tour.resumed.wait_for(Init).session_id == tour.id
    assert b"The second turn." in (request.body or b"")
    assert request.step == 7


def test_a_conversation_that_is_gone_ends_the_process_and_says_so(bench: Bench) -> None:
    with bench.start(bench.session(is_resumed=True)) as client:
        code = client.exit_code()

        end = ended(client, code)
        assert code == 1
        assert end.kind is EndKind.CONVERSATION_LOST


@pytest.mark.parametrize("fault", ["refused connection", "wrong token"])
def test_a_server_that_cannot_be_reached_shows_as_failed_and_nothing_else_tells(
    bench: Bench, fault: str
) -> None:
    url = "http://127.0.0.1:9/mcp" if fault == "refused connection" else bench.server.mcp_url
    token = TOKEN if fault == "refused connection" else "wrong"
    with bench.start(bench.session(mcp_url=url), SF_TOKEN=token) as client:
        client.send(user_message("say hello"))
        result = client.result()

        assert client.wait_for(Init).mcp_servers == {"sf": "failed"}
        assert not result.is_error
        assert ended(client, 0).kind is EndKind.FAILED_TO_START


def test_a_reviewing_steward_has_no_tool_that_writes_or_runs_and_reads_only_its_worktree(
    bench: Bench,
) -> None:
    (bench.worktree / "hay.txt").write_text("a needle\n")
    session = bench.session(role=Role.STEWARD)
    with bench.start(session) as client:
        client.send(user_message("read"))
        client.result()
        results = [
            result
            for event in client.events
            if isinstance(event, ToolResults)
            for result in event.results
        ]

        own = {
            name
            for name in bench.asked_by(session.session_id)[0].tools
            if not name.startswith("mcp__sf__")
        }
        assert own - {"DeferredToolPlaceholder"} == {"Read", "Grep", "Glob"}
        assert [result.is_error for result in results] == [True, True, True, False]
        assert "hay.txt" in results[3].text


def test_an_interrupt_ends_the_turn_in_the_middle_of_a_call_and_the_session_goes_on(
    bench: Bench,
) -> None:
    bench.server.stalled.clear()
    with bench.start(bench.session()) as client:
        client.send(user_message("stall"))
        assert bench.server.stalled.wait(WAIT_SECONDS)
        client.send(interrupt("stop"))

        result = client.result()
        assert result.terminal_reason == "aborted_tools"
        client.send(user_message("go on"))
        assert client.result(2).text == "going on"


def test_a_call_cut_off_by_a_kill_has_no_result_in_the_resumed_session(bench: Bench) -> None:
    bench.server.stalled.clear()
    session = bench.session()
    with bench.start(session) as client:
        client.send(user_message("stall"))
        assert bench.server.stalled.wait(WAIT_SECONDS)
        # The client writes its transcript a moment later; killed before, it has no conversation.
        bench.wait_until_written(session, "mcp__sf__stall")
        os.killpg(client.process.pid, signal.SIGKILL)
        assert client.exit_code() == -signal.SIGKILL
        assert ended(client, -signal.SIGKILL).kind is EndKind.KILLED
    resumed = bench.session(session_id=session.session_id, is_resumed=True)
    with bench.start(resumed) as client:
        bench.server.stalled.clear()
        client.send(user_message("You were interrupted."))
        # The scripted model makes the call again only when the request holds no result of it.
        assert bench.server.stalled.wait(WAIT_SECONDS)


def test_a_message_to_a_busy_session_reaches_the_model_with_the_next_result(bench: Bench) -> None:
    session = bench.session()
    with bench.start(session) as client:
        client.send(user_message("be busy"))
        arrived = {session.session_id}
        assert bench.api.wait_until(lambda api: api.waiting_at("busy") == arrived, WAIT_SECONDS)
        client.send(user_message("The answer is 42."))
        bench.api.open_barrier("busy")
        client.result()

        told = "\n".join(record.newest for record in bench.asked_by(session.session_id))
        assert "The answer is 42." in told


def test_instruction_files_above_the_worktree_stay_out_and_its_own_comes_in(bench: Bench) -> None:
    checkout = bench.root / "check [out] é"
    worktree = checkout / ".stoneforge" / "worktrees" / "T1"
    (checkout / ".claude" / "rules").mkdir(parents=True)
    worktree.mkdir(parents=True)
    for name in ("CLAUDE.md", ".claude/CLAUDE.md", ".claude/rules/rule.md"):
        (checkout / name).write_text(f"FROM ABOVE {name}\n")
    (worktree / "CLAUDE.md").write_text("FROM THE BRANCH\n")
    session = bench.session(worktree=str(worktree))
    with bench.start(session) as client:
        client.send(user_message("say hello"))
        client.result()

        body = bench.asked_by(session.session_id)[0].body or b""
        assert b"FROM THE BRANCH" in body
        assert b"FROM ABOVE" not in body


def test_a_context_that_fills_up_is_not_compacted(bench: Bench) -> None:
    session = bench.session(model="claude-opus-4-8")
    with bench.start(session, CLAUDE_CODE_DISABLE_1M_CONTEXT="1") as client:
        client.send(user_message("fill up"))
        assert client.result().context_windows == {"claude-opus-4-8": 200_000}
        client.send(user_message("more"))
        client.result(2)

        assert bench.api.count(RequestKind.COMPACTION) == 0
        assert not any(isinstance(e, Notice) and "compact" in e.kind for e in client.events)


def test_a_persons_director_asks_before_it_approves_and_not_before_it_looks(bench: Bench) -> None:
    """Without a person at the terminal, what would be asked is denied.

    The token reaches the client by `headersHelper`, and hooks are commands without a shell.
    """
    program = bench.root / "it's a folder" / "sf"
    program.parent.mkdir()
    headers = json.dumps({"Authorization": f"Bearer {TOKEN}"})
    question = json.dumps(ask_first("It is M1."))
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> '{bench.root}/said'
case $1 in
token) echo '{headers}' ;;
hook) if grep -q PreToolUse; then echo '{question}'; fi ;;
esac
"""
    )
    program.chmod(0o755)
    command = interactive_command(
        InteractiveDirector(
            claude=client_binary(),
            mcp_url=bench.server.mcp_url,
            sf=(str(program),),
            prompt_file=str(bench.prompt_file),
        )
    )
    pipes = ("-p", "--verbose", "--input-format", "stream-json", "--output-format", "stream-json")
    with bench.run([command[0], *pipes, *command[1:]], cwd=bench.worktree) as client:
        client.send(user_message("approve"))
        client.result()

        results = {
            result.text: result.is_error
            for event in client.events
            if isinstance(event, ToolResults)
            for result in event.results
        }
        assert results['{"result":"You hold T1."}'] is False
        assert sum(results.values()) == 1
        assert "approve_merge" not in bench.server.calls
    said = (bench.root / "said").read_text().splitlines()
    assert {"token --headers", "hook"} <= set(said) <= {"token --headers", "hook", "statusline"}


@pytest.mark.parametrize(
    ("words", "kind", "sentence"),
    [
        ("fail 401", EndKind.AUTHENTICATION, "log in"),
        ("fail 404", EndKind.BAD_CONFIGURATION, "`model`"),
        ("fail 429", EndKind.USAGE_LIMIT, "usage limit"),
        ("fail 529", EndKind.OVERLOADED, "did not answer"),
        ("fail credit", EndKind.AUTHENTICATION, "Add credit"),
        ("fail long", EndKind.CONTEXT_FULL, "context is full"),
    ],
)
def test_a_failing_api_ends_the_session_with_1_and_is_told_apart(
    bench: Bench, words: str, kind: EndKind, sentence: str
) -> None:
    with bench.start(bench.session(), CLAUDE_CODE_MAX_RETRIES="1") as client:
        client.send(user_message(words))
        assert client.result().subtype == "success"
        client.close_input()
        code = client.exit_code()

        end = ended(client, code)
        assert code == 1
        assert end.kind is kind
        assert sentence in end.sentence


def test_a_taken_session_id_is_refused(tour: Tour) -> None:
    with tour.bench.start(tour.bench.session(session_id=tour.id)) as client:
        code = client.exit_code()

        assert ended(client, code).kind is EndKind.CONVERSATION_LOST


def ended(client: Client, code: int) -> End:
    seen = reduce(fold, client.events, Observation())
    return classify(
        Ending(
            exit_code=code,
            last_result=seen.last_result,
            assistant_error=seen.assistant_error,
            mcp_servers=seen.mcp_servers,
            has_started=bool(seen.session_id),
            is_turn_active=seen.is_turn_active,
            errors=client.errors,
        ),
        now=NOW,
    )
