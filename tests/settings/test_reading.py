import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.settings import Check, ResolveRule, Settings, load, parse, rows
from sf_mcp.settings.source import MAX_BYTES

EVERY_KEY = """\
orchestrator:
  agent: claude-code
  maxConcurrent: 6            # worker sessions at once
  worktreeIsolation: true     # false is refused with the reason
  port: 0
  leaseSeconds: 120
  turnTimeoutSeconds: 1800
  reservationSeconds: 900
  maxFailures: 5
  maxSendBacks: 5
  claudePath: null
agents:
  worker:   {provider: claude-code, model: sonnet, maxSessionTokens: 200000, handoffAt: 0.7}
  steward:  {provider: claude-code, model: sonnet, autoMerge: true, runChecks: true, review: true, \
count: 1}
  director: {provider: claude-code, model: sonnet, headless: true, headlessAfterSeconds: 60}
checks:
  - {name: tests, run: "pytest -q", timeoutSeconds: 900}
merge:   {targetBranch: main, strategy: squash, parallelChecks: 2, push: false, autoResolve: [], \
requests: none}
budget:  {taskUsd: null, fleetUsd: null}
limits:  {onUsageLimit: wait}
notify:  {run: null, events: [needs-input, ready-to-merge, merged, stuck], timeoutSeconds: 10}
"""


def refusal(text: str) -> ConfigInvalid:
    with pytest.raises(ConfigInvalid) as caught:
        parse(text, "config.yaml")
    return caught.value


def refusal_if_any(text: str) -> ConfigInvalid | None:
    try:
        parse(text, "config.yaml")
    except ConfigInvalid as error:
        return error
    return None


def test_every_key_written_with_its_default_loads_to_the_defaults() -> None:
    tests = Check(name="tests", run="pytest -q", timeout_seconds=900)
    assert parse(EVERY_KEY, "config.yaml") == Settings(checks=(tests,))


@pytest.mark.parametrize(
    "model",
    [
        "opus",
        "claude-sonnet-4-5",
        "claude-sonnet-4-5-20250929",
        "claude-opus-4-8[1m]",
        "claude-sonnet-4-5@20250929",
        "arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-x-v1:0",
    ],
)
def test_an_explicit_model_name_is_passed_on_as_it_is(model: str) -> None:
    settings = parse(f'agents: {{worker: {{model: "{model}"}}}}', "config.yaml")
    assert settings.agents.worker.model == model


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "# nothing yet\n",
        "~",
        "---\n",
        "\ufeff",
        "checks:\nmerge:\n  # targetBranch: main\nagents:\n  worker:\n  steward: {}\n",
    ],
)
def test_an_empty_file_or_section_means_the_defaults(text: str, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text, encoding="utf-8")
    assert load(path) == Settings()


def test_settings_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().merge.push = True  # pyright: ignore[reportAttributeAccessIssue]


def test_shared_worktrees_are_refused_with_the_reason() -> None:
    error = refusal("orchestrator:\n  worktreeIsolation: false\n")
    assert (error.line, error.path) == (2, "orchestrator.worktreeIsolation")
    assert "overwrite each other's files" in error.message
    assert error.remedy == "Remove the key or set it to true."


def test_rules_for_straightforward_conflicts_are_read_in_their_order() -> None:
    text = """\
merge:
  autoResolve:
    - {rule: identical}
    - {rule: union, paths: [CHANGELOG.md, "docs/changes/*.md"]}
    - rule: generated
      paths: [package-lock.json]
      run: npm install --package-lock-only
      timeoutSeconds: 60
"""
    assert parse(text, "config.yaml").merge.auto_resolve == (
        ResolveRule(rule="identical"),
        ResolveRule(rule="union", paths=("CHANGELOG.md", "docs/changes/*.md")),
        ResolveRule(
            rule="generated",
            paths=("package-lock.json",),
            run="npm install --package-lock-only",
            timeout_seconds=60,
        ),
    )


