"""`sf watch` without a terminal: its lines and keys, and the program driven by textual's Pilot."""

import asyncio
import time
from collections.abc import Callable, Coroutine, Generator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Static

from sf_mcp.cli.lines import plain
from sf_mcp.cli.output import width_of
from sf_mcp.cli.standing import Row, Section
from sf_mcp.cli.watch.acting import chosen
from sf_mcp.cli.watch.app import WatchApp
from sf_mcp.cli.watch.keys import KEYS, footer, help_text, offered
from sf_mcp.cli.watch.lists import Entry, entries, next_waiting, selection
from sf_mcp.core.identity import PERSON
from sf_mcp.core.states import TaskState
from tests.builders import a_proposal, a_task
from tests.cli.builders_project import someone_with_a_plan
from tests.cli.builders_standing import (
    NASTY,
    WAITS_FOR_THE_PERSON,
    a_busy_project,
    make_busy,
    overview_of,
)
from tests.web.builders_server import SECONDS, Served, say_where, served


@pytest.fixture(scope="module")
def overview(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        return overview_of(a_busy_project(tmp_path_factory.mktemp("busy")))


def shown(overview: dict[str, Any], wanted: str = "", width: int = 48) -> list[str]:
    return [plain(one.line) for one in entries(overview, wanted, width)]


# -- the list -------------------------------------------------------------------------------------


def test_the_list_leads_with_what_waits_then_who_asks_then_the_train_then_what_is_ready(
    overview: dict[str, Any],
) -> None:
    assert shown(overview)[:12] == [
        "Waits for you (2)",
        "Q1 question 12 min Which table should it use?…",
        "M1 review 15 min Add a header",
        "Sessions (2)",
        "worker-1 asks 12 min T1 Q1: Which table should…",
        "worker-2 working T3 working",
        "Merge train (1)",
        "M1 T4 waiting for your approval: sf mr approve…",
        "Ready (3)",
        "T5 priority 3 Write the manual",
        "T6 priority 3 Sign releases",
        shown(overview)[11],
    ]


def test_every_line_fits_at_any_width(overview: dict[str, Any]) -> None:
    for width in range(12, 60, 5):
        for one in entries(overview, "", width):
            if one.row is not None:
                lead = f"{one.row.id} {' '.join(one.row.facts[:2])}  "
                assert width_of(plain(one.line)) <= max(width, width_of(lead))


def test_the_filter_leaves_what_has_these_letters(overview: dict[str, Any]) -> None:
    found = [one.row.id for one in entries(overview, "HEADER", 48) if one.row]
    assert found == ["M1", "M1"]
    assert shown(overview, "header")[0] == "Waits for you (1 of 2)"
    assert [one for one in entries(overview, "no such thing", 48) if one.row] == []


def test_the_selection_stays_with_its_thing_or_goes_to_what_took_its_place(
    overview: dict[str, Any],
) -> None:
    before = entries(overview, "", 48)
    keys = [one.key for one in before if one.row]
    assert selection([], before, "") == keys[0]
    without = [one for one in before if one.key != keys[1]]
    assert selection(before, without, keys[1]) == keys[2]
    assert selection(before, without, keys[4]) == keys[4]
    assert selection(before, [one for one in before if one.key in keys[:3]], keys[-1]) == keys[2]
    assert selection(before, [one for one in before if not one.row], keys[0]) is None


def test_n_goes_round_what_waits(overview: dict[str, Any]) -> None:
    listed = entries(overview, "", 48)
    first, second = (one.key for one in listed if _waits(one))
    assert next_waiting(listed, "") == first
    assert next_waiting(listed, first) == second
    assert next_waiting(listed, second) == first
    assert next_waiting([one for one in listed if not _waits(one)], first) is None


def _waits(entry: Entry) -> bool:
    return entry.row is not None and entry.row.section is Section.WAITING


# -- keys -----------------------------------------------------------------------------------------


def test_every_key_is_in_the_help_and_does_something() -> None:
    assert [shown for shown, _ in help_text()][: len(KEYS)] == [key.shown for key in KEYS]
    assert all(about.endswith(".") for _, about in help_text())
    assert all(hasattr(WatchApp, f"action_{key.action}") for key in KEYS)
    assert len({key.key for key in KEYS}) == len(KEYS)


def test_the_footer_offers_what_the_row_takes_and_always_help_and_the_way_out(
    overview: dict[str, Any],
) -> None:
    rows: list[Row | None] = [None, *(one.row for one in entries(overview, "", 48) if one.row)]
    for row in rows:
        for width in (20, 40, 78, 200):
            line = footer(row, width)
            assert line.endswith("? help  q quit")
            assert len(line) <= width
        assert len(footer(row, 200).split("  ")) == len(offered(row))
    question, review = rows[1], rows[2]
    assert footer(question, 78).startswith("Enter answer  ")
    assert footer(review, 78).startswith("a approve  x reject  c cancel  ")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("1", "yes"), (" 2 ", "no"), ("3", "3"), ("0", "0"), ("²", "²"), ("yes, but", "yes, but")],
)
def test_a_number_is_an_option_where_there_is_one_of_that_number(typed: str, meant: str) -> None:
    assert chosen(["yes", "no"], typed) == meant


def test_what_is_no_terminal_is_refused_with_what_there_is_for_scripts(tmp_path: Path) -> None:
    refused = someone_with_a_plan(tmp_path).sf("watch")
    assert refused.code == 1
    assert "sf status --json" in refused.err
    assert "sf logs -f" in refused.err


