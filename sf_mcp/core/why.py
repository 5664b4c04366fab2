"""The answer to "why is this not running, or not merged?"."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One sentence that answers it, then its facts."""

    subject: str
    sentence: str
    facts: list[str]
    next_step: str
