"""The person's own command, run for what they want to hear of (`notify.run`); off by default.

Rule 1: once for each thing, whatever is restarted: it is written down before the command runs.
Rule 2: texts of people and models reach the command as variables of its environment, never as a
part of it.
Rule 3: nothing waits for it, and what it says or breaks changes nothing.
"""

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sf_mcp.core.identity import PERSON, SERVER
from sf_mcp.core.overview import Overview, WaitingKind, WaitingLine
from sf_mcp.core.text import one_line
from sf_mcp.git.checks import check_environment
from sf_mcp.process import Outcome, run
from sf_mcp.service.fleet import FleetService
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import events, facts, notifications, tasks
from sf_mcp.store.notifications import PROBLEM

logger = logging.getLogger(__name__)

TEXT_CHARACTERS = 500
MOST_NAMED = 10
MOST_UNREAD = 1000
"""Events that were looked at and say nothing here, before that is written down."""
LOG_NAME = "notify.log"
SEEN = "notified_until"
"""The fact that holds the newest event that was looked at; missing while nothing is to be run."""
MERGED = "merged"
KINDS: Mapping[WaitingKind, str] = {
    WaitingKind.PAUSED: "needs-input",
    WaitingKind.QUESTION: "needs-input",
    WaitingKind.CONFLICT: "needs-input",
    WaitingKind.BUDGET: "needs-input",
    WaitingKind.REWRITTEN: "needs-input",
    WaitingKind.TARGET: "needs-input",
    WaitingKind.REVIEW: "ready-to-merge",
    WaitingKind.STUCK: "stuck",
}
"""What waits for the person -> what it is called here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One thing that the person wants to hear of."""

    kind: str
    id: str
    since: str
    """Tells it from an earlier time at which the same thing waited."""
    text: str
    command: str
    """What settles it in a terminal; empty when there is nothing to do."""


class NotificationService:
    """Use cases of notifications. Called by one loop of its own."""

    def __init__(self, workspace: Workspace, fleet: FleetService) -> None:
        """Tell of this project."""
        self._workspace = workspace
        self._fleet = fleet
        self._is_off = False
        self.cancel = threading.Event()
        """Set at the server's stop: a command that runs is ended."""

    def send(self) -> None:
        """Run the person's command for what is new, once for each kind."""
        settings = self._workspace.settings.notify
        if settings.run is None:
            self._switch_off()
            return
        self._is_off = False
        for news in self._take(settings.events):
            outcome = self._run(settings.run, news, float(settings.timeout_seconds))
            if not outcome.cancelled:
                self._note(outcome)

    def _note(self, outcome: Outcome) -> None:
        """Tell the person in the overview that they are not told, and why; or that it is over."""
        text = ""
        if outcome.exit_code != 0:
            how = "timed out" if outcome.timed_out else f"failed (exit {outcome.exit_code})"
            how = outcome.could_not_start or how
            text = f"notify.run {how}: see {self._workspace.layout.logs / LOG_NAME}"
            logger.warning("%s", text)
        with self._workspace.read() as tx:
            if (facts.get(tx.db, PROBLEM) or "") == text:
                return
        with self._workspace.write(SERVER) as tx:
            facts.put(tx.db, PROBLEM, text)

    def _switch_off(self) -> None:
        """Forget how far the log was read: switched on again, it tells of what comes then."""
        if self._is_off:
            return
        with self._workspace.write(SERVER) as tx:
            facts.remove(tx.db, SEEN)
            facts.remove(tx.db, PROBLEM)
        self._is_off = True

    def _take(self, wanted: Sequence[str]) -> list[list[News]]:
        """Return what is new, by kind, and write down that it is told."""
        overview = self._fleet.fleet_status(SERVER)
        with self._workspace.read() as tx:
            seen, newest = facts.get(tx.db, SEEN), events.newest_number(tx.db)
            is_read = seen is not None and newest - int(seen) < MOST_UNREAD
            if is_read and not self._new(tx, overview, wanted):
                return []
        with self._workspace.write(SERVER) as tx:
            new = self._new(tx, overview, wanted)
            facts.put(tx.db, SEEN, str(events.newest_number(tx.db)))
            taken: dict[str, list[News]] = {}
            for one in new:
                if notifications.note(tx.db, one.kind, f"{one.id} {one.since}", tx.now):
                    taken.setdefault(one.kind, []).append(one)
            return list(taken.values())

    def _new(self, tx: Transaction, overview: Overview, wanted: Sequence[str]) -> list[News]:
        # A headless director's question for its first minute, and for as long as it is at it.
        is_headless = self._workspace.settings.agents.director.headless
        not_yet = {one.id for one in overview.questions if is_headless and not one.escalated}
        lines = [one for one in overview.waiting if one.id not in not_yet and one.kind in KINDS]
        if (told := events.newest_of(tx.db, "fleet_paused", "")) and told.actor == PERSON.name:
            lines = [one for one in lines if one.kind is not WaitingKind.PAUSED]
        found = [*map(_of_line, lines), *_merged(tx)]
        done = {kind: notifications.told(tx.db, kind) for kind in wanted}
        return [
            one
            for one in found
            if one.kind in done and f"{one.id} {one.since}" not in done[one.kind]
        ]

    def _run(self, command: str, news: Sequence[News], timeout_seconds: float) -> Outcome:
        """Run the command for some news of one kind."""
        layout = self._workspace.layout
        return run(
            ["/bin/sh", "-c", command],
            cwd=layout.root,
            env={**check_environment(os.environ), **environment(layout.root.name, news)},
            timeout_seconds=timeout_seconds,
            output_path=layout.logs / LOG_NAME,
            cancel=self.cancel,
            most_output_bytes=64 * 1024,
        )


def environment(project: str, news: Sequence[News]) -> dict[str, str]:
    """Return the variables in which the command finds what it tells of."""
    first = news[0]
    texts = [one.text for one in news[:MOST_NAMED]]
    if len(news) > MOST_NAMED:
        texts.append(f"and {len(news) - MOST_NAMED} more")
    return {
        "SF_KIND": first.kind,
        "SF_IDS": " ".join(one.id for one in news),
        "SF_TITLE": one_line(f"{project}: {first.kind.replace('-', ' ')}", TEXT_CHARACTERS),
        "SF_TEXT": one_line("; ".join(texts), TEXT_CHARACTERS),
        "SF_COMMAND": first.command if len(news) == 1 else "sf status",
    }


def _of_line(line: WaitingLine) -> News:
    since = line.since.isoformat(timespec="seconds") if line.since else ""
    text = f"{line.id}: {line.text}" if line.id else line.text
    kind = KINDS[line.kind]
    return News(kind=kind, id=line.id, since=since, text=text, command=line.command)


def _merged(tx: Transaction) -> list[News]:
    """Return the tasks that have landed since the log was last looked at."""
    seen = facts.get(tx.db, SEEN)
    if seen is None:
        return []
    return [
        News(
            kind=MERGED,
            id=event.subject,
            since=event.at.isoformat(timespec="seconds"),
            text=f"{event.subject}: {tasks.get(tx.db, event.subject).title}",
            command="",
        )
        for event in events.of_kind_after(tx.db, MERGED, int(seen))
    ]
