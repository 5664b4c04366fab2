"""What `sf doctor` finds: one fact, how bad it is, why it matters, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"
    """The fleet works, but not as well or as safely as it could."""
    PROBLEM = "problem"
    """Something does not work, or what should hold does not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One answer of one check."""

    family: str
    """What the check is about, such as `database`."""
    check: str
    """Its name within the family, such as `integrity`."""
    severity: Severity
    found: str
    """What is there, in one sentence."""
    why: str
    """Why it matters; empty when all is well."""
    remedy: str
    """What to do, with the exact command where there is one."""
    fix: str
    """What `sf doctor --fix` does about it; empty when it does nothing."""
