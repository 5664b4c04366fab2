"""The configuration: can it be used, does it check anything, is its target branch there."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from sf_mcp.git.checkout import branches
from sf_mcp.service.doctor.found import Found, fine, named, problem, warning
from sf_mcp.service.doctor.look import Look

MANAGED_SETTINGS = (
    Path("/etc/claude-code/managed-settings.json"),
    Path("/Library/Application Support/ClaudeCode/managed-settings.json"),
)
"""What an administrator imposes on every Claude Code of the machine."""

NEEDED_TOOLS = ("Read", "Edit", "Write", "Bash", "mcp__sf")
"""Without one of these a worker cannot work."""


def syntax(look: Look) -> Iterator[Found]:
    """See whether the configuration can be used."""
    if not look.is_set_up and not look.layout.config.exists():
        return
    if (fault := look.config_fault) is not None:
        yield problem(
            fault.message,
            why="A server that runs goes on with the last good one; none can be started.",
            remedy=f"{fault.remedy} Then: sf config check",
        )
    else:
        yield fine(f"{look.layout.config} can be used")


def checks(look: Look) -> Iterator[Found]:
    """See whether anything is checked before the target branch moves."""
    if (settings := look.settings) is None:
        return
    if sentence := settings.vacuous_sentence:
        yield warning(
            sentence,
            why="Whatever the sessions make lands, whether it works or not.",
            remedy=f"Name what must pass under `checks:` in {look.layout.config}, such as "
            "`- {name: tests, run: pytest -q}`.",
        )
    else:
        yield fine(f"{len(settings.checks)} checks: {named([c.name for c in settings.checks])}")


def target(look: Look) -> Iterator[Found]:
    """See whether the person's repository has the target branch."""
    if look.settings is None or look.checkout is None:
        return
    present = branches(look.checkout)
    if look.target in present:
        yield fine(f"The target branch {look.target} is there")
        return
    yield problem(
        f"Your repository has no branch {look.target}, the configured target.",
        why="What lands cannot be published to it.",
        remedy=f"Set merge.targetBranch to one of {named(list(present))}, or make it: "
        f"git branch -- {look.target}",
    )


def claude_settings(look: Look) -> Iterator[Found]:
    """See whether settings of Claude Code stand in the way of the fleet's sessions.

    Sessions load those of the project, as their branch has them, and an administrator's.
    """
    if not look.is_set_up:
        return
    texts: list[tuple[str, bytes]] = []
    if look.forge is not None and look.target:
        shown = look.forge.run(
            "cat-file", "blob", f"refs/heads/{look.target}:.claude/settings.json", accept=(0, 128)
        )
        if shown.exit_code == 0:
            texts.append((f".claude/settings.json on {look.target}", shown.stdout))
    texts += [(str(path), path.read_bytes()) for path in MANAGED_SETTINGS if path.is_file()]
    faults = [found for where, text in texts for found in judge_settings(where, text)]
    if not faults:
        yield fine("No setting of Claude Code stands in the fleet's way")
    yield from faults


def judge_settings(where: str, text: bytes) -> Iterator[Found]:
    """Judge one settings file of Claude Code."""
    try:
        settings: Any = json.loads(text)
    except ValueError as error:
        yield warning(
            f"{where} is not JSON: {error}.",
            why="Claude Code ignores it or refuses to start.",
            remedy=f"Correct {where}.",
        )
        return
    read = _mapping(settings)
    for key in ("disableAllHooks", "allowManagedHooksOnly"):
        if read.get(key):
            yield problem(
                f"{where} sets {key}.",
                why="The fleet's hooks do not run: no handoff is asked for in time, and no turn "
                "that ends with nothing is noticed.",
                remedy=f"Remove {key} from {where}.",
            )
    denied = _mapping(read.get("permissions")).get("deny")
    rules = [str(rule) for rule in cast("list[Any]", denied)] if isinstance(denied, list) else []
    if blocked := [rule for rule in rules if _takes_away(rule)]:
        yield problem(
            f"{where} denies {named(blocked)}.",
            why="A denial wins over everything: sessions cannot work without these tools.",
            remedy=f"Remove it from permissions.deny in {where}.",
        )
    hooks = _mapping(read.get("hooks"))
    names = [name for name in ("Stop", "PreToolUse", "UserPromptSubmit") if name in hooks]
    if names:
        yield warning(
            f"{where} has hooks of its own: {named(names)}.",
            why="They run in every session of the fleet too, and may hold it up or block its end.",
            remedy="See that they end quickly and need nobody at the keyboard.",
        )
    ours = ("ANTHROPIC_", "CLAUDE_CODE_", "SF_")
    variables = [name for name in _mapping(read.get("env")) if name.startswith(ours)]
    if variables:
        yield warning(
            f"{where} sets {named(variables)} for every session.",
            why="Login, model or address of the fleet's sessions may not be the ones you expect.",
            remedy=f"Remove it from env in {where}, unless it is meant for the fleet too.",
        )


def _mapping(value: Any) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _takes_away(rule: str) -> bool:
    """Tell whether the rule denies a whole tool that sessions need, or all of ours."""
    name = rule.strip()
    if name.endswith(("(*)", "(**)")):
        name = name.partition("(")[0]
    return name in NEEDED_TOOLS or name.startswith(("mcp__sf__", "mcp__*")) or name == "*"
