"""`sf watch` in a real terminal (tmux), in front of a real server."""

import re
from pathlib import Path

from sf_mcp.cli.output import width_of
from tests.cli.builders_project import SF, Person, someone_with_a_plan
from tests.cli.builders_standing import WAITS_FOR_THE_PERSON
from tests.cli.builders_work import someone_asks, someone_hands_in
from tests.cli.tmux import a_terminal

NASTY = "[red]bold[/red] \u202egnp.exe \u2066x 漢字漢字漢字漢字漢字漢字漢字漢字"


def someone_with_a_fleet(folder: Path) -> Person:
    """A merge request for the person, a question of worker-2, and two ready tasks."""
    person = someone_with_a_plan(folder, "Add a header", "Store invitations", NASTY, "Sign it")
    (person.folder / "config.yaml").write_text(WAITS_FOR_THE_PERSON)
    someone_hands_in(person, "text\n")
    someone_asks(person, "Which table?")
    return person


def test_a_person_settles_what_waits_in_a_terminal_over_a_restart_of_the_server(
    tmp_path: Path,
) -> None:
    person = someone_with_a_fleet(tmp_path)
    environment = person.environment
    with a_terminal(tmp_path, [SF, "watch"], cwd=person.root, environment=environment) as terminal:
        terminal.shows("sf serve", "this goes on by itself")
        with person.serving():
            terminal.shows("live", "Waits for you (2)", "Q1 question", "M1 review", "Ready (2)")
            # A filter, a question, an option by its number.
            terminal.press("/")
            terminal.type("Which table")
            terminal.press("Enter")
            terminal.lacks("M1 review")
            terminal.shows("Answer it: sf question answer Q1")
            terminal.press("Enter")
            terminal.shows("1. yes", "2. no", "1-2 for an option")
            terminal.type("2")
            terminal.shows("Answer: no")
            terminal.press("Enter")
            terminal.shows("Q1 is answered")
            terminal.press("Escape")
            terminal.shows("Waits for you (1)")
            # The next that waits: a merge request, approved as it is shown.
            terminal.press("n")
            terminal.shows("Summary by worker-1", "Changes: 1 file")
            terminal.press("a")
            terminal.shows("M1 is approved at", "Merge train: empty", "Waits for you: nothing")
            # A session is stopped after one question.
            terminal.press("/")
            terminal.shows("letters to look for")
            terminal.type("Store")
            terminal.shows("only 'Store'")
            terminal.press("Enter")
            terminal.shows("only 'Store'", "session:", "Store invitations")
            terminal.press("s")
            terminal.shows("Stop worker-2?")
            terminal.press("y")
            terminal.shows("worker-2 is being stopped")
            terminal.press("Escape")
            # An Escape with a key right behind it is another key.
            terminal.lacks("only 'Store'")
            terminal.press("?")
            terminal.shows("Go to the next thing that waits for you.")
            terminal.press("Escape")
            terminal.lacks("Go to the next thing that waits for you.")
            terminal.resize(80, 24)
            screen = terminal.shows("? help  q quit", "Ready (2)", "[red]bold[/red]")
            assert all(width_of(line) <= 80 for line in screen.splitlines())
            assert not set(screen) & set("\u202e\u2066")
        terminal.shows("NOT CONNECTED", "Ready (2)")
        with person.serving():
            terminal.lacks("NOT CONNECTED")
            person.ok("task", "create", "--title", "A late one")
            terminal.shows("A late one", "Ready (3)")
            terminal.press("q")
            terminal.shows("ended 0")
        terminal.lacks("Ready (3)")
        # Its lines are the terminal's again: typed, shown, and given on at Enter.
        terminal.type("still here")
        terminal.press("Enter")
        terminal.until(lambda screen: screen.count("still here") == 2, "what is typed, twice")


def test_without_colours_and_without_a_server_ctrl_c_leaves_the_terminal_as_it_was(
    tmp_path: Path,
) -> None:
    person = someone_with_a_plan(tmp_path, "One")
    environment = {**person.environment, "NO_COLOR": "1"}
    with a_terminal(tmp_path, [SF, "watch"], cwd=person.root, environment=environment) as terminal:
        terminal.shows("No server is running.", "sf serve")
        assert not re.search(r"\x1b\[[0-9;]*(3[0-7]|4[0-7]|9[0-7]|10[0-7]|[34]8;)", terminal.raw)
        terminal.press("C-c")
        terminal.shows("ended 130")
        terminal.lacks("this goes on by itself")
