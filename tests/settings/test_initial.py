from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.proposals import ProposedCheck
from sf_mcp.core.text import branch_name_problem
from sf_mcp.settings import Check, Merge, Orchestrator, Settings, parse, render_initial

A_CHECK = ProposedCheck(name="tests", run="pytest -q", reason="pytest.ini is there")


def test_the_initial_file_loads_to_the_defaults_with_what_was_found() -> None:
    text = render_initial("trunk", [A_CHECK], target_reason="the default branch of origin")
    assert parse(text, "config.yaml") == Settings(
        checks=(Check(name="tests", run="pytest -q"),), merge=Merge(target_branch="trunk")
    )
    assert "targetBranch: trunk  # the default branch of origin" in text
    assert "model: sonnet" in text


def test_without_checks_the_initial_file_says_that_nothing_is_checked() -> None:
    text = render_initial("main", [])
    assert parse(text, "config.yaml") == Settings()
    assert "NOTHING is checked before the\n# target branch moves" in text


def test_the_example_in_the_initial_file_is_a_check_once_uncommented() -> None:
    text = render_initial("main", []).replace("checks: []\n", "")
    text = text.replace("#   - {name: tests", "checks:\n  - {name: tests")
    assert parse(text, "config.yaml").checks == (Check(name="tests", run="make test"),)


def test_the_number_of_workers_can_be_given() -> None:
    settings = parse(render_initial("main", [], max_concurrent=2), "config.yaml")
    assert settings.orchestrator == Orchestrator(max_concurrent=2)


@given(
    branch=st.one_of(
        st.text(min_size=1),
        st.sampled_from(["no", "Yes", "null", "1.0", "0x1f", "a'b", 'a"b', "a#b", "#1", "&x", "y"]),
    ).filter(lambda name: branch_name_problem(name) is None),
    run=st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(
        str.strip
    ),
    reason=st.text(),
)
def test_any_branch_command_and_reason_load_to_what_was_given(
    branch: str, run: str, reason: str
) -> None:
    check = ProposedCheck(name="a b", run=run, reason=reason)
    settings = parse(render_initial(branch, [check], target_reason=reason), "config.yaml")
    assert settings.merge.target_branch == branch
    assert [(check.name, check.run) for check in settings.checks] == [("a b", run)]
