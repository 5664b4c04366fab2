"""The person's remotes: pushing what has landed, and fetching what others have pushed.

Run from the person's repository, so that their URLs, credentials and proxies hold; the forge never
learns of them. Never forced. No remote at all is a normal case.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.checkout import open_checkout
from sf_mcp.git.command import GitFailed, Result
from sf_mcp.git.publishing import UPSTREAM
from sf_mcp.git.repository import Repository

NETWORK_TIMEOUT_SECONDS = 300.0


class RejectedBecause(StrEnum):
    NO_REMOTE = "no_remote"
    BEHIND = "behind"
    """The remote has commits that are not in ours: take them in, then push again."""
    REFUSED = "refused"
    """By the remote's own rules: a protected branch, a hook, no permission to write."""
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """The remote's branch is at the commit, or was there before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    because: RejectedBecause
    reason: str
    """Git's or the remote's own words."""


def has_remote(checkout_path: Path, remote: str) -> bool:
    """Tell whether the person's repository has a remote of this name."""
    repository = open_checkout(checkout_path).repository
    found = repository.run("config", "--get", f"remote.{remote}.url", accept=(0, 1))
    return found.exit_code == 0


def url_of(checkout_path: Path, remote: str) -> str:
    """Return where the remote is, as git would reach it; empty when there is none."""
    if not has_remote(checkout_path, remote):
        return ""
    return open_checkout(checkout_path).repository.run("remote", "get-url", remote).text


def push_branch(
    checkout_path: Path,
    forge: Repository,
    remote: str,
    commit: Oid,
    branch: str,
    *,
    replaces: Oid | None = None,
) -> Pushed | Rejected:
    """Bring a branch of the fleet's own at the remote to a commit that only the forge has.

    `replaces` is what we last brought it to: a branch that is there, and nowhere else, may be
    replaced, since the work was redone. What somebody else pushed to it is never touched.

    Raises:
        GitRefused: there is no such repository.
    """
    repository = open_checkout(checkout_path).repository
    if not has_remote(checkout_path, remote):
        return Rejected(because=RejectedBecause.NO_REMOTE, reason=f"There is no remote {remote}.")
    ref = f"refs/heads/{branch}"
    lease = [f"--force-with-lease={ref}:{replaces}"] if replaces else []
    # By its address: by its name, git would note the branch among the person's refs, and they
    # lack the commit. Their repository has the credentials, the forge has the commit.
    address = repository.run("remote", "get-url", "--push", remote).text
    objects = {"GIT_ALTERNATE_OBJECT_DIRECTORIES": str(forge.git_dir / "objects")}
    pushed = repository.run(
        *("push", "--porcelain", "--no-verify", "--no-follow-tags", "--recurse-submodules=no"),
        *lease,
        *("--end-of-options", address, f"{commit}:{ref}"),
        extra=objects,
        accept=range(256),
        timeout_seconds=NETWORK_TIMEOUT_SECONDS,
    )
    return _outcome(pushed)


def push_to_remote(checkout_path: Path, remote: str, commit: Oid, branch: str) -> Pushed | Rejected:
    """Fast-forward `branch` on the remote to `commit`, which the person's repository must have.

    Hooks of theirs are not run: the checks have passed already.

    Raises:
        GitRefused: there is no such repository.
    """
    checkout = open_checkout(checkout_path)
    if not has_remote(checkout_path, remote):
        return Rejected(because=RejectedBecause.NO_REMOTE, reason=f"There is no remote {remote}.")
    pushed = checkout.repository.run(
        "push",
        "--porcelain",
        "--no-verify",
        "--no-follow-tags",
        "--recurse-submodules=no",
        "--end-of-options",
        remote,
        f"{commit}:refs/heads/{branch}",
        accept=range(256),
        timeout_seconds=NETWORK_TIMEOUT_SECONDS,
    )
    return _outcome(pushed)


def _outcome(pushed: Result) -> Pushed | Rejected:
    if pushed.exit_code == 0:
        return Pushed()
    for line in pushed.text.splitlines():
        if line.startswith("!"):
            reason = line.split("\t")[-1]
            behind = "fetch first" in reason or "non-fast-forward" in reason or "stale" in reason
            because = RejectedBecause.BEHIND if behind else RejectedBecause.REFUSED
            return Rejected(because=because, reason=_told(reason, pushed.stderr))
    return Rejected(because=RejectedBecause.UNREACHABLE, reason=pushed.stderr or pushed.text)


def fetch_remote(checkout_path: Path, forge: Repository, remote: str, branch: str) -> Oid | None:
    """Fetch the remote's branch into the forge (`refs/stoneforge/upstream/<remote>/<branch>`).

    None when the remote has no such branch, or there is no such remote.

    Raises:
        GitFailed: the remote cannot be reached.
    """
    checkout = open_checkout(checkout_path)
    if not has_remote(checkout_path, remote):
        return None
    ref = f"{UPSTREAM}/{remote}/{branch}"
    try:
        checkout.repository.fetch_from(
            remote, f"+refs/heads/{branch}:{ref}", timeout_seconds=NETWORK_TIMEOUT_SECONDS
        )
    except GitFailed as error:
        if "couldn't find remote ref" in error.stderr:
            return None
        raise
    forge.fetch_from(checkout.common_dir, f"+{ref}:{ref}")
    return forge.head_of(ref)


def _told(reason: str, stderr: str) -> str:
    """Return the reason with what the remote itself had to say."""
    words = [
        line.removeprefix("remote:").strip()
        for line in stderr.splitlines()
        if line.startswith("remote:") and line.removeprefix("remote:").strip()
    ]
    return " ".join([reason, *words])