@pytest.mark.parametrize(
    ("rule", "path", "words", "remedy"),
    [
        ("imports", "[0]", "must be: mapping", "Correct the value"),
        ("{rule: imports}", "[0].rule", "`union`, `generated` or `identical`", "Correct the value"),
        ("{rule: union}", "[0].paths", "is missing: `union` needs", "Add `paths: …`."),
        ("{rule: union, paths: []}", "[0].paths", "is missing: `union` needs", "Add `paths: …`."),
        ("{rule: union, paths: [a], run: b}", "[0].run", "has no place here", "Remove it."),
        ("{rule: generated, paths: [a]}", "[0].run", "is missing: `generated`", "Add `run: …`."),
        ("{rule: identical, paths: [a]}", "[0].paths", "has no place here", "Remove it."),
        ("{rule: union, paths: [/a]}", "[0].paths[0]", "can never be a path", "git ls-files"),
        ("{rule: union, path: [a]}", "[0].path", "is not a key", "autoResolve[0].paths"),
    ],
)
def test_a_rule_that_cannot_work_is_refused_with_what_it_needs(
    rule: str, path: str, words: str, remedy: str
) -> None:
    error = refusal(f"merge: {{autoResolve: [{rule}]}}\n")
    assert error.path == f"merge.autoResolve{path}"
    assert words in error.message
    assert remedy in error.remedy


