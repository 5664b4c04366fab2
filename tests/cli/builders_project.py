"""A person at a terminal: a repository, a HOME of its own, and the installed `sf`."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.cli.forked import run_forked

SF = str(Path(sys.executable).with_name("sf"))
SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Runs commands in `root`, with nothing of the test's own environment."""

    root: Path
    home: Path
    extra: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.defpath}:/usr/local/bin"
        return {
            "PATH": path,
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "GIT_CONFIG_NOSYSTEM": "1",
            **self.extra,
        }

    @property
    def folder(self) -> Path:
        return self.root / ".stoneforge"

    def sf(
        self,
        *arguments: str,
        cwd: Path | None = None,
        stdin: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Done:
        """Run the installed command."""
        ran = subprocess.run(
            [SF, *arguments],
            cwd=cwd or self.root,
            env={**self.environment, **(env or {})},
            input=stdin.encode(),
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        out, err = ran.stdout.decode(errors="replace"), ran.stderr.decode(errors="replace")
        assert "Traceback" not in err, err
        return Done(code=ran.returncode, out=out, err=err)

    def ok(self, *arguments: str, cwd: Path | None = None, stdin: str = "") -> Done:
        """Run what must work, in a forked process: to arrange a test, or to look at its result."""
        code, out, err = run_forked(
            arguments, cwd=cwd or self.root, env=self.environment, stdin=stdin.encode()
        )
        done = Done(code=code, out=out, err=err)
        assert done.code == 0, f"sf {' '.join(arguments)[:200]}: {done.code} {done.out}{done.err}"
        return done

    def git(self, *arguments: str, cwd: Path | None = None) -> str:
        ran = subprocess.run(
            ["git", *arguments],
            cwd=cwd or self.root,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"git {' '.join(arguments)}: {ran.stderr}"
        return ran.stdout.strip()

    def commit(self, files: Mapping[str, str], message: str = "a change") -> None:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.git("add", "--all", "--", ".")
        self.git("commit", "--quiet", "--allow-empty", "-m", message)

    def start(self, *arguments: str, env: Mapping[str, str] | None = None) -> "Running":
        log = self.home / f"sf-{time.monotonic_ns()}.log"
        with log.open("wb") as file:
            child = subprocess.Popen(
                [SF, *arguments],
                cwd=self.root,
                env={**self.environment, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return Running(child=child, log=log)

    @contextmanager
    def serving(self, *arguments: str) -> "Generator[Running]":
        """Have `sf serve --no-fleet` run for the time of the block."""
        server = self.start("serve", "--no-fleet", *arguments)
        try:
            server.wait_for("Serving ")
            yield server
        finally:
            server.end()


@dataclass(slots=True, kw_only=True)
class Running:
    """A command that goes on until it is ended."""

    child: subprocess.Popen[bytes]
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for(self, text: str, *, times: int = 1) -> None:
        deadline = time.monotonic() + SECONDS
        while self.said.count(text) < times:
            assert time.monotonic() < deadline, f"no {text!r} in: {self.said}"
            assert self.child.poll() is None, f"ended ({self.child.returncode}): {self.said}"
            time.sleep(0.02)

    def interrupt(self) -> int:
        """Press Ctrl-C once; return the exit code."""
        self.child.send_signal(signal.SIGINT)
        return self.child.wait(SECONDS)

    def kill(self) -> None:
        self.child.kill()
        self.child.wait(SECONDS)

    def end(self) -> None:
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGINT)
        try:
            self.child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait(SECONDS)


def a_person(
    folder: Path, *, name: str = "repo", branch: str = "main", identity: bool = True
) -> Person:
    """Someone in an empty repository without a commit."""
    person = Person(root=folder / name, home=folder / "home")
    person.root.mkdir(parents=True)
    person.home.mkdir()
    person.git("init", "--quiet", "-b", branch)
    if identity:
        person.git("config", "--global", "user.name", "Ada Lovelace")
        person.git("config", "--global", "user.email", "ada@example.org")
    return person


def someone_with_a_commit(folder: Path, *, name: str = "repo", branch: str = "main") -> Person:
    person = a_person(folder, name=name, branch=branch)
    person.commit({"readme.md": "hello\n"}, "first")
    return person


def someone_set_up(folder: Path) -> Person:
    person = someone_with_a_commit(folder)
    person.ok("init")
    return person


def someone_with_a_plan(folder: Path, *titles: str) -> Person:
    """The quick start: a plan called Sprint 14 with tasks of these titles."""
    person = someone_set_up(folder)
    person.ok("plan", "create", "--title", "Sprint 14")
    for title in titles:
        person.ok("task", "create", "--title", title)
    return person


def on_a_terminal(person: Person, *arguments: str, width: int = 80, env: dict[str, str]) -> str:
    """Run `sf` with a terminal of that width as its output; return what appeared there."""
    leader, follower = pty.openpty()
    child = subprocess.Popen(
        [SF, *arguments],
        cwd=person.root,
        env={**person.environment, "TERM": "xterm-256color", "COLUMNS": str(width), **env},
        stdin=subprocess.DEVNULL,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        poll = select.poll()
        poll.register(leader, select.POLLIN)
        if not poll.poll(100):
            if child.poll() is not None:
                break
            continue
        try:
            chunk = os.read(leader, 65536)
        except OSError:  # Linux: the last holder of the other end has closed it
            break
        if not chunk:
            break
        seen += chunk
    os.close(leader)
    assert child.wait(SECONDS) == 0, seen
    return seen.decode(errors="replace").replace("\r\n", "\n")
