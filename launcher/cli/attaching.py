"""`sf-launch session worker-2`: a person goes on in a worker's session, in their own terminal.

The server is told who asks; the launcher ends the session's own process; then the real client runs
here with the same conversation, and afterwards the session goes back. Behind `sf session attach`.
"""

import contextlib
import getpass
import os
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

from launcher.cli.terminal import is_terminal, run_in_terminal, terminal_name
from launcher.core.attached import Reading, read_status
from launcher.core.command_line import (
    STATUS_VARIABLE,
    TITLE_VARIABLE,
    HeadlessSession,
    attached_command,
    session_environment,
)
from launcher.core.observation import one_line
from launcher.core.tokens import Tokens
from launcher.core.usage import Amount, by_day
from launcher.fleet.family import SESSION_VARIABLE, end_family
from launcher.fleet.report import reported
from launcher.fleet.session import EXIT_SECONDS, GRACE_SECONDS, INTERRUPT_SECONDS, STEP_SECONDS
from launcher.prompts import write_prompt
from launcher.settings import ROOT_VARIABLE, require_claude
from sf_mcp import process
from sf_mcp.client import Client, address_of, connect
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import InvalidInput, ServerUnreachable, StoneforgeError
from sf_mcp.core.exits import ExitCode
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role, SessionId
from sf_mcp.settings import SettingsFile

ASK_SECONDS = 0.1
"""Between two looks at whether the session's own process has ended."""
WAIT_SECONDS = STEP_SECONDS + INTERRUPT_SECONDS + EXIT_SECONDS + 2 * GRACE_SECONDS + 15
"""For that: what the launcher takes at most, and some time for snapshots."""
REPORT_SECONDS = 2.0
"""Between two looks at what the client's status line was told."""


def attach(root: Path, session: str, *, is_urgent: bool) -> ExitCode:
    """Take the session over, run the client in this terminal, and give the session back.

    Raises:
        InvalidInput: there is no terminal.
        ServerUnreachable: no server runs, or nothing ends the session's own process.
        ClientUnusable: Claude Code is missing or too old.
        StoneforgeError: the server refuses: somebody else has it, it has ended, it is no worker.
    """
    layout = Layout(root)
    if not is_terminal():
        raise InvalidInput(
            "Claude Code needs a terminal for this, and there is none.",
            remedy=f"Run it in a terminal of your own: sf session attach {session}",
        )
    client = _server(layout)
    settings = SettingsFile(layout.config).current()
    claude = require_claude(settings.orchestrator.claude_path, os.environ)
    prompt = write_prompt(layout, Role.WORKER)
    wish = _Wish(client, session, is_urgent=is_urgent)
    try:
        with wish.withdrawn_unless_given():
            view = wish.wait()
    except KeyboardInterrupt:
        _tell(f"{session} is left to the fleet.")
        return ExitCode.INTERRUPTED
    found, seat = view["session"], view["seat"]
    address = address_of(layout)
    transcript = ""
    try:
        if address is None:
            raise ServerUnreachable("The server has gone.", remedy="Start it with `sf serve`.")
        # Of somebody before, whose terminal was killed.
        end_family(found["id"], grace_seconds=GRACE_SECONDS)
        command = attached_command(
            HeadlessSession(
                claude=claude.path,
                role=Role.WORKER,
                session_id=SessionId(found["id"]),
                is_resumed=True,
                model=found["model"],
                mcp_url=f"{address.url}/{Role.WORKER.value}/mcp",
                hook_url=f"{address.url}/hooks",
                worktree=seat["cwd"],
                prompt_file=str(prompt),
                allowed_tools=settings.agents.worker.allowed_tools,
            )
        )
        status = layout.logs / "sessions" / f"{found['name']}-{found['id'][:8]}.status"
        status.unlink(missing_ok=True)
        with _measured(layout, found, status) as measure:
            run_in_terminal(command, cwd=Path(seat["cwd"]), env=_environment(layout, view, status))
        transcript = measure.transcript
        for left in (status, status.with_name(f"{status.name}.new")):
            left.unlink(missing_ok=True)
    finally:
        end_family(found["id"], grace_seconds=GRACE_SECONDS)
        _give_back(layout, found, transcript)
    return ExitCode.DONE


def _server(layout: Layout) -> Client:
    client = connect(layout.root)
    if client is None:
        raise ServerUnreachable(
            "No server runs for this project, so there is no session to go on in.",
            remedy="Run `sf serve` in another terminal, then this again.",
        )
    return client


