"""What one check answers, before it is known under which name it was asked."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sf_mcp.core.findings import Severity

if TYPE_CHECKING:
    from sf_mcp.service import Services

OpenServices = Callable[[], "Services"]
"""Opens the project's services when it is first called; the server's lock is held meanwhile."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend:
    """A repair that loses nothing."""

    what: str
    """In the imperative: `Remove the stale server.json`."""
    carry_out: Callable[[OpenServices], str]
    """Does it; returns what was done, in one sentence."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    severity: Severity
    found: str
    why: str = ""
    remedy: str = ""
    mend: Mend | None = None


def fine(found: str) -> Found:
    """Return that all is well, and what was seen."""
    return Found(severity=Severity.OK, found=found)


def warning(found: str, *, why: str, remedy: str, mend: Mend | None = None) -> Found:
    """Return something that the fleet can work with."""
    return Found(severity=Severity.WARNING, found=found, why=why, remedy=remedy, mend=mend)


def problem(found: str, *, why: str, remedy: str, mend: Mend | None = None) -> Found:
    """Return something that must be mended."""
    return Found(severity=Severity.PROBLEM, found=found, why=why, remedy=remedy, mend=mend)


def named(items: list[str], most: int = 5) -> str:
    """Return the first of the items, and how many more there are."""
    more = f" and {len(items) - most} more" if len(items) > most else ""
    return ", ".join(items[:most]) + more