# -- the program ----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Generator[Served]:
    with served(tmp_path, config=WAITS_FOR_THE_PERSON) as one:
        one.project.services.sessions.ensure_person_token(PERSON)
        say_where(one.project.layout, one.port)
        yield one


class Seat:
    """Somebody in front of the program."""

    def __init__(self, app: WatchApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)

    async def types(self, text: str) -> None:
        await self.press(*("space" if char == " " else char for char in text), "enter")

    async def until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < deadline, f"never came true: {what}"
            await self.pilot.pause(0.02)

    async def finds(self, wanted: str) -> None:
        """Select the one thing that has these letters, and wait for its details."""
        await self.press("escape", "slash")
        await self.types(wanted)
        await self.until(lambda: len(self._rows()) >= 1, f"{wanted} in the list")
        row = self._rows()[0]
        await self.until(lambda: self._detail_is_of(row), f"details of {row.id}")

    async def told(self, *texts: str) -> None:
        """Wait for a notice with these texts."""
        await self.until(
            lambda: any(
                all(text in note.message for text in texts)
                for note in self.app._notifications  # pyright: ignore[reportPrivateUsage]
            ),
            f"a notice of {texts}",
        )

    def _rows(self) -> list[Row]:
        return [one.row for one in self.app.listed if one.row]

    def _detail_is_of(self, row: Row) -> bool:
        return self.app.seen.title == (row.id or row.kind) and bool(self.detail)

    @property
    def detail(self) -> str:
        return "\n".join(map(plain, self.app.seen.lines))


def seated(server: Served, scene: Callable[[Seat], Coroutine[Any, Any, None]]) -> None:
    """Play a scene in front of the program, on the server's project."""

    async def play() -> None:
        app = WatchApp(server.project.root)
        async with app.run_test(size=(100, 30), notifications=True) as pilot:
            seat = Seat(app, pilot)
            await seat.until(lambda: bool(app.listed), "the list")
            await scene(seat)

    asyncio.run(play())


def test_a_person_decides_by_keys_at_the_commit_that_is_shown(server: Served) -> None:
    project = server.project
    make_busy(project)
    proposal = a_proposal(project)
    first = project.request("M1")

    async def scene(seat: Seat) -> None:
        await seat.finds("review")
        assert first.commit[:12] in seat.detail
        await seat.press("x")
        await seat.press("escape")
        await seat.press("x")
        await seat.types("Handle the empty list.")
        await seat.told("M1 is sent back")
        await seat.finds("proposal")
        await seat.press("a")
        await seat.told(f"{proposal} is open")

    seated(server, scene)
    assert project.task("T4").state is TaskState.OPEN
    assert project.task(proposal).state is TaskState.OPEN


def test_a_question_is_answered_by_its_number_and_by_own_words(server: Served) -> None:
    make_busy(server.project)

    async def scene(seat: Seat) -> None:
        await seat.finds("Which table")
        assert "Which table should it use?" in seat.detail
        await seat.press("enter")
        await seat.until(lambda: len(seat.app.screen_stack) == 2, "the question")
        await seat.types("the old one")
        await seat.told("Q1 is answered")

    seated(server, scene)
    assert server.project.question("Q1").answer == "the old one"


def test_what_cannot_be_undone_asks_once_and_refusals_come_with_their_remedy(
    server: Served,
) -> None:
    project = server.project
    make_busy(project)
    stuck = a_task(project, "Too hard", state=TaskState.STUCK)

    async def scene(seat: Seat) -> None:
        await seat.finds("Write the manual")
        await seat.press("r")
        await seat.told("Task T5", "\n")
        await seat.press("plus")
        await seat.told("T5 has priority 2")
        await seat.press("c", "n")
        await seat.press("minus")
        await seat.told("T5 has priority 3")
        assert project.task("T5").state is TaskState.OPEN
        await seat.press("c", "y")
        await seat.told("T5 is cancelled")
        await seat.finds("Too hard")
        await seat.press("r")
        await seat.told(f"{stuck} is open")
        await seat.press("p")
        await seat.told("The fleet is paused")
        await seat.until(lambda: "PAUSED" in _head(seat.app), "that it is paused")
        await seat.press("p")
        await seat.told("The fleet goes on")
        await seat.press("s")
        await seat.told("Select a session first.")

    seated(server, scene)
    assert project.task("T5").state is TaskState.CANCELLED


def _head(app: WatchApp) -> str:
    return str(app.query_one("#head", Static).content)


def test_the_log_of_one_thing_and_of_everything_goes_on_by_itself(server: Served) -> None:
    make_busy(server.project)

    async def scene(seat: Seat) -> None:
        await seat.finds("Write the manual")
        await seat.press("l")
        await seat.until(lambda: "task created T5" in seat.detail, "the log of T5")
        assert "T6" not in seat.detail
        await seat.press("l")
        await seat.until(lambda: "T6" in seat.detail, "the log of everything")
        server.project.services.fleet.pause_fleet(PERSON, reason="release day")
        await seat.until(lambda: "release day" in seat.detail, "what has happened since")
        await seat.press("l")
        await seat.until(lambda: "task created" not in seat.detail, "the details again")

    seated(server, scene)


def test_text_that_looks_like_markup_or_steers_a_terminal_is_only_text(server: Served) -> None:
    make_busy(server.project)

    async def scene(seat: Seat) -> None:
        await seat.finds("gnp")
        picture = seat.app.export_screenshot()
        assert "[red]bold" in picture
        assert "gnp.exe" in seat.detail
        assert not set("\u202e\u2066\x1b\x07") & set(picture)

    assert "[red]bold[/red]" in NASTY
    seated(server, scene)
