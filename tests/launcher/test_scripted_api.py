"""The scripted Messages API, asked over real sockets as Claude Code asks it."""

import http.client
import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from pydantic import ValidationError

from launcher.rehearsal.messages import ModelRequest, RequestKind
from launcher.rehearsal.script import END_OF_SCRIPT, NO_SCRIPT, Script, Step
from launcher.rehearsal.scripted_api import ScriptedApi
from sf_mcp.core.models import Role

WAIT_SECONDS = 10.0

TOOLS = {
    Role.WORKER: ("Bash", "mcp__sf__claim_task"),
    Role.STEWARD: ("Read", "mcp__plugin_sf_sf__claim_review"),
    Role.DIRECTOR: ("mcp__sf__answer_question",),
}

Message = dict[str, Any]

CLAIM_AND_SAY: list[Message] = [{"tools": [{"name": "claim_task"}]}, {"text": "claimed"}]


def a_script(*attempts: Sequence[dict[str, Any]], **fields: Any) -> Script:
    return Script.model_validate({"attempts": [list(steps) for steps in attempts], **fields})


def user(text: str) -> Message:
    return {"role": "user", "content": [{"type": "text", "text": text}]}


def result(call: str, text: str) -> Message:
    block = {"type": "tool_result", "tool_use_id": call, "content": text}
    return {"role": "user", "content": [block]}


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.message["content"][0]["text"]

    @property
    def call(self) -> dict[str, Any]:
        return next(block for block in self.message["content"] if block["type"] == "tool_use")

    @property
    def events(self) -> list[str]:
        lines = self.body.decode().splitlines()
        return [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]


class Session:
    """Holds a conversation with the API, as one Claude Code process does."""

    def __init__(
        self,
        api: ScriptedApi,
        name: str,
        told: str = "Do T1.",
        *,
        role: Role = Role.WORKER,
    ) -> None:
        self.api = api
        self.name = name
        self.tools = TOOLS[role]
        self.messages: list[Message] = [user(told)]

    def ask(self, *, stream: bool = False, path: str = "/v1/messages?beta=true") -> Reply:
        """Send the conversation as it is."""
        return post(
            self.api,
            path,
            {
                "model": "claude-x",
                "stream": stream,
                "tools": [{"name": name} for name in self.tools],
                "messages": self.messages,
            },
            session=self.name,
        )

    def go_on(self, reply: Reply, answer: Message) -> Reply:
        """Take `reply` into the conversation, add `answer` and ask again."""
        self.messages += [{"role": "assistant", "content": reply.message["content"]}, answer]
        return self.ask()


def post(api: ScriptedApi, path: str, body: object, *, session: str = "") -> Reply:
    connection = connect(api)
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, data, {"x-claude-code-session-id": session})
    try:
        response = connection.getresponse()
        return Reply(response.status, dict(response.getheaders()), response.read())
    finally:
        connection.close()


def connect(api: ScriptedApi) -> http.client.HTTPConnection:
    address = urlsplit(api.url)
    assert address.hostname is not None
    return http.client.HTTPConnection(address.hostname, address.port, timeout=WAIT_SECONDS)


def test_a_script_is_chosen_by_the_tools_and_by_what_the_session_was_told() -> None:
    scripts = [
        a_script([{"text": "parser"}], role="worker", match=r"\bT1\b"),
        a_script([{"text": "other"}], role="worker"),
        a_script([{"text": "review"}], role="steward", match=r"\bT1\b"),
        a_script([{"text": "answer"}], role="director"),
    ]
    with ScriptedApi(scripts) as api:
        assert Session(api, "a", "Do T1.").ask().text == "parser"
        assert Session(api, "b", "Do T12.").ask().text == "other"
        assert Session(api, "c", "Review T1.", role=Role.STEWARD).ask().text == "review"
        assert Session(api, "d", "T1 asks.", role=Role.DIRECTOR).ask().text == "answer"
        assert [record.role for record in api.requests] == [
            Role.WORKER,
            Role.WORKER,
            Role.STEWARD,
            Role.DIRECTOR,
        ]


def test_what_the_client_adds_to_the_first_message_chooses_nothing() -> None:
    scripts = [a_script([{"text": "wrong"}], match="T2"), a_script([{"text": "right"}])]
    told = "<system-reminder>\nCLAUDE.md: T2 is next\n</system-reminder>\nDo T1."
    with ScriptedApi(scripts) as api:
        assert Session(api, "a", told).ask().text == "right"


