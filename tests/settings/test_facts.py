import os
import subprocess
import sys
from pathlib import Path

import pytest

from sf_mcp.core.errors import ConfigInvalid
from sf_mcp.settings import QuickFacts, Settings, load, quick_facts
from sf_mcp.settings.facts import KEPT_NAME, SECTIONS


def a_file(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def facts_of(settings: Settings) -> QuickFacts:
    return QuickFacts(
        target_branch=settings.merge.target_branch,
        check_names=tuple(check.name for check in settings.checks),
        run_checks=settings.agents.steward.run_checks,
        auto_merge=settings.agents.steward.auto_merge,
        max_concurrent=settings.orchestrator.max_concurrent,
        has_budget=settings.budget.task_usd is not None or settings.budget.fleet_usd is not None,
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "checks:\nmerge:\nagents:\n  steward:\n",
        "merge: {targetBranch: release/2}\norchestrator: {maxConcurrent: 3}\n",
        "agents: {steward: {runChecks: false, autoMerge: false}}\n",
        "budget: {taskUsd: null}\n",
        "budget: {fleetUsd: 5}\n",
        "checks:\n  - {name: lint, run: ruff check}\n  - {name: tests, run: pytest}\n",
    ],
)
def test_the_quick_facts_are_those_of_the_full_model(text: str, tmp_path: Path) -> None:
    path = a_file(tmp_path, text)
    assert quick_facts(path) == facts_of(load(path))
    assert quick_facts(path).vacuous_sentence == load(path).vacuous_sentence


@pytest.mark.parametrize(
    "text",
    [
        "chekcs: []",
        "merge: {targetBranch: a b}",
        "merge: [main]",
        "checks: [pytest]",
        "checks: {name: a}",
        "checks: [{run: x}]",
        "agents: {steward: {runChecks: 'no'}}",
        "agents: 3",
        "budget: 3",
        "orchestrator: {maxConcurrent: true}",
        "merge:\n\tpush: true",
    ],
)
def test_what_the_quick_facts_do_not_understand_is_refused_in_the_models_words(
    text: str, tmp_path: Path
) -> None:
    path = a_file(tmp_path, text)
    with pytest.raises(ConfigInvalid) as quick:
        quick_facts(path)
    with pytest.raises(ConfigInvalid) as full:
        load(path)
    assert str(quick.value) == str(full.value)


def test_the_sections_known_to_the_quick_facts_are_those_of_the_model() -> None:
    assert set(Settings.model_fields) == SECTIONS


def test_quick_facts_do_not_import_pydantic(tmp_path: Path) -> None:
    path = a_file(tmp_path, "checks: [{name: tests, run: pytest}]")
    program = (
        "import sys; from pathlib import Path; import sf_mcp.settings\n"
        "facts = sf_mcp.settings.quick_facts(Path(sys.argv[1]))\n"
        "sf_mcp.settings.SettingsFile(Path(sys.argv[1]))\n"
        "print(facts.check_names, 'pydantic' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout.strip() == "('tests',) False"


def test_kept_facts_hold_until_the_file_changes(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("merge: {targetBranch: main}\n")
    long_ago = 1_700_000_000
    os.utime(path, (long_ago, long_ago))
    first = quick_facts(path)
    kept = path.with_name(KEPT_NAME)
    assert kept.exists()
    assert quick_facts(path) == first
    path.write_text("merge: {targetBranch: next}\n")
    assert quick_facts(path).target_branch == "next"
    kept.write_text("{damaged")
    assert quick_facts(path).target_branch == "next"


def test_facts_of_a_file_written_a_moment_ago_are_not_trusted(tmp_path: Path) -> None:
    """Two writes within one tick of the file system's clock look like one."""
    path = tmp_path / "config.yaml"
    path.write_text("merge: {targetBranch: main}\n")
    quick_facts(path)
    seen = path.stat()
    path.write_text("merge: {targetBranch: next}\n")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    os.utime(path.with_name(KEPT_NAME), ns=(seen.st_atime_ns, seen.st_mtime_ns))
    assert quick_facts(path).target_branch == "next"