@pytest.mark.parametrize(
    ("text", "line", "path", "remedy"),
    [
        (
            "orchestrator:\n  port: 0\n  maxConcurent: 3\n",
            3,
            "orchestrator.maxConcurent",
            "Did you mean `orchestrator.maxConcurrent`?",
        ),
        (
            "orchestrator:\n  max_concurrent: 3\n",
            2,
            "orchestrator.max_concurrent",
            "Did you mean `orchestrator.maxConcurrent`?",
        ),
        ("\ntargetBranch: main\n", 2, "targetBranch", "Did you mean `merge.targetBranch`?"),
        ("Merge: {}\n", 1, "Merge", "Did you mean `merge`?"),
        ("agents:\n  wroker: {}\n", 2, "agents.wroker", "Did you mean `agents.worker`?"),
        (
            "checks:\n  - name: a\n    run: b\n    timeout: 3\n",
            4,
            "checks[0].timeout",
            "The keys here are name, run, timeoutSeconds, paths, env, junit.",
        ),
        (
            "frobnicate:\n",
            1,
            "frobnicate",
            "The keys here are orchestrator, agents, setup, checks, merge, budget, limits, notify.",
        ),
        (
            "base: &b {push: true}\nmerge: {<<: *b}\n",
            1,
            "base",
            "The keys here are orchestrator, agents, setup, checks, merge, budget, limits, notify.",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_line_path_and_the_nearest_right_key(
    text: str, line: int, path: str, remedy: str
) -> None:
    error = refusal(text)
    assert (error.line, error.path) == (line, path)
    assert error.remedy.startswith(remedy)
    assert error.message == (
        f"config.yaml, line {line}: `{path}` is not a key of the configuration."
    )


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        ("orchestrator: {maxConcurrent: 0}", "orchestrator.maxConcurrent", "1 to 64; it is `0`"),
        ("orchestrator: {maxConcurrent: 65}", "orchestrator.maxConcurrent", "it is `65`"),
        ('orchestrator: {maxConcurrent: "6"}', "orchestrator.maxConcurrent", 'the text "6"'),
        ("orchestrator: {maxConcurrent: 2.5}", "orchestrator.maxConcurrent", "whole number"),
        ("orchestrator: {maxConcurrent: true}", "orchestrator.maxConcurrent", "it is `true`"),
        ("orchestrator: {maxConcurrent: }", "orchestrator.maxConcurrent", "it is empty"),
        ("orchestrator: {port: 65536}", "orchestrator.port", "from 0 to 65535"),
        ("orchestrator: {leaseSeconds: 9}", "orchestrator.leaseSeconds", "from 10 to 3600"),
        ("orchestrator: {turnTimeoutSeconds: 0}", "orchestrator.turnTimeoutSeconds", "from 10"),
        ("orchestrator: {reservationSeconds: 0}", "orchestrator.reservationSeconds", "from 1"),
        ("orchestrator: {maxFailures: 51}", "orchestrator.maxFailures", "from 1 to 50"),
        ("orchestrator: {maxSendBacks: 0}", "orchestrator.maxSendBacks", "from 1 to 50"),
        ("orchestrator: {agent: codex}", "orchestrator.agent", "`claude-code`; it is `codex`"),
        ("orchestrator: {claudePath: ' '}", "orchestrator.claudePath", "path or null"),
        ("orchestrator: []", "orchestrator", "mapping; it is an empty list"),
        ("agents: {worker: {provider: x}}", "agents.worker.provider", "`claude-code`"),
        ("agents: {worker: {model: --danger}}", "agents.worker.model", "model name"),
        ("agents: {worker: {model: null}}", "agents.worker.model", "it is `null`"),
        ("agents: {worker: {handoffAt: 0.96}}", "agents.worker.handoffAt", "from 0.1 to 0.95"),
        ("agents: {worker: {maxSessionTokens: 1}}", "agents.worker.maxSessionTokens", "from 20000"),
        ("agents: {worker: {allowedTools: Bash}}", "agents.worker.allowedTools", "list of tool"),
        ("agents: {worker: {allowedTools: [-p]}}", "agents.worker.allowedTools[0]", "tool rule"),
        ("agents: {steward: {count: 0}}", "agents.steward.count", "from 1 to 16"),
        ("agents: {steward: {autoMerge: 1}}", "agents.steward.autoMerge", "true or false"),
        ("agents: {director: {headlessAfterSeconds: -1}}", "agents.director.headlessAfterSeconds",
         "from 0"),
        ("checks: {name: a}", "checks", "list of mappings; it is a mapping"),
        ("checks: [pytest]", "checks[0]", "mapping; it is `pytest`"),
        ("checks: [{run: x}]", "checks[0].name", "is missing"),
        ("checks: [{name: x}]", "checks[0].run", "is missing"),
        ("checks: [{name: '', run: x}]", "checks[0].name", "it is empty"),
        ("checks: [{name: ../x, run: x}]", "checks[0].name", "file name"),
        ("checks: [{name: .., run: x}]", "checks[0].name", "file name"),
        ("checks: [{name: a, run: ''}]", "checks[0].run", "command line; it is empty"),
        ('checks: [{name: a, run: "x\\0"}]', "checks[0].run", "command line"),
        ("checks: [{name: a, run: x, timeoutSeconds: 86401}]", "checks[0].timeoutSeconds", "86400"),
        ("checks: [{name: a, run: x, junit: ../r.xml}]", "checks[0].junit", "in no path"),
        ("checks: [{name: a, run: x, env: {a-b: x}}]", "checks[0].env.a-b", "name of a variable"),
        ("checks: [{name: a, run: x, env: {SF_X: x}}]", "checks[0].env.SF_X", "no check is given"),
        ("checks: [{name: a, run: x, env: {A: 7}}]", "checks[0].env.A", "it is `7`"),
        ("checks: [{name: a, run: x, env: [A]}]", "checks[0].env", "mapping of names to texts"),
        ("checks: [{name: a, run: x, paths: docs}]", "checks[0].paths", "list of path patterns"),
        ("checks: [{name: a, run: x, paths: [/etc]}]", "checks[0].paths[0]", "begins at the rep"),
        ("checks: [{name: a, run: x, paths: [a/../../b]}]", "checks[0].paths[0]", "in no path"),
        ("checks: [{name: a, run: x, paths: ['']}]", "checks[0].paths[0]", "it is empty"),
        ("checks: [{name: a, run: x}, {name: A, run: y}]", "checks[1].name", "checks[0] (`a`)"),
        ("merge: {targetBranch: a b}", "merge.targetBranch", "it contains ' '"),
        ("merge: {targetBranch: refs/heads/main}", "merge.targetBranch", "full ref"),
        ("merge: {targetBranch: sf/x}", "merge.targetBranch", "belong to the fleet"),
        ("merge: {targetBranch: ''}", "merge.targetBranch", "it is empty"),
        ("merge: {strategy: rebase}", "merge.strategy", "`squash` or `merge`; it is `rebase`"),
        ("merge: {parallelChecks: 17}", "merge.parallelChecks", "from 1 to 16"),
        ("merge: {push: maybe}", "merge.push", "true or false; it is `maybe`"),
        ("merge: {requests: gitlab}", "merge.requests", "`none` or `github`; it is `gitlab`"),
        ("budget: {taskUsd: 0}", "budget.taskUsd", "number above 0 or null; it is `0`"),
        ("budget: {fleetUsd: .inf}", "budget.fleetUsd", "number above 0 or null"),
        ("limits: {onUsageLimit: retry}", "limits.onUsageLimit", "`wait`, `ask` or `stop`"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_path_what_was_expected_and_what_is_there(
    text: str, path: str, words: str
) -> None:
    error = refusal(text)
    assert (error.line, error.path) == (1, path)
    assert words in error.message
    assert error.remedy


def test_a_number_where_text_belongs_is_answered_with_quotes() -> None:
    error = refusal("merge:\n  targetBranch: 1.0\n")
    assert (error.line, error.remedy) == (2, "Put it in quotes if it is meant as text.")


def test_the_first_fault_in_the_file_leads_and_the_others_follow() -> None:
    error = refusal("limits:\n  onUsageLimit: never\norchestrator:\n  port: -1\nfoo: 1\n")
    assert (error.line, error.path) == (2, "limits.onUsageLimit")
    assert "More faults: line 4: `orchestrator.port` must be" in error.remedy
    assert "line 5: `foo` is not a key" in error.remedy


def test_a_fault_inside_a_list_is_told_with_the_line_of_its_own_entry() -> None:
    error = refusal("checks:\n  - name: a\n    run: x\n  - name: b\n    run: 7\n")
    assert (error.line, error.path) == (5, "checks[1].run")


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("merge:\n\tpush: true\n", 2, "indented with a tab"),
        ("merge:\n  push: true\n    strategy: squash\n", 3, "not YAML"),
        ("checks: [{name: a\nmerge: {}\n", 2, "not YAML"),
        ("merge: {push: 'true}\n", 1, "not YAML"),
        ("merge: {}\nbudget: {}\nmerge: {}\n", 3, "`merge` stands twice; first in line 1"),
        ("merge:\n  push: true\n  push: false\n", 3, "`merge.push` stands twice"),
        ("- a\n", 1, "holds a list"),
        ("\njust words\n", 2, "holds a single value"),
        ("merge: {}\n---\nmerge: {}\n", 2, "a second YAML document"),
        ("merge: *nothing\n", 1, "undefined alias"),
        ("checks: &c [*c]\n", 1, "refers to itself"),
        ("merge: {? [a] : b}\n", 1, "a key that is not text"),
        ("merge: !!python/object:os.system {}\n", 1, "has the tag"),
        ("merge: {push: !!python/name:os.system x}\n", 1, "not YAML"),
        ("budget: {taskUsd: 2024-13-45}\n", 1, "cannot be read"),
        ("merge: {}\n# \x07\n", 2, r"'\x07' is not allowed"),
        ("checks: " + "[" * 200_000, 1, "nested more than 20 deep"),
        ("checks: " + "{a: " * 200_000, 1, "nested more than 20 deep"),
    ],
)
def test_broken_yaml_is_refused_with_its_line(text: str, line: int, words: str) -> None:
    error = refusal(text)
    assert error.line == line
    assert words in error.message
    assert error.remedy


def test_aliases_that_multiply_are_not_multiplied() -> None:
    """The "billion laughs": nine levels of ten references each."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]" for n in range(1, 10)]
    error = refusal("l0: &l0 [x]\n" + "\n".join(levels))
    assert error.path == "l0"


def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"merge:\n  targetBranch: caf\xe9\n")
    with pytest.raises(ConfigInvalid, match="line 2: this is not UTF-8 text") as caught:
        load(path)
    assert caught.value.line == 2


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"#" * (MAX_BYTES + 1))
    with pytest.raises(ConfigInvalid, match="larger than 1,000,000 bytes"):
        load(path)


def test_a_missing_file_is_answered_with_sf_init(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="There is no configuration") as caught:
        load(tmp_path / "config.yaml")
    assert "sf init" in caught.value.remedy


def test_a_directory_or_pipe_in_place_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigInvalid, match="not a regular file"):
        load(tmp_path / "pipe")
    with pytest.raises(ConfigInvalid, match="Is a directory"):
        load(tmp_path)


@given(st.text(alphabet=st.sampled_from("abm:-{}[]&*!?|>'\"#%@,\n\t 01~<=."), max_size=60))
def test_no_text_does_anything_but_load_or_be_refused_with_a_line(text: str) -> None:
    error = refusal_if_any(text)
    if error is not None:
        assert error.line in range(1, text.count("\n") + 2)
        assert error.remedy


@given(st.data())
def test_no_piece_of_a_good_file_does_anything_but_load_or_be_refused(data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(EVERY_KEY)))
    end = data.draw(st.integers(start, len(EVERY_KEY)))
    error = refusal_if_any(EVERY_KEY[:start] + EVERY_KEY[end:])
    assert error is None or error.line is not None


def test_each_row_of_the_reference_loads_with_the_default_that_it_names() -> None:
    for row in rows():
        assert row.description
        assert row.type
        if "[]" not in row.key:
            *sections, key = row.key.split(".")
            opening = "".join(f"{section}: {{" for section in sections)
            text = f"{opening}{key}: {row.default}{'}' * len(sections)}"
            # As the whole file: `{a: {b: 1}}` and `a: {b: 1}` are the same mapping.
            assert parse(f"{{{text}}}", "config.yaml") == Settings(), row.key


def test_the_reference_has_every_key_of_the_design() -> None:
    keys = {row.key for row in rows()}
    assert len(keys) == len(rows()) == 51
    assert {"orchestrator.maxSendBacks", "agents.worker.allowedTools", "checks[].name"} <= keys
