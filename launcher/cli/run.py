"""`sf-launch`: the fleet of one project, its screen, its signals, and a server if none is up."""

import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio

from launcher.cli.own_server import running_server
from launcher.cli.screen import JsonLines, Lines, Screen
from launcher.cli.watch import Watch
from launcher.fleet.lock import launcher_lock
from launcher.fleet.loop import Fleet
from launcher.fleet.server import Server
from launcher.settings import require_claude
from sf_mcp.client import address_of
from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.exits import ExitCode
from sf_mcp.core.layout import Layout
from sf_mcp.settings import SettingsFile

TAKEOVER_SECONDS = 30.0
"""How long a launcher that `sf serve` starts waits for one whose own `sf serve` has died."""
PARENT_LOOK_SECONDS = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line asked for."""

    root: Path
    goal: str | None = None
    until_idle: bool = False
    as_json: bool = False
    is_attached: bool = False
    """Started by `sf serve`, and ended with it."""
    parent: int | None = None
    """The process of that `sf serve`; else whoever is the parent when this one begins."""


def run_fleet(options: Options) -> int:
    """Run the fleet until it is stopped or, if asked for, idle; return the exit code.

    Raises:
        StoneforgeError: it cannot run: no Claude Code, another launcher, no server.
    """
    layout = Layout(options.root)
    configured = SettingsFile(layout.config).current().orchestrator.claude_path
    claude = require_claude(configured, os.environ)
    with ExitStack() as stack:
        wait = TAKEOVER_SECONDS if options.is_attached else 0.0
        stack.enter_context(launcher_lock(layout.launcher_lock, wait_seconds=wait))
        if not options.is_attached:
            stack.enter_context(running_server(layout))
        screen = _screen(options, layout, stack)
        ended = anyio.run(_run, options, layout, claude.path, screen)
    if ended.failure is not None:
        raise ended.failure
    return ended.code


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ended:
    code: ExitCode = ExitCode.DONE
    failure: StoneforgeError | None = None


def _screen(options: Options, layout: Layout, stack: ExitStack) -> Screen:
    if options.as_json:
        return JsonLines()
    if not sys.stdout.isatty():
        return Lines()
    from rich.console import Console

    from launcher.cli.table import LiveTable

    def address() -> str:
        found = address_of(layout)
        return found.url if found is not None else ""

    return stack.enter_context(LiveTable(Console(), address))


async def _run(options: Options, layout: Layout, claude: str, screen: Screen) -> _Ended:
    server = Server(layout.root, screen.say)
    fleet = Fleet(layout, server, claude=claude, environ=os.environ, say=screen.say)
    watch = Watch(layout, server, fleet, screen, until_idle=options.until_idle)
    fleet.on_change = watch.wake
    signals: list[int] = []
    failure: StoneforgeError | None = None
    async with anyio.create_task_group() as group:
        await group.start(_heed_signals, fleet, signals)
        if options.is_attached:
            group.start_soon(_heed_parent, fleet, options.parent or os.getppid())
        try:
            if options.goal is not None:
                await server.call_once("set_goal", goal=options.goal)
            address = server.address
            screen.say("fleet_started", f"server {address.url if address else '?'}, {claude}")
            group.start_soon(watch.run)
            await fleet.run()
        except StoneforgeError as error:
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        return _Ended(failure=failure)
    with anyio.move_on_after(2.0):
        await watch.look_once_more()
    screen.say("fleet_stopped", "No session runs any more.")
    if watch.judgement is not None and not watch.judgement.is_done:
        for reason in watch.judgement.reasons:
            screen.say("needs_a_person", reason)
        return _Ended(code=ExitCode.WAITING)
    if options.until_idle and watch.judgement is None:
        return _Ended(code=ExitCode.INTERRUPTED)
    return _Ended()


async def _heed_signals(
    fleet: Fleet,
    signals: list[int],
    *,
    task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """The first Ctrl-C, TERM or HUP ends the fleet gracefully, a second one at once."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as received:
        task_status.started()
        async for number in received:
            signals.append(number)
            if len(signals) == 1:
                fleet.stop("Stopping; once more to end at once.")
            else:
                fleet.kill()


async def _heed_parent(fleet: Fleet, parent: int) -> None:
    """End with the `sf serve` that started us, however it ended: nobody else would end us."""
    # Nothing wakes a process at its parent's end, so there is no event to wait for.
    while os.getppid() == parent:  # noqa: ASYNC110
        await anyio.sleep(PARENT_LOOK_SECONDS)
    fleet.stop("The server's process has ended.")
