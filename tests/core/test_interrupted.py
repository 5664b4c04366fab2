"""What a session is told of calls whose end it did not see."""

from sf_mcp.core.interrupted import MOST_TOLD, OpenCall, RecordedCall, Trace, told

PROGRESS = OpenCall(id="t1", tool="report_progress", what="report_progress", is_ours=True)
SHELL = OpenCall(id="t2", tool="Bash", what="Bash: make", is_ours=False)
NOTED = RecordedCall(id="t1", tool="report_progress", result={"outcome": "Noted.", "next_step": ""})


def test_a_recorded_call_is_not_to_be_repeated() -> None:
    assert told(Trace(open=(PROGRESS,)), [NOTED]) == (
        "Your call report_progress was interrupted: the server has recorded it: Noted. Do not "
        "repeat it.",
    )


def test_a_call_without_a_record_had_no_effect() -> None:
    (sentence,) = told(Trace(open=(PROGRESS,)), [])
    assert "it had no effect. Make it again if it is still needed" in sentence


def test_a_command_may_have_come_any_way() -> None:
    (sentence,) = told(Trace(open=(SHELL,)), [])
    assert sentence.startswith("Your call Bash: make was interrupted")
    assert "look at the state of the files" in sentence


def test_reading_had_no_effect() -> None:
    read = OpenCall(id="t3", tool="Read", what="Read: a.py", is_ours=False)
    (sentence,) = told(Trace(open=(read,)), [])
    assert "had no effect" in sentence


def test_a_recorded_call_that_the_stream_does_not_show_was_interrupted_too() -> None:
    """The stream's last line may have been cut, or nobody may have read it any more."""
    assert len(told(Trace(answered=()), [NOTED])) == 1
    assert told(Trace(answered=("t1",)), [NOTED]) == ()


def test_a_question_that_was_recorded_is_named() -> None:
    asks = OpenCall(id="t4", tool="ask_director", what="ask_director", is_ours=True)
    (sentence,) = told(Trace(open=(asks,)), [], "Q3")
    assert "the server has recorded it as Q3" in sentence
    (sentence,) = told(Trace(open=(asks,)), [])
    assert "had no effect" in sentence


def test_a_result_of_any_shape_and_length_makes_one_short_line() -> None:
    odd = RecordedCall(id="t1", tool="x", result={"a": "b\nc" * 1000})
    (sentence,) = told(Trace(answered=()), [odd])
    assert "\n" not in sentence
    assert len(sentence) < 500


def test_no_more_is_told_than_can_be_read() -> None:
    many = tuple(
        OpenCall(id=f"x{n}", tool="Bash", what=f"Bash: {n}", is_ours=False) for n in range(99)
    )
    assert len(told(Trace(open=many), [])) == MOST_TOLD


def test_where_nobody_knows_what_was_seen_the_newest_recorded_calls_are_named() -> None:
    (sentence,) = told(Trace(is_resumable=True), [NOTED])
    assert "recorded of you: report_progress (Noted)" in sentence
    assert told(Trace(is_resumable=True), []) == ()
