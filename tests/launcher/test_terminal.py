"""A client in the person's terminal behaves as if the shell had started it itself."""

import os
import shlex
import signal
import sys
from pathlib import Path

from sf_mcp import process
from tests.launcher.person import CTRL_C, CTRL_Z, Person

REPOSITORY = Path(__file__).parents[2]

CLIENT = """
import os, signal, sys, termios, tty
def hear(number, frame):
    print("heard", signal.Signals(number).name, flush=True)
signal.signal(signal.SIGINT, hear)
signal.signal(signal.SIGCONT, hear)
if sys.argv[1] == "raw":
    tty.setraw(0)
print("client", os.getpid(), "is here.", flush=True)
while (word := sys.stdin.readline().strip()) != "exit":
    print("you said", word, flush=True)
sys.exit(7)
"""
"""Reads lines; in raw mode, as Claude Code is, keys are no signals."""

AROUND = """
import os, sys
from pathlib import Path
from launcher.cli.terminal import run_in_terminal
code = run_in_terminal(sys.argv[1:], cwd=Path.cwd(), env=os.environ)
print("it ended with", code, flush=True)
"""


def a_shell(folder: Path) -> Person:
    """Have a person at a shell with job control."""
    env = {"PATH": os.environ["PATH"], "PS1": "shell> ", "PYTHONPATH": str(REPOSITORY)}
    return Person(
        ["/bin/bash", "--norc", "--noprofile", "-i"], cwd=folder, env={**env, "HOME": str(folder)}
    )


def runs_the_client(person: Person, how: str) -> int:
    """Type the command that runs the client in the terminal; return the client's process."""
    client = (sys.executable, "-c", CLIENT, how)
    command = shlex.join((sys.executable, "-c", AROUND, *client))
    script = person.folder / "run"
    script.write_text(command)
    person.types(f". {script}\r")
    person.sees("is here.")
    words = " ".join(person.screen.split())
    return int(words.rpartition(" is here.")[0].rpartition("client ")[2])


def test_ctrl_c_is_the_clients_and_its_exit_code_is_returned(tmp_path: Path) -> None:
    with a_shell(tmp_path) as person:
        runs_the_client(person, "cooked")
        person.types(CTRL_C)
        person.sees("heard SIGINT")
        person.types("hello\r")
        person.sees("you said hello")
        person.types("exit\r")
        person.sees("it ended with 7")


def test_ctrl_z_stops_both_for_the_shell_and_fg_goes_on(tmp_path: Path) -> None:
    with a_shell(tmp_path) as person:
        runs_the_client(person, "cooked")
        person.types(CTRL_Z)
        person.sees("Stopped")
        person.types("echo the shell is $((40 + 2))\r")
        person.sees("the shell is 42")
        person.types("fg\r")
        person.sees("heard SIGCONT")
        person.types("again\r")
        person.sees("you said again")
        person.types("exit\r")
        person.sees("it ended with 7")


def test_a_client_that_stops_itself_stops_the_command_too(tmp_path: Path) -> None:
    """Claude Code reads Ctrl-Z as a key, and stops its own process."""
    with a_shell(tmp_path) as person:
        client = runs_the_client(person, "cooked")
        os.kill(client, signal.SIGSTOP)
        person.sees("Stopped")
        person.types("fg\r")
        person.sees("heard SIGCONT")
        person.types("exit\r")
        person.sees("it ended with 7")


def test_the_terminal_is_usable_after_a_client_that_was_killed(tmp_path: Path) -> None:
    with a_shell(tmp_path) as person:
        client = runs_the_client(person, "raw")
        os.kill(client, signal.SIGKILL)
        person.sees("it ended with -9")
        person.types("stty -a\r")
        person.sees(" icanon")
        assert "-icanon" not in person.screen


def test_a_closed_terminal_ends_the_client(tmp_path: Path) -> None:
    person = a_shell(tmp_path)
    with person:
        client = runs_the_client(person, "raw")
        started = process.start_time(client)
        person.close_the_terminal()
        person.waits_for(lambda: not process.is_alive(client, started))
