"""A short drill with real processes; the same on builds that each have one known defect.

The long one is for people: `sf-launch drill --seed 1 --kills 100`.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from launcher.rehearsal.drill import Drill, Order
from launcher.rehearsal.drill_command import (
    Options,
    drill_story,
    exit_code,
    summary,
    with_settings,
)
from launcher.rehearsal.injections import REQUIRED, Phase, plan
from launcher.rehearsal.injector import Done
from launcher.rehearsal.story import load_story, shipped_story
from launcher.rehearsal.verdict import Finding
from sf_mcp.core.errors import ConfigInvalid, InvalidInput
from sf_mcp.core.exits import ExitCode

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 280
LABEL = """\
            label = ", ".join(request.id for request, _ in brings) or kind.value
"""
SOURCES = ("sf_mcp", "launcher", "prompts", "examples")


@dataclass(frozen=True)
class Drilled:
    code: int
    outcome: dict[str, Any]
    left_running: list[str]

    @property
    def wrong(self) -> dict[str, str]:
        """What did not hold, with the details."""
        findings = self.outcome["findings"]
        return {one["what"]: one["detail"] for one in findings if not one["held"]}


def _drill(folder: Path, *arguments: str, code_in: Path | None = None) -> Drilled:
    """Run a drill as a person does, with the code of this checkout or of a changed copy."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    if code_in is not None:
        environment["PYTHONPATH"] = str(code_in)
    done = subprocess.run(
        [sys.executable, "-m", "launcher", "drill", *arguments, "--keep", str(folder), "--json"],
        cwd=code_in or ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=MOST_SECONDS,
        check=False,
    )
    assert done.stdout, done.stderr
    return Drilled(done.returncode, json.loads(done.stdout), _running_below(folder))


def _running_below(folder: Path) -> list[str]:
    return [
        " ".join(process.info["cmdline"] or [])
        for process in psutil.process_iter(["cmdline", "cwd", "environ"])
        if str(folder) in str(process.info)
    ]


# -- a sound build ---------------------------------------------------------------------------------


def test_a_short_drill_hits_every_kind_of_moment_and_nothing_is_lost(tmp_path: Path) -> None:
    for seed in ("1", "2", "3"):
        drilled = _drill(tmp_path / f"world {seed}", "--seed", seed, "--kills", "8")
        assert drilled.wrong == {}
        # Which moment a kill meets is chance: one that met too few of them shows nothing yet.
        if drilled.code != ExitCode.INCONCLUSIVE:
            break

    assert (drilled.code, drilled.outcome["verdict"]) == (ExitCode.DONE, "everything held")
    assert all(drilled.outcome["hits"][phase] for phase in REQUIRED)
    assert drilled.outcome["landings"] == drilled.outcome["tasks"] >= 8
    assert drilled.outcome["ledger_entries"] > 8
    assert drilled.left_running == []


# -- builds with a defect --------------------------------------------------------------------------


@dataclass(frozen=True)
class Defect:
    changes: Sequence[tuple[str, str, str]]
    """File, lines as they are, lines with the defect."""
    aim: str
    task: str
    found: str
    tells: int = 0


DEFECTS: Mapping[str, Defect] = {
    "the-fence-is-not-checked": Defect(
        changes=[
            (
                "sf_mcp/service/claims.py",
                "    check_token(newest, session_id, mine.fence, mine.subject, holder=holder)\n",
                "    return mine\n",
            ),
            (
                "sf_mcp/service/fencing.py",
                "    if caller.session_id is None:\n",
                "    if caller:\n",
            ),
        ],
        aim="fence",
        task="Build part axle",
        # The session that comes back from its freeze is in the middle of these.
        tells=20,
        found="no session did anything to a task that it did not hold",
    ),
    "snapshots-are-skipped": Defect(
        changes=[
            (
                "sf_mcp/git/snapshots.py",
                "    if seen is not None and seen.is_clean:\n",
                "    if seen is not None:\n",
            )
        ],
        aim="claim",
        task="Hand over part frame",
        found="each of the {ledger_entries} commits and files of the ledger is kept",
    ),
    "the-done-row-comes-before-the-ref": Defect(
        changes=[
            (
                "sf_mcp/service/target.py",
                LABEL,
                f"{LABEL}            self._finish(intent, LandingState.DONE)\n",
            )
        ],
        # Not at the landing: one that is killed at its intent does no harm.
        aim="claim",
        task="Build part axle",
        found="nothing was recorded as landed before the branch had it",
    ),
}