class _Wish:
    """A person who waits for a session."""

    def __init__(self, client: Client, session: str, *, is_urgent: bool) -> None:
        self._client = client
        self._session = session
        self._is_urgent = is_urgent
        self._has_seat = False

    def wait(self) -> Any:
        """Return the server's word with the seat.

        Raises:
            ServerUnreachable: the session's own process does not end.
            StoneforgeError: the server refuses.
        """
        deadline = time.monotonic() + WAIT_SECONDS
        is_told = False
        while True:
            view = self._client.call(
                "take_over_session",
                session=self._session,
                pid=os.getpid(),
                process_started=process.start_time(os.getpid()),
                by=_who(),
                is_urgent=self._is_urgent,
            )
            # Names are given again to other sessions; ids are not.
            self._session = view["session"]["id"]
            if view["seat"] is not None:
                self._has_seat = True
                return view
            if not is_told:
                _tell(self._waits_for(view))
                is_told = True
            if time.monotonic() >= deadline:
                raise ServerUnreachable(
                    f"{view['session']['name']} has not been handed over within "
                    f"{WAIT_SECONDS:.0f} s, so no launcher seems to run.",
                    remedy="Start the fleet (`sf serve`, or `sf-launch`), then try again.",
                )
            time.sleep(ASK_SECONDS)

    def _waits_for(self, view: Any) -> str:
        session = view["session"]
        doing = f" ({one_line(session['last_line'])})" if session["last_line"] else ""
        name = f"{session['name']} on {session['subject']}, {one_line(view['title'])}"
        if self._is_urgent:
            return f"Interrupting {name}{doing}: at most {INTERRUPT_SECONDS + EXIT_SECONDS:.0f} s."
        return (
            f"Waiting for {name}{doing} to end its step, at most {STEP_SECONDS:.0f} s; then it is "
            "interrupted. Ctrl-C leaves it alone; --now interrupts it at once."
        )

    @contextlib.contextmanager
    def withdrawn_unless_given(self) -> Generator[None]:
        try:
            yield
        finally:
            if not self._has_seat:
                with contextlib.suppress(StoneforgeError):
                    self._client.call("give_back_session", session=self._session, pid=os.getpid())


def _who() -> str:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = f"user {os.getuid()}"
    terminal = terminal_name()
    return f"{user} at {terminal}" if terminal else user


def _environment(layout: Layout, view: Any, status: Path) -> dict[str, str]:
    found, seat = view["session"], view["seat"]
    of_git: dict[str, str] = seat["environment"]
    title = f"{found['name']} on {found['subject']}: {one_line(view['title'], 60)}"
    return session_environment(
        os.environ,
        token=seat["token"],
        author_name=of_git.get("GIT_AUTHOR_NAME", ""),
        author_email=of_git.get("GIT_AUTHOR_EMAIL", ""),
        extra={
            **of_git,
            ROOT_VARIABLE: str(layout.root),
            SESSION_VARIABLE: found["id"],
            STATUS_VARIABLE: str(status),
            TITLE_VARIABLE: f"{title} (/exit gives it back)",
        },
    )


class _Measure:
    """Reports what the client tells of context and cost, until it is closed."""

    def __init__(self, layout: Layout, session: Any, status: Path) -> None:
        self._layout = layout
        self._session = session
        self._status = status
        self._is_over = threading.Event()
        self._told: Reading | None = None
        self._cost_before: float | None = None
        self._days: dict[str, Amount] = {}
        self.transcript = ""

    def run(self) -> None:
        while not self._is_over.wait(REPORT_SECONDS):
            self.report()
        self.report()

    def close(self) -> None:
        self._is_over.set()

    def report(self) -> None:
        """Report what is new; a server that does not answer is told the next time."""
        try:
            reading = read_status(self._status.read_bytes())
        except OSError:
            return
        # After /clear the client is in another conversation, whose fill is not this session's.
        if reading is None or reading == self._told:
            return
        if reading.session_id != self._session["id"]:
            return
        if self._cost_before is None:
            # The client counts on from where it was; a turn has hardly been paid for yet.
            self._cost_before = min(reading.cost_usd, self._session["cost_usd"])
        cost = max(0.0, reading.cost_usd - self._cost_before)
        total = Amount(tokens=Tokens(), coordination=0, cost_usd=cost)
        self._days = by_day(self._days, total, utc_now().date().isoformat())
        self.transcript = reading.transcript
        try:
            client = connect(self._layout.root)
            if client is None:
                return
            client.call(
                "session_heard",
                session_id=self._session["id"],
                context_tokens=reading.context_tokens,
                context_window=reading.context_window,
                cost_usd=self._session["cost_usd"] + cost,
                usage=[reported(day, amount) for day, amount in self._days.items()],
            )
        except StoneforgeError:
            return
        self._told = reading


@contextlib.contextmanager
def _measured(layout: Layout, session: Any, status: Path) -> Generator[_Measure]:
    measure = _Measure(layout, session, status)
    thread = threading.Thread(target=measure.run, daemon=True)
    thread.start()
    try:
        yield measure
    finally:
        measure.close()
        thread.join()


def _give_back(layout: Layout, session: Any, transcript: str) -> None:
    """Give the session back, and say what becomes of it. Our own end does it too, only later."""
    try:
        client = connect(layout.root)
        if client is None:
            raise ServerUnreachable(
                "The server does not answer.",
                remedy=f"{session['name']} goes back to the fleet when it runs again (`sf serve`).",
            )
        given = client.call(
            "give_back_session", session=session["id"], pid=os.getpid(), transcript=transcript
        )
    except StoneforgeError as error:
        _tell(str(error))
        return
    _tell(given["sentence"])


def _tell(text: str) -> None:
    # The terminal may have been closed.
    with contextlib.suppress(OSError):
        print(text, file=sys.stderr, flush=True)
