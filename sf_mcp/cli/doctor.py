"""`sf doctor`: what is wrong here, why it matters, and what to do; `--fix` does what is safe."""

import json
import os
import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from sf_mcp.cli.launching import launcher_program
from sf_mcp.cli.lock import server_lock
from sf_mcp.cli.options import AsJson, example
from sf_mcp.cli.output import hint, line, print_json, say
from sf_mcp.cli.project import as_person, looked_at
from sf_mcp.client import TOKEN_VARIABLE
from sf_mcp.clock import utc_now
from sf_mcp.core.encoding import to_json
from sf_mcp.core.errors import AlreadyRunning, InvalidInput, StoneforgeError
from sf_mcp.core.exits import ExitCode
from sf_mcp.core.findings import Finding, Severity
from sf_mcp.core.layout import Layout
from sf_mcp.service import Services, open_services
from sf_mcp.service.doctor.examination import FAMILIES, Answer, examine, worst
from sf_mcp.service.doctor.look import ClientFacts, Look

CLIENT_SECONDS = 90.0
"""For the launcher to ask Claude Code for its version (a cold disk) and for its login."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    lines = (
        "sf doctor",
        "sf doctor database forge",
        "sf doctor --fix --dry-run",
        "sf doctor --fix",
    )
    app.command(epilog=example(*lines))(doctor)


def doctor(
    about: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ABOUT]...", help=f"Only this: {', '.join(FAMILIES)}."),
    ] = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Mend what can be mended without losing anything.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="With --fix: only say what it would do.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look for what is wrong; change nothing without --fix. Exit code 1 if there is a problem."""
    families = about or []
    if unknown := [name for name in families if name not in FAMILIES]:
        raise InvalidInput(
            f"There is nothing called {unknown[0]!r} to look at.",
            remedy=f"Name any of: {', '.join(FAMILIES)}.",
        )
    if dry_run and not fix:
        raise InvalidInput(
            "--dry-run is about --fix.", remedy="Without --fix nothing is changed in any case."
        )
    if not fix:
        layout = looked_at()
        _tell(layout, [answer.finding for answer in _examined(layout, families)], as_json=as_json)
    elif dry_run:
        layout = as_person("mend the project")
        answers = _examined(layout, families)
        would = [answer.mend.what for answer in answers if answer.mend is not None]
        _tell(
            layout,
            [answer.finding for answer in answers],
            would=would,
            as_json=as_json,
            is_dry=True,
        )
    else:
        layout = as_person("mend the project")
        with _to_ourselves(layout):
            done = _mend(layout, _examined(layout, families))
        # As it is now: what was mended is not there any more.
        after = [answer.finding for answer in _examined(layout, families)]
        _tell(layout, after, done=done, as_json=as_json)


def _examined(layout: Layout, families: Sequence[str]) -> list[Answer]:
    look = Look(layout, environ=os.environ, now=utc_now, ask_client=_ask_client)
    return examine(look, families, on_progress=lambda text: hint(f"{text} …"))


@contextmanager
def _to_ourselves(layout: Layout) -> Generator[None]:
    """Hold the state while it is mended, where there is one.

    Raises:
        AlreadyRunning: a server has it.
    """
    if not layout.folder.is_dir():
        yield
        return
    with server_lock(layout) as is_ours:
        if not is_ours:
            raise AlreadyRunning(
                f"A server for {layout.root} runs; nothing is mended beside it.",
                remedy="End it (Ctrl-C in its terminal), then: sf doctor --fix",
            )
        yield


def _mend(layout: Layout, answers: Sequence[Answer]) -> list[str]:
    """Carry out every repair; return what was done, and what could not be."""
    opened: list[Services] = []

    def services() -> Services:
        if not opened:
            opened.append(open_services(layout.root, utc_now))
        return opened[0]

    done: list[str] = []
    try:
        for mend in [answer.mend for answer in answers if answer.mend is not None]:
            hint(f"{mend.what} …")
            try:
                done.append(mend.carry_out(services))
            except (StoneforgeError, OSError) as error:
                done.append(f"Not done: {mend.what}: {error}")
    finally:
        for one in opened:
            one.close()
    return done


def _tell(
    layout: Layout,
    findings: Sequence[Finding],
    *,
    done: Sequence[str] = (),
    would: Sequence[str] = (),
    as_json: bool,
    is_dry: bool = False,
) -> None:
    how_bad = worst(findings)
    if as_json:
        told: dict[str, Any] = {
            "root": str(layout.root),
            "worst": how_bad.value,
            "findings": to_json(findings),
            "done": list(done),
            "would_do": list(would),
        }
        print_json(told)
    else:
        _print(findings)
        for text in done:
            say(f"done: {line(text)}")
        for text in would:
            say(f"would do: {line(text)}")
        if is_dry and not would:
            say("Nothing here can be mended by --fix.")
        _sum_up(findings)
    if how_bad is Severity.PROBLEM:
        raise typer.Exit(ExitCode.REFUSED)


def _print(findings: Sequence[Finding]) -> None:
    family = ""
    for finding in findings:
        if finding.family != family:
            family = finding.family
            say(family)
        say(f"  {finding.severity.value:<8} {line(finding.found)}")
        if finding.severity is Severity.OK:
            continue
        say(f"           why: {line(finding.why)}")
        say(f"           do:  {line(finding.remedy)}")
        if finding.fix:
            say(f"           --fix: {line(finding.fix)}")


def _sum_up(findings: Sequence[Finding]) -> None:
    counts = {
        severity: sum(finding.severity is severity for finding in findings) for severity in Severity
    }
    if counts[Severity.PROBLEM] or counts[Severity.WARNING]:
        numbers = [
            f"{counts[severity]} {severity.value}{'' if counts[severity] == 1 else 's'}"
            for severity in (Severity.PROBLEM, Severity.WARNING)
            if counts[severity]
        ]
        say(f"\n{', '.join(numbers)}; {counts[Severity.OK]} fine.")
    else:
        say(f"\nAll is well: {counts[Severity.OK]} looked at.")


def _ask_client(configured: str | None) -> ClientFacts:
    """Have the launcher find Claude Code: what it is started with is the launcher's to know."""
    chosen = ["--claude", configured] if configured is not None else []
    environment = {name: value for name, value in os.environ.items() if name != TOKEN_VARIABLE}
    try:
        ran = subprocess.run(
            [*launcher_program(), "client", "--json", *chosen],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )
        return ClientFacts(**json.loads(ran.stdout))
    except (OSError, ValueError, TypeError, subprocess.TimeoutExpired) as error:
        return ClientFacts(
            path="",
            version="",
            minimum="",
            fault=f"The launcher does not say which Claude Code it would run: {error}",
            remedy="Install Stoneforge again: pipx install --force stoneforge-mcp",
            is_logged_in=None,
            login="",
        )
