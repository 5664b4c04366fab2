"""Every effect that a piece of the server has on the disk, in order, and its death at any of them.

An effect is a process that is started, a transaction of SQLite that is committed, or a call that
makes, renames, removes or opens for writing something below the project's root. Python itself
tells of the first and the last (https://peps.python.org/pep-0578), the connection of the second,
so that whatever the server comes to do later is enumerated without a word here.

As a program it is a nursery: everything is imported once, then a process is forked for each
request, carries out one operation under a `Recorder`, and dies by SIGKILL where it is told to.
Between two effects nothing reaches the disk. So the instant after one is the instant before the
next, and instants that leave the same files behind need to be tried only once.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache, partial
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGING = ("os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
IMMUTABLE = "/objects/"
"""Files of git that never change once they are there."""
BOUND_SECONDS = 60.0


class Kind(StrEnum):
    """What an effect is."""

    PROCESS = "process"
    COMMIT = "commit"
    FILE = "file"
    WRITE = "write"
    """A file is opened for writing: it is empty for an instant."""


class How(StrEnum):
    """Where at an effect the server dies."""

    BEFORE = "before it"
    BEGUN = "when it has begun"
    """A file that is written is empty; a process that was started goes on alone."""
    CUT = "in the middle, with it"
    """The process that was started is killed too, half-way through."""


@dataclass(frozen=True, slots=True)
class Effect:
    kind: Kind
    name: str
    before: str
    """Stands for all files as they are before it."""
    seconds: float = 0.0
    """How long a process took."""


@dataclass(frozen=True, slots=True)
class Recording:
    """All effects of an operation, and what the files are like at its end."""

    effects: tuple[Effect, ...]
    after: str

    def count(self, kind: Kind) -> int:
        return sum(effect.kind is kind for effect in self.effects)

    def instants(self, *, all_of_them: bool = False) -> list[tuple[int, How]]:
        """Return where to die: before each effect, within those that take a while, at the end.

        The number of the effect is from 0; the end is before the one that does not come. Those
        that leave the files as an earlier instant does are left out, unless `all_of_them`.
        """
        states = [*(effect.before for effect in self.effects), self.after]
        found: list[tuple[int, How]] = []
        for number, state in enumerate(states):
            if all_of_them or state not in states[:number]:
                found.append((number, How.BEFORE))
            if number == len(self.effects) or state == states[number + 1]:
                continue
            match self.effects[number].kind:
                case Kind.WRITE:
                    found.append((number, How.BEGUN))
                case Kind.PROCESS:
                    found += [(number, How.BEGUN), (number, How.CUT)]
                case Kind.COMMIT | Kind.FILE:
                    pass
        return found

    def name_of(self, instant: tuple[int, How]) -> str:
        number, how = instant
        if number == len(self.effects):
            return "at the end"
        return f"effect {number + 1} of {len(self.effects)}, {how}: {self.effects[number].name}"


@dataclass
class Recorder:
    """Sees every effect below `root` in this process; dies at the one numbered `at`."""

    root: str
    report: Path
    at: int | None = None
    how: How = How.BEFORE
    seconds: float = 0.0
    """How long the process that is cut would take."""
    effects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    commits: int = 0
    """As SQLite tells of them."""
    _is_looking: bool = False

    def install(self) -> None:
        """Begin; there is no way to end it but the process's own end."""
        setattr(subprocess, "Popen", type("Popen", (_Child,), {"recorder": self}))  # noqa: B010
        setattr(sqlite3, "connect", partial(sqlite3.connect, factory=_connection_class(self)))  # noqa: B010
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self._is_looking:
            return
        if event == "subprocess.Popen":
            self.meets(Kind.PROCESS, " ".join(_words(arguments[1])))
        elif event in CHANGING:
            paths = _paths(event, arguments)
            if any(self._is_below(path) for path in paths):
                names = " -> ".join(os.path.relpath(path, self.root) for path in paths)
                self.meets(Kind.FILE, f"{event} {names}")
        elif event == "open" and not isinstance(arguments[0], int):
            path, flags = str(Path(os.fsdecode(arguments[0])).absolute()), arguments[2]
            if flags & WRITING and self._is_below(path):
                opened = partial(os.open, path, flags & ~os.O_EXCL, 0o666)
                self.meets(Kind.WRITE, f"open {os.path.relpath(path, self.root)}", begin=opened)

    def _is_below(self, path: str) -> bool:
        return path.startswith(self.root + "/")

    def meets(self, kind: Kind, name: str, begin: Callable[[], object] = lambda: None) -> None:
        """Note an effect that comes next; die if it is the one."""
        if len(self.effects) == self.at and (self.how is How.BEFORE or kind is Kind.WRITE):
            self._is_looking = True
            if self.how is How.BEGUN:
                begin()
            die()
        state = "" if self.at is not None else self._state()
        self.effects.append({"kind": kind, "name": name, "before": state, "seconds": 0.0})

    def has_begun(self, child: "subprocess.Popen[Any]") -> None:
        """Leave the process that was just started to itself, or take it along."""
        self._is_looking = True
        self.report.write_text(json.dumps({"left": child.pid}))
        if self.how is How.CUT:
            time.sleep(self.seconds / 2)  # the instant of the kill, not a wait for anything
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        die()

    def finish(self) -> None:
        """Come to the operation's end: die there, or report what was seen."""
        if self.at is not None:
            assert self.at == len(self.effects), "the operation ended before it came to its death"
            die()
        seen = sum(effect["kind"] is Kind.COMMIT for effect in self.effects)
        assert seen == self.commits, "something was committed that the recorder did not see"
        after = self._state()
        self.report.write_text(json.dumps({"effects": self.effects, "after": after}))

    def _state(self) -> str:
        self._is_looking = True
        try:
            return state_of(self.root)
        finally:
            self._is_looking = False


