"""What a plan file says, in Markdown and in YAML, and in which line it goes wrong."""

from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp.cli.plan_file.markdown import read_markdown
from sf_mcp.cli.plan_file.parsed import ParsedTask, PlanFileInvalid
from sf_mcp.cli.plan_file.reading import MOST_BYTES, read_plan
from sf_mcp.cli.plan_file.resolving import PlanToImport, resolve
from sf_mcp.cli.plan_file.yaml_file import read_yaml
from sf_mcp.core.errors import InvalidInput

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "plans"


def markdown(text: str) -> list[ParsedTask]:
    return read_markdown(text, "plan.md").tasks


def of_markdown(text: str) -> PlanToImport:
    return resolve(read_markdown(text, "plan.md"), "plan.md")


def of_yaml(text: str) -> PlanToImport:
    return resolve(read_yaml(text, "plan.yaml"), "plan.yaml")


def waits(plan: PlanToImport) -> dict[str, list[str]]:
    return {draft["title"]: draft["depends_on"] for draft in plan.drafts}


# -- Markdown --------------------------------------------------------------------------------------


def test_both_examples_say_the_same() -> None:
    one, other = (read_plan(str(EXAMPLES / f"sprint-14.{kind}")) for kind in ("md", "yaml"))
    assert one == other
    assert one.title == "Sprint 14"
    assert one.done == ["Decide how long an invitation is valid"]
    assert len(one.drafts) == 4


def test_check_boxes_are_tasks_and_headings_are_groups() -> None:
    plan = read_markdown("# P\n\nWhy.\n\n## G\n\nAbout G.\n\n- [ ] A\n- [x] B\n* [ ] C\n", "f")
    assert (plan.title, plan.description) == ("P", "Why.\n\n## G\n\nAbout G.")
    assert [(t.title, t.line, t.is_done) for t in plan.tasks] == [
        ("A", 9, False),
        ("B", 10, True),
        ("C", 11, False),
    ]
    assert plan.tasks[0].description == "Part of: G"


def test_without_check_boxes_the_lowest_headings_are_tasks() -> None:
    text = """# P

## Group

Text of the group.

### First

What to do.

priority: 2

#### Acceptance

- [ ] it works
- it is fast

### Second

depends on: First
"""
    plan = of_markdown(text)
    first, second = plan.drafts
    assert (first["title"], first["priority"]) == ("First", 2)
    assert first["description"] == "Part of: Group\n\nWhat to do."
    assert first["acceptance"] == ["it works", "it is fast"]
    assert second["depends_on"] == ["first"]
    assert plan.description == "## Group\n\nText of the group."


def test_what_stands_below_a_check_box_is_its_description_but_for_its_fields() -> None:
    (task,) = markdown(
        "- [ ] Do `it`\n  at once\n\n  **Priority:** 1\n\n  1. one\n  2. two\n\n"
        "  ```\n  - [ ] code\n  ```\n  - paths: `src`, tests/a\n  - estimate: 1.5h\n"
        "  <!-- for me alone -->\n"
    )
    assert task.title == "Do `it`"
    assert task.description == "at once\n\n1. one\n2. two\n\n```\n- [ ] code\n```"
    assert (task.priority, task.estimate_minutes, task.paths) == (1, 90, ("src", "tests/a"))


@pytest.mark.parametrize(
    "below",
    [
        "  Acceptance:\n  - a is\n    so\n  - [ ] b\n",
        "  **Acceptance criteria**\n\n  1. a is so\n  2. b\n",
        "  - Acceptance:\n    - a is so\n    - b\n",
        "  acceptance: a is so\n  Acceptance: b\n",
    ],
)
def test_acceptance_criteria_are_written_in_several_ways(below: str) -> None:
    (task,) = markdown(f"- [ ] T\n{below}")
    assert task.acceptance == ("a is so", "b")
    assert task.description == ""


def test_inner_check_boxes_are_tasks_for_which_the_outer_one_waits() -> None:
    text = "# P\n- [ ] Outer\n  - [ ] Inner\n    - [ ] Innermost\n  - [x] Done\n"
    assert waits(of_markdown(text)) == {
        "Outer": ["inner"],
        "Inner": ["innermost"],
        "Innermost": [],
    }


def test_check_boxes_below_a_plain_item_are_found_too() -> None:
    assert [one.title for one in markdown("- Group\n  - [ ] A\n- [ ] B\n")] == ["A", "B"]


def test_tasks_are_named_by_number_title_key_and_id() -> None:
    text = """# P
- [x] Done
- [ ] A, with a comma
  key: a
- [ ] B
  depends on: #1, "a,  With a comma", T4
- [ ] C
  depends on: #2, a, b
"""
    assert waits(of_markdown(text)) == {
        "A, with a comma": [],
        "B": ["a", "T4"],
        "C": ["a", "b"],
    }


def test_tabs_line_ends_and_a_byte_order_mark_make_no_difference(tmp_path: Path) -> None:
    text = "# P\n\n- [ ] A\n\n    text\n\n    priority: 1\n- [ ] B\n"
    (tmp_path / "plain.md").write_text(text)
    (tmp_path / "odd.md").write_bytes(
        b"\xef\xbb\xbf" + text.replace("    ", "\t").replace("\n", "\r\n").encode()
    )
    odd, plain = (read_plan(str(tmp_path / name)) for name in ("odd.md", "plain.md"))
    assert odd == plain
    assert plain.drafts[0]["description"] == "text"
    assert plain.drafts[0]["priority"] == 1