def test_each_session_is_the_next_attempt_and_the_last_one_repeats() -> None:
    script = a_script([{"text": "first"}], [{"text": "second"}])
    with ScriptedApi([script]) as api:
        texts = [Session(api, name).ask().text for name in "abc"]

        assert texts == ["first", "second", "second"]
        assert [record.attempt for record in api.requests] == [1, 2, 3]


def test_steps_follow_one_another_and_after_the_last_the_turn_ends() -> None:
    with ScriptedApi([a_script([{"text": "one"}, {"text": "two"}])]) as api:
        session = Session(api, "a")

        first = session.ask()
        second = session.go_on(first, user("go on"))
        third = session.go_on(second, user("go on"))

        assert [first.text, second.text, third.text] == ["one", "two", END_OF_SCRIPT]
        assert third.message["stop_reason"] == "end_turn"
        assert api.misses == ()


def test_a_session_nobody_wrote_for_ends_its_turn_and_is_a_miss() -> None:
    with ScriptedApi([a_script([{"text": "x"}], role="director")]) as api:
        assert Session(api, "a").ask().text == NO_SCRIPT
        assert "no script for a session" in api.misses[0]


def test_a_short_tool_name_is_found_among_the_offered_ones() -> None:
    calls = [{"name": "claim_task"}, {"name": "Bash", "input": {"command": "ls"}}]
    with ScriptedApi([a_script([{"tools": calls}])]) as api:
        message = Session(api, "a").ask().message

        assert [block["name"] for block in message["content"]] == ["mcp__sf__claim_task", "Bash"]
        assert message["content"][1]["input"] == {"command": "ls"}
        assert message["stop_reason"] == "tool_use"


def test_a_tool_that_is_not_offered_is_sent_as_it_is_and_is_a_miss() -> None:
    with ScriptedApi([a_script([{"tools": [{"name": "approve_merge"}]}])]) as api:
        assert Session(api, "a").ask().call["name"] == "approve_merge"
        assert "approve_merge is not offered" in api.misses[0]


def test_templates_take_from_the_newest_results_and_from_the_whole_conversation() -> None:
    steps = [
        {"tools": [{"name": "claim_task"}]},
        {
            "tools": [
                {
                    "name": "Bash",
                    "input": {
                        "command": "cd {{last:worktree=(\\S+)}}",
                        "more": ["{{session}}", {"title": "{{any:Title: (.*)}}", "n": 3}],
                        "commit": "{{last:[0-9a-f]{8}}}",
                        "all": "{{last}}",
                    },
                }
            ]
        },
    ]
    with ScriptedApi([a_script(steps)]) as api:
        session = Session(api, "s-1", "Title: Add a parser")
        first = session.ask()
        second = session.go_on(first, result(first.call["id"], "worktree=/w/T1 at 0123abcd"))

        assert second.call["input"] == {
            "command": "cd /w/T1",
            "more": ["s-1", {"title": "Add a parser", "n": 3}],
            "commit": "0123abcd",
            "all": "worktree=/w/T1 at 0123abcd",
        }


def test_a_template_that_finds_nothing_is_empty_and_a_miss() -> None:
    with ScriptedApi([a_script([{"text": "[{{any:nowhere}}]"}])]) as api:
        assert Session(api, "a").ask().text == "[]"
        assert "{{any:nowhere}}" in api.misses[0]


def test_what_a_step_expects_is_looked_for_in_what_came_since_the_last_answer() -> None:
    steps = [{"text": "one", "expect": "T1"}, {"text": "two", "expect": "T1"}]
    with ScriptedApi([a_script(steps)]) as api:
        session = Session(api, "a", "Do T1.")
        session.go_on(session.ask(), user("something else"))

        assert len(api.misses) == 1
        assert "step 2: expected 'T1' in 'something else'" in api.misses[0]


def test_a_fill_is_split_as_the_real_api_splits_it() -> None:
    steps = [{"text": "one", "fill": 1_000}, {"text": "two", "fill": 150_000}]
    with ScriptedApi([a_script(steps)]) as api:
        session = Session(api, "a")
        usage = session.go_on(session.ask(), user("more")).message["usage"]

        assert usage["input_tokens"] == 3
        assert usage["cache_read_input_tokens"] == 1_000
        assert usage["cache_creation_input_tokens"] == 148_997


