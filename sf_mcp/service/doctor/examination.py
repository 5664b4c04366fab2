"""Every check in the order in which people read them, and how they are run."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.findings import Finding, Severity
from sf_mcp.service.doctor import (
    agreement,
    configuration,
    database,
    forge,
    machine,
    processes,
    programs,
    repository,
)
from sf_mcp.service.doctor.found import Found, Mend, problem
from sf_mcp.service.doctor.look import Look


@dataclass(frozen=True, slots=True)
class Check:
    family: str
    name: str
    look: Callable[[Look], Iterator[Found]]
    takes_long: str = ""
    """What to say while it goes on; empty when it takes no time."""


CHECKS: Sequence[Check] = (
    Check("programs", "python", programs.python),
    Check("programs", "git", programs.git),
    Check("programs", "sqlite", programs.sqlite),
    Check("programs", "sdk", programs.sdk),
    Check("programs", "claude", programs.claude, "Asking Claude Code"),
    Check("programs", "login", programs.login),
    Check("config", "syntax", configuration.syntax),
    Check("config", "checks", configuration.checks),
    Check("config", "target", configuration.target),
    Check("config", "claude settings", configuration.claude_settings),
    Check("repository", "usable", repository.usable),
    Check("repository", "author", repository.author),
    Check("repository", "files", repository.files),
    Check("repository", "behind", repository.behind),
    Check("repository", "remote", repository.remote),
    Check("repository", "locks", repository.locks),
    Check("repository", "ignored", repository.ignored),
    Check("forge", "made", forge.made),
    Check("forge", "guard", forge.guard),
    Check("forge", "locks", forge.locks),
    Check("forge", "half added", forge.half_made),
    Check("forge", "worktrees", forge.stale),
    Check("database", "integrity", database.integrity, "Looking through the database"),
    Check("database", "schema", database.schema),
    Check("database", "references", database.references),
    Check("database", "rules", database.rules),
    Check("database", "clock", database.clock),
    Check("agreement", "target", agreement.target),
    Check("agreement", "landed", agreement.landed, "Comparing the forge with the database"),
    Check("agreement", "branches", agreement.branches),
    Check("agreement", "snapshots", agreement.snapshots),
    Check("machine", "disk", machine.disk),
    Check("machine", "file system", machine.file_system),
    Check("machine", "permissions", machine.permissions),
    Check("processes", "server", processes.server),
    Check("processes", "port", processes.port),
    Check("processes", "leftovers", processes.leftovers),
)

FAMILIES: Sequence[str] = tuple(dict.fromkeys(check.family for check in CHECKS))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A finding, and what mends it."""

    finding: Finding
    mend: Mend | None


def examine(
    look: Look, families: Collection[str] = (), *, on_progress: Callable[[str], None]
) -> list[Answer]:
    """Run the checks of these families, of all if none is named; none of them changes anything."""
    answers: list[Answer] = []
    for check in CHECKS:
        if families and check.family not in families:
            continue
        if check.takes_long:
            on_progress(check.takes_long)
        answers += [_answer(check, found) for found in _looked(check, look)]
    return answers


def _looked(check: Check, look: Look) -> Iterator[Found]:
    try:
        yield from check.look(look)
    except (StoneforgeError, OSError) as error:
        # What is broken in this very place; the other checks go on.
        remedy = error.remedy if isinstance(error, StoneforgeError) else ""
        words = error.message if isinstance(error, StoneforgeError) else str(error)
        yield problem(
            f"This could not be looked at: {words}",
            why="Something that the check stands on is not as it should be.",
            remedy=remedy or "Correct that, then run `sf doctor` again.",
        )


def _answer(check: Check, found: Found) -> Answer:
    return Answer(
        finding=Finding(
            family=check.family,
            check=check.name,
            severity=found.severity,
            found=found.found,
            why=found.why,
            remedy=found.remedy,
            fix=found.mend.what if found.mend else "",
        ),
        mend=found.mend,
    )


def worst(findings: Sequence[Finding]) -> Severity:
    """Return how bad the worst of the findings is."""
    return max((finding.severity for finding in findings), key=list(Severity).index, default=_OK)


_OK = Severity.OK
