"""The answer to "why is this not running, or not merged?"."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One sentence that answers it, then its facts."""

    subject: str
    sentence: str
    facts: list[str]
    next_step: str
    """The command that helps most; empty when nothing is to be done."""
    changes: list[str]
    """What would change it, each a short imperative with its command."""
    expected_at: datetime | None
    """When it has landed, as far as that can be told; None: it cannot."""
    expected: str
    """The same in words, with what it rests on: `about 14:20 UTC, …` or why it is unknown."""