def test_an_error_comes_as_often_as_told_and_then_the_next_step() -> None:
    error = {"error": 429, "headers": {"retry-after": "7"}, "message": "slow down", "times": 2}
    with ScriptedApi([a_script([error, {"text": "better"}])]) as api:
        session = Session(api, "a")
        replies = [session.ask() for _ in range(3)]

        assert [reply.status for reply in replies] == [429, 429, 200]
        assert replies[0].headers["retry-after"] == "7"
        assert replies[0].message["error"] == {"type": "rate_limit_error", "message": "slow down"}
        assert replies[2].text == "better"


@pytest.mark.parametrize(
    ("where", "last"),
    [
        ("start", "message_start"),
        ("mid", "content_block_delta"),
        ("before_stop", "content_block_stop"),
    ],
)
def test_a_cut_stream_ends_early_and_the_same_step_is_then_answered_whole(
    where: str, last: str
) -> None:
    with ScriptedApi([a_script([{"text": "a long answer", "cut": where}])]) as api:
        session = Session(api, "a")

        assert session.ask(stream=True).events[-1] == last
        assert session.ask().text == "a long answer"
        assert [record.step for record in api.requests] == [1, 1]


def test_a_cut_before_the_headers_is_a_dropped_connection() -> None:
    with ScriptedApi([a_script([{"text": "x", "cut": "headers"}])]) as api:
        with pytest.raises(http.client.RemoteDisconnected):
            Session(api, "a").ask(stream=True)

        assert api.requests[0].answered == "cut headers"


def test_a_whole_stream_has_every_event_in_order() -> None:
    step = {"thinking": "hm", "text": "hi", "tools": [{"name": "Bash"}]}
    block = ["content_block_start", "content_block_delta", "content_block_delta"]
    with ScriptedApi([a_script([step])]) as api:
        assert Session(api, "a").ask(stream=True).events == [
            "message_start",
            *3 * [*block, "content_block_stop"],
            "message_delta",
            "message_stop",
        ]


def test_sessions_that_must_be_together_wait_for_one_another() -> None:
    script = a_script([{"text": "all here", "together": 3}], role="worker")
    with ScriptedApi([script]) as api, ThreadPoolExecutor(3) as pool:
        sessions = [Session(api, name) for name in "abc"]
        replies = [reply.result(WAIT_SECONDS) for reply in [pool.submit(s.ask) for s in sessions]]

        assert [reply.text for reply in replies] == ["all here"] * 3
        assert api.max_concurrent(Role.WORKER) == 3
        assert api.misses == ()


def test_a_later_session_does_not_wait_at_a_barrier_that_has_opened() -> None:
    with ScriptedApi([a_script([{"text": "x", "together": 2}])]) as api:
        with ThreadPoolExecutor(2) as pool:
            waiting = [pool.submit(Session(api, name).ask) for name in "ab"]
            assert [reply.result(WAIT_SECONDS).text for reply in waiting] == ["x", "x"]

        assert Session(api, "c").ask().text == "x"


def test_a_step_waits_for_its_barrier_until_it_is_opened() -> None:
    with ScriptedApi([a_script([{"text": "x", "wait_for": "go"}])]) as api:
        with ThreadPoolExecutor(1) as pool:
            reply = pool.submit(lambda: Session(api, "a").ask())
            assert api.wait_until(lambda seen: seen.waiting_at("go") == {"a"}, WAIT_SECONDS)
            assert not reply.done()
            api.open_barrier("go")
            assert reply.result(WAIT_SECONDS).text == "x"

        assert api.waiting_at("go") == frozenset()


def test_a_barrier_that_stays_shut_is_a_miss_and_no_deadlock() -> None:
    step = {"text": "x", "wait_for": "never", "wait_seconds": 0.05}
    with ScriptedApi([a_script([step])]) as api:
        assert Session(api, "a").ask().text == "x"
        assert "'never' stayed shut" in api.misses[0]


def test_a_client_that_leaves_while_it_waits_gets_the_same_step_later() -> None:
    with ScriptedApi([a_script([{"text": "x", "wait_for": "go"}])]) as api:
        session = Session(api, "a")
        connection = connect(api)
        body = json.dumps({"tools": [{"name": "claim_task"}], "messages": [user("Do T1.")]})
        connection.request("POST", "/v1/messages", body, {"x-claude-code-session-id": "a"})
        assert api.wait_until(lambda seen: "a" in seen.waiting_at("go"), WAIT_SECONDS)
        connection.close()
        assert api.wait_until(lambda seen: "a" not in seen.waiting_at("go"), WAIT_SECONDS)
        api.open_barrier("go")

        assert session.ask().text == "x"


