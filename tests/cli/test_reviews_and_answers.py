"""`sf mr` and `sf question`: what a person decides from the terminal."""

from pathlib import Path

import pytest

from tests.cli.builders_project import on_a_terminal, someone_with_a_plan
from tests.cli.builders_work import someone_asks, someone_hands_in


def test_a_merge_request_is_shown_with_its_changes_and_approved(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    assert person.ok("mr", "list").out == "No merge request is under way.\n"
    someone_hands_in(person, "first\x1b[31m\nlast\n")
    assert "M1  T1" in person.ok("mr", "list").out
    assert "Adds a file." in person.ok("mr", "show", "M1").out
    diff = person.ok("mr", "show", "T1", "--diff").out
    assert "+first\\x1b[31m\n+last\n" in diff
    page = person.ok("mr", "show", "M1", "--diff", "--json").json
    assert (page["files"], page["next_start"]) == (["new.txt"], None)
    other = person.sf("mr", "approve", "M1", "--commit", "0" * 40)
    assert (other.code, "is pinned to" in other.err) == (1, True)
    assert person.ok("mr", "approve", "M1").out.startswith("M1 is approved at ")
    assert "person approved" in person.ok("mr", "show", "M1").out


def test_a_diff_is_coloured_on_a_terminal_alone_and_what_would_steer_it_is_written_out(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    someone_hands_in(person, "a\x1b]0;mine\x07\n")
    coloured = on_a_terminal(person, "mr", "show", "M1", "--diff", env={})
    assert "\x1b[32m+a\\x1b]0;mine\\x07\x1b[0m\n" in coloured
    for plain in (
        on_a_terminal(person, "mr", "show", "M1", "--diff", env={"NO_COLOR": "1"}),
        person.ok("mr", "show", "M1", "--diff").out,
        person.ok("mr", "show", "M1").out,
    ):
        assert "\x1b" not in plain


def test_a_long_diff_is_printed_whole(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    lines = [
        f"line {number} is as long as lines of source code often are" for number in range(4000)
    ]
    someone_hands_in(person, "\n".join(lines) + "\n")
    diff = person.ok("mr", "show", "M1", "--diff").out.splitlines()
    assert [line[1:] for line in diff if line.startswith("+line")] == lines


def test_rejected_work_is_open_again_with_the_reason(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    someone_hands_in(person, "text\n")
    assert person.sf("mr", "reject", "M1").code == 2
    done = person.ok("mr", "reject", "M1", "--reason", "Handle the empty list.")
    assert done.out == "M1 is sent back; T1 is open again\n"
    assert "Handle the empty list." in person.ok("task", "show", "T1").out
    assert [view["request"]["id"] for view in person.ok("mr", "list", "--all", "--json").json] == [
        "M1"
    ]


def test_a_question_is_answered_once(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    assert person.ok("question", "list").out == "No question is open.\n"
    someone_asks(person, "Which table?")
    listed = person.ok("question", "list").out
    assert "Q1 about T1 (open): Which table?" in listed
    assert "    - yes" in listed
    assert "Which table?" in person.ok("status").out
    answered = person.ok("question", "answer", "Q1", "-", "--json", stdin="The old one.\n")
    assert answered.json["answer"] == "The old one."
    again = person.sf("question", "answer", "Q1", "--", "-no")
    assert (again.code, "answered" in again.err) == (1, True)
    assert "person: The old one." in person.ok("question", "list", "--all").out


def test_a_question_says_who_waits_for_it_since_when_and_how_to_answer(tmp_path: Path) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    person.ok("task", "create", "--title", "Two", "--depends-on", "T1")
    person.ok("task", "create", "--title", "Three", "--depends-on", "T2")
    someone_asks(person, "Which table?")
    since = person.ok("question", "show", "Q1", "--json").json["asked_at"][:16].replace("T", " ")
    shown = person.ok("question", "show", "Q1").out
    assert shown == person.ok("question", "list").out
    assert f"worker-1 waits since {since} UTC; behind it: T2, T3." in shown
    assert 'Answer it: sf question answer Q1 "…"' in shown
    why = person.ok("why", "T1").out
    assert "T1 is being worked on by worker-1, who waits for the answer to Q1, asked at" in why
    assert 'sf question answer Q1 "…"' in why
    person.ok("question", "answer", "Q1", "The old one.")
    shown = person.ok("question", "show", "Q1").out
    assert "person: The old one." in shown
    assert "worker-1 is told when it next rests, or goes on." in shown
    assert "since" not in shown


@pytest.mark.parametrize(
    ("question", "text", "words"),
    [
        ("Q1", "Once more.", "Q1 was answered already, by person"),
        ("Q2", "Too late.", "Question Q2 is withdrawn"),
        ("Q9", "Which?", "There is no question Q9."),
        ("Q3", "", "The answer is empty."),
        ("Q3", " \n ", "The answer is empty."),
        ("Q3", "x" * 100_000, "The answer has 100,000 characters; at most 4,000"),
    ],
)
def test_an_answer_that_cannot_be_accepted_is_refused_and_changes_nothing(
    tmp_path: Path, question: str, text: str, words: str
) -> None:
    person = someone_with_a_plan(tmp_path, "One", "Two", "Three")
    for _ in range(3):
        someone_asks(person, "Which table?")
    person.ok("question", "answer", "Q1", "The old one.")
    person.ok("task", "cancel", "T2")
    before = person.ok("question", "list", "--all", "--json").json
    refused = person.sf("question", "answer", question, text)
    assert (refused.code, refused.out) == (1, "")
    assert words in refused.err
    assert person.ok("question", "list", "--all", "--json").json == before


def test_a_long_answer_from_a_file_with_control_characters_is_kept_and_shown_safely(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    someone_asks(person, "Which table?")
    too_long = person.sf("question", "answer", "Q1", "-", stdin="x" * 200_000)
    assert (too_long.code, "200,000 characters" in too_long.err) == (1, True)
    assert person.sf("question", "answer", "Q1", "-", stdin="a\0b").code == 1
    text = "first\n\x1b[31mred\x07"
    assert person.ok("question", "answer", "Q1", "-", "--json", stdin=text).json["answer"] == text
    assert "\x1b" not in person.ok("question", "show", "Q1").out