def die() -> None:
    """Be gone, as by `kill -9`."""
    os.kill(os.getpid(), signal.SIGKILL)


def state_of(root: str) -> str:
    """Return a digest of every file below `root`, by name and contents."""
    digest = hashlib.sha1(usedforsecurity=False)
    for path in sorted(Path(root).rglob("*")):
        digest.update(f"{path}\0{path.lstat().st_mode}\0".encode())
        if path.is_symlink():
            digest.update(os.fsencode(path.readlink()))
        elif path.is_file() and IMMUTABLE not in str(path) and path.suffix != ".db-shm":
            digest.update(path.read_bytes())
    return digest.hexdigest()


class _Child(subprocess.Popen[Any]):
    """A process of which the recorder hears when it has begun, and how long it took."""

    recorder: Recorder

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._effect, self._began = len(self.recorder.effects), time.monotonic()
        super().__init__(*arguments, **options)
        if self._effect == self.recorder.at:
            self.recorder.has_begun(self)

    def wait(self, timeout: float | None = None) -> int:
        code = super().wait(timeout)
        self.recorder.effects[self._effect]["seconds"] = time.monotonic() - self._began
        return code


def _words(command: Sequence[str]) -> list[str]:
    """Return a command without the options that each git is given."""
    words = [os.fsdecode(word) for word in command]
    while words[1:2] == ["-c"] and len(words) > 3:
        del words[1:3]
    return words[:7]


def _paths(event: str, arguments: tuple[Any, ...]) -> list[str]:
    """Return the one or two whole paths of an event; what it is told by may be relative."""
    count = 2 if event in ("os.rename", "os.link", "os.symlink") else 1
    numbers = [one for one in arguments[count:] if isinstance(one, int)]
    found: list[str] = []
    for number, path in enumerate(arguments[:count]):
        if isinstance(path, int):
            found.append(str(_of_descriptor(path)))
            continue
        # The last numbers are the folders that names are relative to; -1 is the working directory.
        above = numbers[number - count] if len(numbers) >= count else -1
        folder = _of_descriptor(above) if above >= 0 else Path.cwd()
        found.append(str(folder / os.fsdecode(path)))
    return found


