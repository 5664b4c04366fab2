"""The zone in which a time of day of the client is read."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from launcher.core.resets import parse_reset
from launcher.fleet import zone

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def own_zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    time.tzset()


def read(monkeypatch: pytest.MonkeyPatch, name: str, now: datetime = NOON) -> datetime | None:
    monkeypatch.setenv("TZ", name)
    time.tzset()
    return parse_reset("resets 3pm", now=now, local_zone=zone.local_zone())


@pytest.mark.parametrize("name", ["America/New_York", ":America/New_York", "EST5EDT"])
def test_it_is_the_zone_of_the_environment(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert read(monkeypatch, name) == NOON + timedelta(hours=8)


def test_a_zone_by_its_rule_alone_is_its_offset_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read(monkeypatch, "XYZ-9") == datetime(2026, 11, 23, 6, 0, tzinfo=UTC)


def test_a_reset_after_the_change_to_winter_time_is_in_winter_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    summer = datetime(2026, 10, 20, 12, 0, tzinfo=UTC)
    found = parse_reset("resets Nov 2, 3pm", now=summer, local_zone=zone.local_zone())
    assert found == datetime(2026, 11, 2, 14, 0, tzinfo=UTC)


def test_without_one_it_is_the_machines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TZ", raising=False)
    time.tzset()
    monkeypatch.setattr(zone, "LOCAL_ZONE_FILE", tmp_path / "nothing")
    assert zone.local_zone().utcoffset(NOON) == NOON.astimezone().utcoffset()
