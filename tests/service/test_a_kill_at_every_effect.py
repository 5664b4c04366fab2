"""A server that is killed at any instant of its work has lost nothing and goes on after a restart.

The recorder finds the instants by itself (`tests.service.effects`), so what is added to the server
is covered without a word here. CI tries each instant that leaves other files behind than those
before it; `SF_EVERY_INSTANT=1` tries all of them. How many effects there were is told at the end of
the run.
"""

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sf_mcp import process
from sf_mcp.app import prepare
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.service import Services
from sf_mcp.service.workspace import Workspace
from tests.builders import Project, a_project
from tests.service.aftermath import (
    PERSONS_FILE,
    Ledger,
    a_moment_later,
    all_is_well,
    commit_as_the_person,
    go_on,
    target_is_as_recorded,
)
from tests.service.effects import BOUND_SECONDS, Kind, kill, record
from tests.service.operations_that_die import CHECKED, OPERATIONS, Facts

EVERY_INSTANT = bool(os.environ.get("SF_EVERY_INSTANT"))
SHARES = 3
"""Into which the instants of an operation are dealt, for as many test processes."""


@pytest.mark.parametrize("share", range(SHARES))
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_kill_at_any_effect_loses_nothing_and_stops_nothing(
    tmp_path: Path,
    name: str,
    share: int,
    record_property: Callable[[str, object], None],
) -> None:
    operation, report = OPERATIONS[name], tmp_path / "report"
    project = a_project(tmp_path, config=CHECKED)
    facts: Facts = operation.arrange(project)
    facts["now"] = project.clock.now.isoformat()
    (project.root / PERSONS_FILE).write_text("mine\n")
    ledger = Ledger.of(project.root)
    project.services.close()
    world = World(project, tmp_path / "as it was")

    recording = record(name, project.root, facts, report)
    counts = {kind.value: recording.count(kind) for kind in Kind}
    assert all(counts[kind.value] for kind in operation.kinds), counts
    instants = recording.instants(all_of_them=EVERY_INSTANT)
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items())
    record_property("effects", f"{name}: {told}; killed at {len(instants)} instants")

    for instant in instants[share::SHARES]:
        world.restore()
        left = kill(name, project.root, facts, report, recording, instant)
        try:
            ledger.check(project.root)
            survive(project, name, facts)
            ledger.check(project.root)
        except BaseException as error:
            error.add_note(f"killed at {recording.name_of(instant)}")
            raise
        finally:
            project.services.close()
            _end(left)


def survive(project: Project, name: str, facts: Facts) -> None:
    """Start the server anew, ask for the same again, and let everything go on to its end.

    The person did not wait for it: they have committed something by hand.
    """
    a_moment_later(project)
    commit_as_the_person(project)
    project.services = Services(Workspace(project.root, project.clock))
    prepare(project.services)
    if not OPERATIONS[name].is_foreign:
        target_is_as_recorded(project)
    # Refused, if it was carried out and may not be once more.
    with contextlib.suppress(StoneforgeError):
        OPERATIONS[name].act(project.services, facts)
    go_on(project)
    all_is_well(project)
    if not OPERATIONS[name].is_foreign:
        # The server's own landing was never taken for somebody else's.
        assert "target_move_undone" not in project.event_kinds()


class World:
    """A project's folder, to be had again as it was, at the place where it was."""

    def __init__(self, project: Project, store: Path) -> None:
        self._project, self._store, self._now = project, store, project.clock.now
        self._copy(project.root, store)

    def restore(self) -> None:
        shutil.rmtree(self._project.root)
        self._copy(self._store, self._project.root)
        self._project.clock.now = self._now

    def _copy(self, source: Path, to: Path) -> None:
        # With its times, which git compares.
        subprocess.run(["cp", "-a", str(source), str(to)], check=True, timeout=BOUND_SECONDS)


def _end(group: int | None) -> None:
    """Wait for a process that was left running, since the next server has the same files."""
    deadline = time.monotonic() + BOUND_SECONDS
    while group is not None and process.group_is_alive(group):
        assert time.monotonic() < deadline, "a process that was left behind does not end"
        time.sleep(0.005)