def test_a_call_that_the_client_has_forgotten_is_made_again() -> None:
    """Killed at once after the answer, `--resume` does not know of the call."""
    with ScriptedApi([a_script(CLAIM_AND_SAY)]) as api:
        session = Session(api, "a")
        session.ask()
        session.messages.append(user("You were interrupted."))
        again = session.ask()

        assert again.call["name"] == "mcp__sf__claim_task"
        assert session.go_on(again, result(again.call["id"], "T1")).text == "claimed"


def test_a_call_that_a_kill_cut_off_is_made_again() -> None:
    """Killed in the middle of the call, `--resume` gives it a result that says so."""
    cut_off = "[Tool call interrupted: the session ended before this call's result was recorded]"
    with ScriptedApi([a_script(CLAIM_AND_SAY)]) as api:
        session = Session(api, "a")
        first = session.ask()
        again = session.go_on(first, result(first.call["id"], cut_off))

        assert again.call["name"] == "mcp__sf__claim_task"
        assert session.go_on(again, result(again.call["id"], "T1")).text == "claimed"


def test_a_step_is_said_again_until_it_has_come_to_what_it_waits_for() -> None:
    steps = [{"tools": [{"name": "claim_task"}], "until": "claimed"}, {"text": "on"}]
    with ScriptedApi([a_script(steps)]) as api:
        session = Session(api, "a")

        first = session.ask()
        again = session.go_on(first, result(first.call["id"], "the server does not answer"))
        third = session.go_on(again, result(again.call["id"], "T1 is claimed"))

        assert [first.call["name"], again.call["name"]] == ["mcp__sf__claim_task"] * 2
        assert third.text == "on"
        assert api.misses == ()


def test_a_step_that_is_in_vain_too_often_is_a_miss_and_the_next_follows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("launcher.rehearsal.script.MOST_REPEATS", 1)
    steps = [{"text": "please", "until": "yes"}, {"text": "then not"}]
    with ScriptedApi([a_script(steps)]) as api:
        session = Session(api, "a")

        first = session.ask()
        second = session.go_on(first, user("no"))
        third = session.go_on(second, user("no"))

        assert [first.text, second.text, third.text] == ["please", "please", "then not"]
        assert "said 1 times and 'yes' never came of it" in api.misses[0]


def test_a_step_is_left_out_when_what_came_says_that_it_is_not_needed() -> None:
    steps = [{"text": "one"}, {"text": "I wait", "unless": "answered"}, {"text": "two"}]
    with ScriptedApi([a_script(steps)]) as api:
        knows, waits = Session(api, "a"), Session(api, "b")

        assert knows.go_on(knows.ask(), user("it is answered")).text == "two"
        assert waits.go_on(waits.ask(), user("not yet")).text == "I wait"


def test_sessions_are_counted_apart_for_each_text_that_the_match_has_found() -> None:
    script = a_script([{"text": "first"}], [{"text": "second"}], match=r"Do T\d+")
    with ScriptedApi([script]) as api:
        told = ["Do T1", "Do T2", "Do T1"]
        texts = [Session(api, str(n), text).ask().text for n, text in enumerate(told)]

        assert texts == ["first", "first", "second"]


def test_a_template_takes_from_what_the_session_was_first_told() -> None:
    script = a_script([{"text": "one"}, {"text": "{{opening:T\\d+}} {{opening:part (\\w+)}}"}])
    with ScriptedApi([script]) as api:
        session = Session(api, "a", "T4: Build part axle, before part bell")
        assert session.go_on(session.ask(), user("T5 part saddle")).text == "T4 axle"
        assert api.misses == ()


def test_a_disturbance_comes_before_the_step_and_costs_it_nothing() -> None:
    due = [Step(error=529), Step(text="-", fill=150_000)]

    def disturb(request: ModelRequest) -> Step | None:
        seen.append(request.session)
        return due.pop(0) if due else None

    seen: list[str] = []
    with ScriptedApi([a_script([{"text": "one"}])], disturb=disturb) as api:
        session = Session(api, "a")
        refused, answered = session.ask(), session.ask()

        assert refused.status == 529
        assert answered.text == "one"
        usage = answered.message["usage"]
        told = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        assert sum(usage[name] for name in told) == 150_000
        assert seen == ["a", "a"]


