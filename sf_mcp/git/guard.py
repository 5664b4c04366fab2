"""The guard: what git in a worktree may not do, and what it says instead.

Three layers, each with what it is for:

1. A `reference-transaction` hook refuses every update of a ref that is not the task's own: it sees
   commits, merges, resets, `branch -f`, `update-ref` and incoming pushes alike. A `pre-push` hook
   says the same sooner and in better words. Both are switched on by `core.hooksPath` in the
   worktree's own `config.worktree`, which wins over the shared file that husky writes to.
2. A remote `origin` in `config.worktree`, whose URL is the worktree itself: a plain `git push` ends
   well and says that the commits are safe already; `git fetch origin` brings the target.
3. The session's environment rewrites the URL of every other push into one that cannot exist; no
   option of git's takes that back, and fetching is not touched.

And it fences: a git command of a session (`SF_SESSION` in its environment) moves nothing in the
worktree of a task that this session does not hold (any more); see `holders`. A commit that is
refused so is named by a ref first, and offered to whoever goes on with the task; see `late`.

A tag may be made but not moved. The stash is refused: it is one stack for all worktrees, so that
one task's `stash pop` would take another's changes (the changes stay where they are).
What gets past all this is undone by the server (`Repository.restore`).
"""

import os
import shlex
import threading
from collections.abc import Mapping
from pathlib import Path

from sf_mcp.git.identity import Identity

NOWHERE = (
    "/dev/null/Stoneforge refuses this push: your commits are already safe in the forge and "
    "request_merge lands them; it would have gone to "
)
"""Below a file that is not a directory, so that no path behind it can ever exist."""

PREFIXES = ("", "/", ".", "~", "http", "ssh", "git", "file", "ftp")
"""The empty one matches every URL; the others are there should a future git ignore it."""

HOLDER = "holder"
"""The file beside the hooks that names the session which holds the task."""
LATE = "late"
"""The file beside the hooks for late commits that could not be named by a ref: session, commit."""

_HEAD = """#!/bin/sh
# Written by Stoneforge, and written anew when its worktree is prepared. It protects the branches
# of the fleet; the server moves them without it.
own={own}
target={target}
task={task}
"""

REFERENCE_TRANSACTION = """
[ "$1" = prepared ] || exit 0

refuse() {
    printf 'stoneforge: refused: %s\\n' "$1" "$2" >&2
    exit 1
}
safe="Your commits are safe on ${own#refs/heads/} in the forge. Call request_merge to land them."
[ -n "$own" ] || safe="Work happens on the branches of tasks; request_merge lands it."

beside=${0%/*}
fenced=
kept=
if [ -n "$task" ] && [ -n "${SF_SESSION:-}" ]; then
    holder=
    [ ! -e "$beside/holder" ] || read -r holder <"$beside/holder"
    [ "$holder" = "$SF_SESSION" ] || fenced=yes
fi

# Named by a ref before anybody hears of the refusal. With hooks off: it does not come back here.
keep() {
    session=$SF_SESSION
    case $session in *[!0-9A-Za-z-]*) session=unknown ;; esac
    git -c core.hooksPath=/dev/null update-ref \
        "refs/stoneforge/snapshots/$task/late/$session/$1" "$1" 2>/dev/null ||
        printf '%s %s\n' "$session" "$1" >>"$beside/late"
    kept=$1
}

while read -r old new ref; do
    case $new in *[!0]*) gone= ;; *) gone=yes ;; esac
    if [ -n "$fenced" ]; then
        case $gone$ref in HEAD | refs/heads/*) keep "$new" ;; esac
        continue
    fi
    case $ref in
    "$target")
        refuse "$ref is moved only by the server, once its checks pass." "$safe" ;;
    "$own")
        [ -z "$gone" ] || refuse "the branch of this task is not deleted or renamed." "$safe" ;;
    refs/heads/sf | refs/heads/sf/*)
        refuse "$ref belongs to another task." "$safe" ;;
    refs/stoneforge/* | refs/replace/* | refs/heads/stoneforge-unborn)
        refuse "$ref is the server's own." "$safe" ;;
    main-worktree/* | worktrees/*)
        refuse "$ref belongs to another worktree." "$safe" ;;
    refs/stash)
        refuse "the stash is shared by all worktrees, another task could take your changes." \\
            "Commit them on your branch instead (git commit), nothing was changed." ;;
    refs/tags/*)
        if [ -n "$gone" ] || git rev-parse --quiet --verify "$ref" >/dev/null; then
            refuse "$ref is shared by all worktrees, it is not moved or deleted." "$safe"
        fi ;;
    esac
done
[ -n "$fenced" ] || exit 0
[ -z "$kept" ] ||
    printf 'stoneforge: the commit %s is kept and offered to the session that goes on.\n' \
        "$kept" >&2
refuse "$task is not held by this session (any more), so git moves nothing here for it." \
    "Your earlier commits are safe on ${own#refs/heads/} in the forge. End your turn."
"""