def test_prose_that_looks_like_a_key_stays_prose() -> None:
    (task,) = markdown("- [ ] T\n  Key: the value of each pair\n")
    assert task.description == "Key: the value of each pair"


# -- what cannot be used ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "text", "line", "words"),
    [
        (of_markdown, "# P\n\nno task\n", 1, "no task in it"),
        (of_markdown, "# P\n- [ ] A\n\n  priority: high\n", 4, "priority 'high'"),
        (of_markdown, "# P\n- [ ] A\n  priority: 9\n", 2, "Priority 9 is outside 1 to 5"),
        (of_markdown, "# P\n- [ ] A\n  estimate: soon\n", 3, "estimate 'soon'"),
        (of_markdown, "# P\n- [ ] A\n  paths: ../up\n", 2, "leads out of the repository"),
        (of_markdown, "# P\n- [ ] A\n- [ ] B\n- [ ] a\n", 4, "“a” stands in line 2 already"),
        (of_markdown, "# P\n- [ ] A\n  depends on: Z\n", 3, "“Z”, which is no task of the file"),
        (of_markdown, "# P\n- [ ] A\n  depends on: #7\n", 3, "“#7”"),
        (
            of_markdown,
            "# P\n- [ ] A\n  depends on: #2\n- [ ] B\n  depends on: #1\n",
            2,
            "“A” (line 2) → “B” (line 4) → “A” (line 2)",
        ),
        (of_markdown, f"# P\n- [ ] {'x' * 501}\n", 2, "has 501 characters"),
        (of_yaml, "plan: {title: P}\n", 1, "no task in it"),
        (of_yaml, "plan:\n  title: P\n  taks: []\n", 3, "`plan.taks` is not a key"),
        (of_yaml, "plan:\n  tasks:\n    - title: A\n\t  key: b\n", 4, "indented with a tab"),
        (of_yaml, "plan:\n  tasks:\n    - {title: A, prio: 1}\n", 3, "`plan.tasks[0].prio`"),
        (of_yaml, "plan:\n  tasks:\n    - title: A\n      priority: x\n", 4, "whole number"),
        (of_yaml, "plan:\n  tasks:\n    - title: A\n      paths: [{}]\n", 4, "a list of texts"),
        (of_yaml, "plan:\n  tasks:\n    - title: A\n      done: 2\n", 4, "true or false"),
        (of_yaml, "plan:\n  tasks:\n    - priority: 1\n", 3, "The title is empty"),
        (of_yaml, "plan:\n  tasks:\n    - A\n    - {title: B, depends_on: C}\n", 4, "“C”"),
        (of_yaml, "plan: [\n", 1, "this is not YAML"),
        (of_yaml, "- a\n", 1, "must hold keys with values"),
        (of_yaml, "plan:\n  tasks: 3\n", 2, "a list of tasks"),
    ],
)
def test_a_fault_is_told_with_its_line(
    read: Callable[[str], PlanToImport], text: str, line: int, words: str
) -> None:
    with pytest.raises(PlanFileInvalid) as caught:
        read(text)
    assert (caught.value.line, words in caught.value.message) == (line, True), caught.value.message
    assert caught.value.message.startswith(f"plan.{'md' if read is of_markdown else 'yaml'}, line")
    assert caught.value.remedy.endswith("Nothing was created.")


def test_a_near_miss_says_what_was_meant() -> None:
    with pytest.raises(PlanFileInvalid, match="Did you mean “Build it”"):
        of_markdown("# P\n- [ ] Build it\n- [ ] B\n  depends on: Bild it\n")
    with pytest.raises(PlanFileInvalid, match="Did you mean `priority`"):
        of_yaml("plan:\n  tasks:\n    - {title: A, prioritie: 1}\n")


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "line 1: the file is empty"),
        (b" \n\t\n", "line 1: the file is empty"),
        (b"# P\n- [ ] a\n\x89PNG\r\n", "line 3: this is not UTF-8 text (byte 0x89)"),
        (b"# P\n\x00\n", "line 2: this is not text"),
        ("# P\n- [ ] A\n".encode("utf-16"), "line 1: this is UTF-16"),
        (b"# P\n- [ ] A\n" + b"x" * 10_000_000, f"larger than {MOST_BYTES:,} bytes"),
    ],
    ids=["empty", "blank", "binary", "NUL", "UTF-16", "10 MB"],
)
def test_what_is_no_text_or_far_too_much_is_refused(
    tmp_path: Path, data: bytes, words: str
) -> None:
    path = tmp_path / "plan.md"
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        read_plan(str(path))
    assert words in caught.value.message
    assert caught.value.remedy


def test_a_folder_and_a_file_that_is_not_there_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing.md"):
        with pytest.raises(InvalidInput, match="cannot be read"):
            read_plan(str(path))


def test_more_tasks_than_one_call_may_bring_are_refused_with_the_line() -> None:
    with pytest.raises(PlanFileInvalid, match="line 1001: the file has 1001 tasks"):
        of_markdown("".join(f"- [ ] Task {number}\n" for number in range(1001)))


def test_the_kind_of_an_unnamed_file_is_seen_from_its_first_line(tmp_path: Path) -> None:
    path = tmp_path / "plan"
    for text in ("# a comment\nplan:\n  title: P\n  tasks: [A]\n", "# P\n- [ ] A\n"):
        path.write_text(text)
        plan = read_plan(str(path))
        assert (plan.title, [one["title"] for one in plan.drafts]) == ("P", ["A"])