def test_every_step_of_a_session_is_seen_with_what_its_tools_have_returned() -> None:
    seen: list[ModelRequest] = []
    steps = [{"tools": [{"name": "Bash"}]}, {"text": "done"}]
    with ScriptedApi([a_script(steps)], on_request=seen.append) as api:
        session = Session(api, "a")
        first = session.ask()
        session.go_on(first, result(first.call["id"], "ledger commit"))

        assert [request.session for request in seen] == ["a", "a"]
        assert seen[1].texts[-1] == "ledger commit"


def test_a_summary_does_not_make_the_last_call_forgotten() -> None:
    with ScriptedApi([a_script(CLAIM_AND_SAY)]) as api:
        session = Session(api, "a")
        session.ask()
        session.messages = [user("Your task is to create a detailed summary of it.")]
        assert "summary" in session.ask().text
        session.messages = [user("This session is being continued: T1 is claimed.")]

        assert session.ask().text == "claimed"


def test_requests_beside_the_session_are_answered_and_counted_apart() -> None:
    with ScriptedApi([a_script([{"text": "step"}])]) as api:
        session = Session(api, "a")
        counted = session.ask(path="/v1/messages/count_tokens?beta=true")
        title = post(api, "/v1/messages", {"messages": [user("Write a title")]}, session="a")

        assert counted.message["input_tokens"] > 0
        assert title.text == "ok"
        assert session.ask().text == "step"
        assert [api.count(kind) for kind in RequestKind] == [1, 1, 0, 1]


def test_the_session_is_known_from_the_metadata_of_older_clients_too() -> None:
    user_id = json.dumps({"session_id": "from-metadata"})
    body = {"tools": [{"name": "x"}], "messages": [user("hi")], "metadata": {"user_id": user_id}}
    with ScriptedApi([a_script([{"text": "x"}])]) as api:
        post(api, "/v1/messages", body)

        assert api.requests[0].session == "from-metadata"


def test_every_request_is_in_the_log_and_bodies_are_kept_only_when_asked(tmp_path: Path) -> None:
    log = tmp_path / "requests.jsonl"
    with ScriptedApi([a_script([{"text": "x"}])], log=log) as api:
        Session(api, "a").ask()
        assert api.requests[0].body is None
    with ScriptedApi([a_script([{"text": "x"}])], keep_bodies=True) as api:
        Session(api, "a").ask()
        assert b"Do T1." in (api.requests[0].body or b"")

    line = json.loads(log.read_text())
    assert (line["session"], line["role"], line["step"]) == ("a", "worker", 1)
    assert "body" not in line


def test_closing_the_api_ends_every_wait() -> None:
    steps = [{"text": "x", "wait_for": "never", "wait_seconds": 600}]
    failed = threading.Event()

    def ask(api: ScriptedApi) -> None:
        try:
            Session(api, "a").ask()
        except (http.client.HTTPException, OSError):
            failed.set()

    with ScriptedApi([a_script(steps)]) as api:
        asking = threading.Thread(target=ask, args=(api,))
        asking.start()
        assert api.wait_until(lambda seen: "a" in seen.waiting_at("never"), WAIT_SECONDS)
    asking.join(WAIT_SECONDS)

    assert not asking.is_alive()
    assert failed.is_set()


def test_nonsense_is_refused_and_consumes_nothing() -> None:
    with ScriptedApi([a_script([{"text": "x"}])]) as api:
        assert post(api, "/v1/messages", b"{").status == 400
        assert post(api, "/v1/complete", {}).status == 404
        assert api.requests == ()


SAYS_X: Message = {"text": "x"}

WRONG_SCRIPTS: list[tuple[Message, str]] = [
    ({"attempts": []}, "attempts"),
    ({"attempts": [[{}]]}, "a step needs one of"),
    ({"attempts": [[SAYS_X]], "role": "boss"}, "role"),
    ({"attempts": [[SAYS_X]], "match": "("}, "match"),
    ({"attempts": [[{**SAYS_X, "expect": "["}]]}, "expect"),
    ({"attempts": [[{"text": "{{any:(}}"}]]}, "text"),
    ({"attempts": [[{"tools": [{"name": "a", "input": {"b": "{{last:[}}"}}]}]]}, "input"),
    ({"attempts": [[{**SAYS_X, "error": 200}]]}, "error"),
    ({"attempts": [[{"txt": "x"}]]}, "txt"),
]


@pytest.mark.parametrize(("script", "complaint"), WRONG_SCRIPTS)
def test_a_wrong_script_is_refused_where_it_is_wrong(script: Message, complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Script.model_validate(script)


def test_an_error_alone_makes_a_step() -> None:
    assert Step.model_validate({"error": 529}).has_fault
