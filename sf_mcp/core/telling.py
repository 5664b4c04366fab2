"""An event in words, for a line on a terminal."""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from sf_mcp.core.text import one_line

FACT_CHARACTERS = 100
_SESSION_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_UNSEEN = frozenset({"Cf", "Cs"})
"""Unicode categories: marks that turn the writing direction or hide, unpaired surrogates."""


def event_words(event: Mapping[str, Any]) -> str:
    """Return what happened, to what, and the facts; without when and by whom."""
    facts = {key: _shown(value) for key, value in event["data"].items()}
    told = ", ".join(f"{key.replace('_', ' ')} {text}" for key, text in facts.items() if text)
    kind = str(event["kind"]).replace("_", " ")
    words = [kind, _shown(event["subject"]), f"({told})" if told else ""]
    return " ".join(word for word in words if word)


def _shown(value: object) -> str:
    """Return a fact for people, the first line of a longer one.

    A session's own id says nothing to them, and its name stands beside.
    """
    if isinstance(value, list):
        text = ", ".join(map(str, value))  # type: ignore[misc]
    else:
        text = "" if value in (None, {}) else str(value)
    first = next((line for line in text.splitlines() if line.strip()), "")
    text = "".join(char for char in first if unicodedata.category(char) not in _UNSEEN)
    text = one_line(text, FACT_CHARACTERS)
    if _SESSION_ID.fullmatch(text):
        return ""
    return text[:12] if _COMMIT.fullmatch(text) else text
