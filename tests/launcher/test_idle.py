"""A fleet without work costs nothing, also one whose director may be woken at any time."""

from pathlib import Path

from tests.launcher.builders_project import WAIT_SECONDS, running

WAKEFUL = {"steward": {"review": True}, "director": {"headless": True, "headlessAfterSeconds": 0}}


def test_an_idle_fleet_of_every_role_makes_no_model_request(tmp_path: Path) -> None:
    """Row 36 of the known defects: heartbeats and patrols that wake a model."""
    with running(tmp_path, agents=WAKEFUL) as (project, api):
        fleet = project.start_fleet("--until-idle")

        project.wait_for(lambda: fleet.poll() is not None or api.requests)

        assert not api.requests
        assert fleet.wait(WAIT_SECONDS) == 0, project.story()
        assert not project.sessions()