def _of_descriptor(number: int) -> Path:
    if sys.platform == "linux":
        return Path(f"/proc/self/fd/{number}").readlink()
    path = fcntl.fcntl(number, fcntl.F_GETPATH, b"\0" * 1024)
    return Path(os.fsdecode(path.rstrip(b"\0")))


def _connection_class(recorder: Recorder) -> type[sqlite3.Connection]:
    class Connection(sqlite3.Connection):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._written: dict[str, None] = {}
            self.set_trace_callback(self._hear)

        def _hear(self, statement: str) -> None:
            recorder.commits += statement.strip().upper().startswith(("COMMIT", "END"))

        def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
            words = sql.replace("INSERT INTO", "INSERT").replace("DELETE FROM", "DELETE").split()
            if words[0] == "COMMIT":
                recorder.meets(Kind.COMMIT, "commit: " + ", ".join(self._written))
                self._written.clear()
            elif words[0] in ("INSERT", "UPDATE", "DELETE", "REPLACE"):
                assert self.in_transaction, f"outside a transaction: {sql}"
                self._written[" ".join(words[:2])] = None
            elif words[0] == "ROLLBACK":
                self._written.clear()
            return super().execute(sql, *parameters)

    return Connection


# -- the nursery -----------------------------------------------------------------------------------


def record(operation: str, root: Path, facts: Any, report: Path) -> Recording:
    """Carry out an operation in a process of its own; return all of its effects."""
    code = _ask({"operation": operation, "root": str(root), "facts": facts, "report": str(report)})
    said = json.loads(report.read_text())
    assert code == 0, said["error"]
    effects = [Effect(Kind(one.pop("kind")), **one) for one in said["effects"]]
    return Recording(tuple(effects), said["after"])


def kill(
    operation: str,
    root: Path,
    facts: Any,
    report: Path,
    recording: Recording,
    instant: tuple[int, How],
) -> int | None:
    """Carry out an operation in a process that dies at `instant`.

    Return the process group that it has left running, if there is one.
    """
    number, how = instant
    seconds = recording.effects[number].seconds if number < len(recording.effects) else 0.0
    code = _ask(
        {
            "operation": operation,
            "root": str(root),
            "facts": facts,
            "report": str(report),
            "at": number,
            "how": how,
            "seconds": seconds,
        }
    )
    said: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {}
    report.unlink(missing_ok=True)
    assert code == -signal.SIGKILL, said.get("error", f"it ended with {code}")
    return said.get("left")


def _ask(request: dict[str, Any]) -> int:
    nursery = _nursery()
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(json.dumps({**request, "env": dict(os.environ)}) + "\n")
    nursery.stdin.flush()
    return int(nursery.stdout.readline())


@cache
def _nursery() -> "subprocess.Popen[str]":
    # It ends when its stdin does, with this process.
    return subprocess.Popen(
        [sys.executable, "-m", "tests.service.effects"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _serve() -> None:
    # By its real name, so that there is one `Kind` and one `How`.
    from tests.service import effects
    from tests.service.operations_that_die import OPERATIONS, warm_up

    warm_up()
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            effects.carry_out(json.loads(line), OPERATIONS)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def carry_out(request: Any, operations: Any) -> None:
    """Carry out a request, in a process that ends with it."""
    code, report = 1, Path(request["report"])
    try:
        os.environ.clear()
        os.environ.update(request["env"])
        signal.alarm(int(BOUND_SECONDS))
        recorder = Recorder(
            root=request["root"],
            report=report,
            at=request.get("at"),
            how=How(request.get("how", How.BEFORE)),
            seconds=request.get("seconds", 0.0),
        )
        recorder.install()
        operations[request["operation"]].carry_out(Path(request["root"]), request["facts"])
        recorder.finish()
        code = 0
    except BaseException:
        report.write_text(json.dumps({"error": traceback.format_exc()}))
    finally:
        os._exit(code)


if __name__ == "__main__":
    _serve()
