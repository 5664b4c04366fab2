"""The configuration file that `sf init` writes: what a person would change, briefly explained."""

import re
from collections.abc import Sequence

from sf_mcp.core.proposals import ProposedCheck
from sf_mcp.core.text import one_line

_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_./-]*")
_NOT_TEXT = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""What YAML 1.1 reads as something else than text when it is not quoted."""


def render_initial(
    target_branch: str,
    checks: Sequence[ProposedCheck],
    *,
    target_reason: str = "",
    max_concurrent: int = 6,
) -> str:
    """Return the file's text. It holds defaults but for these arguments, and loads to just that."""
    branch = _scalar(target_branch)
    why = f"  # {_comment(target_reason)}" if target_reason else ""
    return f"""\
# Stoneforge. Everything left out has its default; the README lists every key.
# Edits are taken up while the fleet runs; `sf config check` says whether they are right.

orchestrator:
  maxConcurrent: {max_concurrent}  # worker sessions at once

agents:
  worker:
    model: sonnet  # an alias, or a full model name
    maxSessionTokens: 200000
    handoffAt: 0.7  # of maxSessionTokens: then a fresh session takes over
  steward:
    model: sonnet
    autoMerge: true  # false: each landing waits for `sf mr approve`
    review: true  # false: passing checks are enough
  director:
    model: sonnet

{_checks(checks)}
merge:
  targetBranch: {branch}{why}
  strategy: squash  # or: merge
  push: false  # true: push each landing to origin

budget:  # in US dollars; null: no limit
  taskUsd: null
  fleetUsd: null
"""


def _checks(checks: Sequence[ProposedCheck]) -> str:
    if not checks:
        return """\
# Nothing here looked like a test suite. While this list is empty NOTHING is checked before the
# target branch moves: what a worker hands in lands as it is. For example:
#   - {name: tests, run: "make test", timeoutSeconds: 900}
checks: []
"""
    lines = [
        "# Each must pass on the merged tree before the target branch moves. They run at the root",
        "# of a fresh checkout: what is not committed (dependencies, builds) is not there.",
        "checks:",
    ]
    for check in checks:
        lines += [
            f"  - name: {_scalar(check.name)}  # {_comment(check.reason)}",
            f"    run: {_scalar(check.run)}",
            "    timeoutSeconds: 900",
        ]
    return "\n".join(lines) + "\n"


def _scalar(text: str) -> str:
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return '"' + "".join(map(_escaped, text)) + '"'


def _comment(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in one_line(text))


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    return char if char.isprintable() else f"\\U{ord(char):08x}"
