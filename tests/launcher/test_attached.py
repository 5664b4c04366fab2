"""What the status line of a person's client is understood to say."""

import json

import pytest

from launcher.core.attached import Reading, read_status


def test_fill_window_cost_and_transcript_are_taken() -> None:
    said = {
        "session_id": "one",
        "transcript_path": "/home/eva/one.jsonl",
        "cost": {"total_cost_usd": 0.25},
        "context_window": {
            "context_window_size": 200_000,
            "current_usage": {
                "input_tokens": 3,
                "cache_creation_input_tokens": 40,
                "cache_read_input_tokens": 500,
                "output_tokens": 7,
            },
        },
    }
    assert read_status(json.dumps(said).encode()) == Reading(
        session_id="one",
        context_tokens=550,
        context_window=200_000,
        cost_usd=0.25,
        transcript="/home/eva/one.jsonl",
    )


def test_what_has_another_shape_counts_as_not_said() -> None:
    odd: dict[str, object] = {
        "session_id": 5,
        "cost": [],
        "context_window": {"current_usage": None},
    }
    assert read_status(json.dumps(odd).encode()) == Reading(
        session_id="", context_tokens=0, context_window=0, cost_usd=0.0, transcript=""
    )


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"{}", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_object_says_nothing(data: bytes) -> None:
    assert read_status(data) is None