PRE_PUSH = """
say() {
    printf 'stoneforge: %s\\n' "$@" >&2
}
if [ "$2" != . ]; then
    say "refused: nothing is pushed from here to $2." \\
        "Your commits are already safe in the forge. Call request_merge to land them."
    exit 1
fi
while read -r _ _ ref _; do
    if [ "$ref" = "$target" ]; then
        say "refused: $ref is moved only by the server, once its checks pass." \\
            "Your commits are already safe in the forge. Call request_merge to land them."
        exit 1
    fi
done
say "your commits are already safe in the forge, nothing needs to be pushed." \\
    "Call request_merge when the task is done."
exit 0
"""


def install_guard(hooks: Path, *, own_branch: str | None, target: str, task: str = "") -> None:
    """Write the hooks into the folder `hooks`; `own_branch=None` owns no branch at all.

    With `task` it is that task's worktree, in which only the session that holds it moves anything.
    Each is replaced as a whole, so that a git that runs meanwhile sees the old or the new one.
    """
    hooks.mkdir(parents=True, exist_ok=True)
    for name, text in guard_texts(own_branch=own_branch, target=target, task=task).items():
        replace_text(hooks / name, text, mode=0o755)


def guard_texts(*, own_branch: str | None, target: str, task: str = "") -> Mapping[str, str]:
    """Return each hook's text by its name."""
    head = _HEAD.format(
        own=shlex.quote(f"refs/heads/{own_branch}" if own_branch else ""),
        target=shlex.quote(f"refs/heads/{target}"),
        task=shlex.quote(task),
    )
    return {
        "reference-transaction": head + REFERENCE_TRANSACTION,
        "pre-push": head + PRE_PUSH,
    }


def worktree_config(hooks: Path, *, own_branch: str | None, target: str) -> str:
    """Return the text of a worktree's `config.worktree` that switches the guard on."""
    lines = [
        "[core]",
        f"\thooksPath = {quoted(str(hooks))}",
        "\tfsmonitor = false",
        '[remote "origin"]',
        "\turl = .",
        "\tpushurl = .",
        f"\tfetch = {quoted(f'+refs/heads/{target}:refs/remotes/origin/{target}')}",
        "[remote]",
        "\tpushDefault = origin",
        "[push]",
        "\tdefault = current",
    ]
    if own_branch is not None:
        lines += [
            f"[branch {quoted(own_branch)}]",
            "\tremote = origin",
            f"\tmerge = {quoted(f'refs/heads/{target}')}",
        ]
    return "\n".join(lines) + "\n"


def session_git_environment(
    identity: Identity, worktree: Path, inherited: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables with which a session commits as the person and pushes nowhere.

    `inherited` is the environment that these variables will be put into: configuration that it
    already carries (GIT_CONFIG_COUNT) is kept. A push from any repository is refused, not only
    from the worktree: a test that pushes between repositories of its own belongs in `run_checks`.
    """
    inherited = inherited or {}
    count = inherited.get("GIT_CONFIG_COUNT", "")
    first = int(count) if count.isdigit() else 0
    variables = {
        **identity.environment(),
        "GIT_TERMINAL_PROMPT": "0",
        # Nobody is there to close an editor: git takes the message as it is.
        "GIT_EDITOR": "true",
        "GIT_SEQUENCE_EDITOR": "true",
        # A worktree that lost its .git file must not act on the checkout that it lies in.
        "GIT_CEILING_DIRECTORIES": str(worktree.parent),
        "GIT_CONFIG_COUNT": str(first + len(PREFIXES)),
    }
    for number, prefix in enumerate(PREFIXES, first):
        variables[f"GIT_CONFIG_KEY_{number}"] = f"url.{NOWHERE}.pushInsteadOf"
        variables[f"GIT_CONFIG_VALUE_{number}"] = prefix
    return variables


def quoted(value: str) -> str:
    """Return `value` as a quoted string of git's configuration syntax."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def replace_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Put `text` at `path` in one step, unless it is there already."""
    try:
        if (
            path.read_text("utf-8", "surrogateescape") == text
            and path.stat().st_mode & 0o777 == mode
        ):
            return
    except (FileNotFoundError, NotADirectoryError):
        pass
    beside = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}.new")
    beside.write_text(text, "utf-8", "surrogateescape")
    beside.chmod(mode)
    beside.replace(path)
