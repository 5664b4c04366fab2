"""Text from people and models: what is accepted, and how it is shown on one line.

Nothing is cut off silently when text is stored: too long a text is refused with its length.
`one_line` and `slug` shorten, and are for display and for branch names alone.
"""

import re
import unicodedata

from sf_mcp.core.errors import InvalidInput

TITLE_LIMIT = 500
TEXT_LIMIT = 100_000

_BREAKS = frozenset({"Cc", "Zl", "Zp"})
"""Unicode categories that end a line or steer a terminal: controls, line and paragraph breaks."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_NOT_SLUG = re.compile(r"[^a-z0-9]+")
_NOT_IN_BRANCH = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]")


def checked_title(text: str, what: str = "title") -> str:
    """Return `text` as a title: one line, no control characters, no space at its ends.

    `what` names it in a refusal, such as `option`.

    Line breaks and tabs become spaces, so that a pasted title keeps every word. All else (quotes,
    backticks, emoji, leading dashes and slashes) is kept: a title never reaches a shell.

    Raises:
        InvalidInput: nothing is left, it is longer than `TITLE_LIMIT`, or it is not Unicode text.
    """
    _refuse_surrogates(text, f"The {what}")
    title = _without_breaks(text)
    if not title:
        raise InvalidInput(
            f"The {what} is empty.", remedy=f"Give a {what} that says what is to be done."
        )
    if len(title) > TITLE_LIMIT:
        raise InvalidInput(
            f"The {what} has {len(title):,} characters; at most {TITLE_LIMIT} are accepted.",
            remedy=f"Give a short {what} and put the rest into the description (--description).",
        )
    return title


def checked_text(text: str, what: str, limit: int = TEXT_LIMIT) -> str:
    """Return `text` unchanged if it can be stored; `what` names it, such as `description`.

    Raises:
        InvalidInput: it is longer than `limit`, contains NUL, or is not Unicode text.
    """
    if len(text) > limit:
        raise InvalidInput(
            f"The {what} has {len(text):,} characters; at most {limit:,} are accepted.",
            remedy="Shorten it, or put the long part into a file of the repository and name it.",
        )
    if "\0" in text:
        raise InvalidInput(
            f"The {what} contains a NUL character (at position {text.index(chr(0)) + 1}).",
            remedy="Remove it; only text is accepted.",
        )
    _refuse_surrogates(text, f"The {what}")
    return text


def one_line(text: str, limit: int = 100) -> str:
    """Return `text` on one line of at most `limit` characters, safe to print; cut with `…`."""
    line = _without_breaks(_SURROGATE.sub("\ufffd", text))
    return line if len(line) <= limit else line[: max(limit - 1, 0)].rstrip() + "…"


def slug(text: str, limit: int = 40) -> str:
    """Return `text` as lower-case ASCII words joined by `-`, cut at a word; may be empty."""
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = _NOT_SLUG.sub("-", ascii_text.lower()).strip("-")
    if len(words) <= limit:
        return words
    cut = words[: limit + 1].rpartition("-")[0]
    return cut or words[:limit]


def branch_name_problem(name: str) -> str | None:
    """Return why `name` cannot be the name of a branch, or None if it can.

    The rules are those of `git check-ref-format --branch`, and two of our own: no `refs/…`
    (nearly always a full ref by mistake) and no `sf/…` (the fleet's own branches).
    """
    parts = name.split("/")
    if not name:
        return "it is empty"
    if bad := _NOT_IN_BRANCH.search(name) or _SURROGATE.search(name):
        return f"it contains {bad.group()!r}"
    if name.startswith("-"):
        return "it begins with '-'"
    if name in {"@", "HEAD"}:
        return f"{name!r} has a meaning of its own in git"
    if "" in parts:
        return "it has an empty part beside a '/'"
    if any(part.startswith(".") for part in parts):
        return "a part of it begins with '.'"
    if any(part.endswith(".lock") for part in parts):
        return "a part of it ends with '.lock'"
    if ".." in name or "@{" in name:
        return "it contains '..' or '@{'"
    if name.endswith("."):
        return "it ends with '.'"
    if parts[0] == "refs":
        return "it is a full ref; only the branch's short name is meant, such as 'main'"
    if parts[0] == "sf":
        return "branches named sf/… belong to the fleet's tasks"
    return None


def _without_breaks(text: str) -> str:
    spaced = (" " if unicodedata.category(char) in _BREAKS else char for char in text)
    return " ".join("".join(spaced).split())


def _refuse_surrogates(text: str, subject: str) -> None:
    if found := _SURROGATE.search(text):
        raise InvalidInput(
            f"{subject} is not valid Unicode: a lone surrogate at position {found.start() + 1}.",
            remedy="Send it as UTF-8 text.",
        )
