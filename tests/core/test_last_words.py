"""The end of a session's log, as Claude Code 2.1.330 writes it and as older ones do."""

import json

from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.last_words import TEXT_CHARACTERS, LastWords, last_words


def said(*blocks: dict[str, object], parent: str | None = None) -> bytes:
    event = {
        "type": "assistant",
        "message": {"content": list(blocks)},
        "parent_tool_use_id": parent,
    }
    return json.dumps(event).encode()


def text(words: str) -> dict[str, object]:
    return {"type": "text", "text": words}


def call(name: str, **given: object) -> dict[str, object]:
    return {"type": "tool_use", "id": "t", "name": name, "input": given}


def test_the_newest_texts_and_calls_are_kept_in_order() -> None:
    lines = [said(text(f"text {n}"), call("Bash", command=f"make {n}\nmore")) for n in range(9)]
    lines.append(said(call("mcp__sf__run_checks")))

    assert last_words(lines) == LastWords(
        texts=("text 6", "text 7", "text 8"),
        calls=(*(f"Bash: make {n} more" for n in range(4, 9)), "run_checks"),
    )


def test_a_subagents_words_are_not_the_sessions() -> None:
    assert last_words([said(text("mine")), said(text("sub"), parent="t1")]).texts == ("mine",)


def test_of_a_long_text_the_end_is_kept() -> None:
    (kept,) = last_words([said(text("a" * 9_000 + "the end"))]).texts

    assert kept.endswith("the end")
    assert len(kept) == TEXT_CHARACTERS


def test_a_list_of_steps_that_was_written_anew_counts_as_it_is_now() -> None:
    first = call("TodoWrite", todos=[{"content": "old", "status": "pending"}])
    todos = [
        {"content": "read", "status": "completed"},
        {"content": "write", "status": "in_progress"},
        {"content": "test", "status": "pending"},
    ]

    seen = last_words([said(first), said(call("TodoWrite", todos=todos))])

    assert seen == LastWords(steps=("[x] read", "[~] write", "[ ] test"))


def test_steps_that_are_added_and_changed_one_by_one_are_followed() -> None:
    lines = [
        said(call("TaskCreate", subject="read", description="-")),
        said(call("TaskCreate", subject="write", description="-")),
        said(call("TaskCreate", subject="nothing", description="-")),
        said(call("TaskUpdate", taskId="1", status="completed")),
        said(call("TaskUpdate", taskId="2", status="in_progress", subject="write more")),
        said(call("TaskUpdate", taskId="3", status="deleted")),
        said(call("TaskUpdate", taskId="77", status="completed")),
    ]

    assert last_words(lines).steps == ("[x] read", "[~] write more")


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=5,
)


@given(st.sampled_from(["message", "content", "input", "todos", "parent_tool_use_id"]), VALUES)
def test_no_shape_of_a_line_is_in_the_way(name: str, value: object) -> None:
    lines = [
        json.dumps({"type": "assistant", "message": {"content": [value]}, name: value}).encode(),
        said(call("TodoWrite", todos=value), {"type": "tool_use", "name": value, "input": value}),
        b'{"type":"assistant" cut in the mid',
        b"[" * 3_000 + b'"assistant"',
        said(text("whole")),
    ]

    assert last_words(lines).texts[-1] == "whole"