def _with(defect: Defect, folder: Path) -> Path:
    """Copy the program and build the defect in."""
    for name in SOURCES:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file, old, new in defect.changes:
        path = folder / file
        text = path.read_text("utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), "utf-8")
    return folder


def _short_story(path: Path, task: str, *, tells: int) -> Path:
    """Write the shipped story with one task, whose worker tells of its progress for a while."""
    story = yaml.safe_load(shipped_story("drill").read_text("utf-8"))
    story["plan"]["tasks"] = [{"key": "only", "title": task}]
    story["expect"]["merged"] = ["only"]
    story["config"]["agents"]["steward"]["review"] = False
    story["config"]["checks"] = [{"name": "parts", "run": "sh suite.sh"}]
    tell = {"tools": [{"name": "report_progress", "input": {"message": "On."}}], "delay": 0.3}
    build = story["model"][0]["attempts"][0]
    build[1:1] = [tell] * tells
    path.write_text(yaml.safe_dump(story))
    return path


@pytest.mark.parametrize("name", DEFECTS)
def test_a_drill_of_a_build_with_a_defect_fails(name: str, tmp_path: Path) -> None:
    defect = DEFECTS[name]
    story = _short_story(tmp_path / "story.yaml", defect.task, tells=defect.tells)
    build = _with(defect, tmp_path / "build")

    for seed in ("1", "2", "3"):
        drilled = _drill(
            tmp_path / f"world {seed}",
            str(story),
            *("--seed", seed, "--kills", "1", "--aim", defect.aim),
            code_in=build,
        )
        # One kill may miss the instant in which the defect shows.
        if drilled.code == ExitCode.REFUSED:
            break

    assert drilled.code == ExitCode.REFUSED
    assert defect.found.format(**drilled.outcome) in drilled.wrong
    assert drilled.left_running == []


# -- the command -----------------------------------------------------------------------------------


def _a_drill(*, hits: Sequence[Phase] = REQUIRED, finding: str = "") -> Drill:
    """Make what a drill comes to: one kill for each of `hits`, and what was found wrong."""
    order = Order(seed=7, kills=len(hits))
    done = [
        Done(injection=one, seconds=1.0, victim="process 1", hits=frozenset({phase}))
        for one, phase in zip(plan(7, len(hits)), hits, strict=False)
    ]
    return Drill(
        story="drill",
        order=order,
        done=done,
        faults={"answer 529": 3},
        findings=[Finding(what="nothing is lost", held=not finding, detail=finding)],
        ledger_entries=9,
        tasks=8,
        landings=8,
        sessions=20,
        server_starts=3,
        model_requests=90,
        seconds=60.0,
        folder="",
    )


def test_a_drill_that_never_hit_one_kind_is_inconclusive() -> None:
    drill = _a_drill(hits=[Phase.LANDING, Phase.CLAIM, Phase.CHECK])

    assert exit_code(drill) is ExitCode.INCONCLUSIVE
    assert "inconclusive: nothing was lost, and no kill hit a snapshot" in summary(drill, "again")


def test_something_that_is_lost_counts_more_than_something_that_was_not_hit() -> None:
    drill = _a_drill(hits=[], finding="file abc")

    assert exit_code(drill) is ExitCode.REFUSED
    assert "FAIL  nothing is lost (file abc)" in summary(drill, "again")


def test_the_summary_tells_what_was_injected_what_it_hit_and_how_to_replay_it() -> None:
    drill = _a_drill()
    told = summary(drill, "sf-launch drill --seed 7 --kills 4")

    assert exit_code(drill) is ExitCode.DONE
    assert "drill, seed 7: everything held" in told
    assert "     3  answer 529" in told
    assert "     1  landing\n     1  snapshot\n     1  claim\n     1  check\n" in told
    assert "Again: sf-launch drill --seed 7 --kills 4" in told
    assert "0 tokens" in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_drill_ends_all_that_it_has_started(
    number: signal.Signals, tmp_path: Path
) -> None:
    folder = tmp_path / "world"
    command = [sys.executable, "-m", "launcher", "drill", "--seed", "1", "--kills", "5"]
    child = subprocess.Popen(
        [*command, "--keep", str(folder)],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    said = [next(line for line in child.stdout if "takes T1" in line)]
    child.send_signal(number)
    said += child.communicate(timeout=MOST_SECONDS)[0].splitlines()

    assert child.returncode == ExitCode.INTERRUPTED
    assert said[-1] == "Interrupted; everything that was started has been ended."
    assert _running_below(folder) == []


def test_an_aim_that_is_not_there_is_refused_before_anything_is_started() -> None:
    with pytest.raises(InvalidInput, match="nothing called moon"):
        drill_story(Options(aim="landing, moon"))


def _a_configuration(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("\n".join(lines))
    return path


def test_a_persons_settings_are_laid_over_those_of_the_story(tmp_path: Path) -> None:
    mine = _a_configuration(
        tmp_path / "config.yaml",
        [
            "orchestrator: {maxConcurrent: 2, port: 4711}",
            "agents: {steward: {review: false}, worker: {maxSessionTokens: 100000}}",
            "merge: {strategy: merge, targetBranch: trunk, push: true}",
            "budget: {taskUsd: 1}",
            "checks: [{name: mine, run: pytest}]",
        ],
    )
    story = load_story(shipped_story("drill"))

    config = with_settings(story, mine).config

    # What is about another repository, or about money, stays the story's.
    assert config["merge"] == {"strategy": "merge", "targetBranch": "main"}
    assert config["checks"] == story.config["checks"]
    assert not config.get("budget")
    assert config["orchestrator"] == {**story.config["orchestrator"], "maxConcurrent": 2}
    assert config["agents"]["steward"] == {
        **story.config["agents"]["steward"],
        "review": False,
    }
    assert config["agents"]["worker"]["maxSessionTokens"] == 100_000


def test_settings_that_cannot_be_used_are_refused(tmp_path: Path) -> None:
    mine = _a_configuration(tmp_path / "config.yaml", ["orchestrator: {maxConcurent: 2}"])
    with pytest.raises(ConfigInvalid, match="maxConcurrent"):
        with_settings(load_story(shipped_story("drill")), mine)
