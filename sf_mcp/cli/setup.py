"""What `sf init` finds out and does: each step is skipped where its result is there already."""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sf_mcp.cli.lock import server_lock
from sf_mcp.clock import utc_now
from sf_mcp.core.errors import GitRefused, InvalidInput
from sf_mcp.core.identity import PERSON
from sf_mcp.core.layout import GITIGNORE, STATE_FOLDER, Layout
from sf_mcp.core.proposals import (
    ProposedCheck,
    files_to_read,
    propose_checks,
    propose_target_branch,
)
from sf_mcp.git.checkout import Checkout, branches, no_commits, open_checkout, require_usable
from sf_mcp.git.command import readable, require_git, run_git
from sf_mcp.git.forge import make_forge
from sf_mcp.git.identity import Identity, identity
from sf_mcp.git.status import status
from sf_mcp.service import Services
from sf_mcp.service.workspace import Workspace
from sf_mcp.settings import load, render_initial
from sf_mcp.settings.facts import vacuous_sentence


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    target: str
    target_reason: str
    checks: tuple[ProposedCheck, ...]
    note: str
    """What to say while nothing is checked; empty while checks run."""


class Setup:
    """One run of `sf init`: looks first, refuses what cannot work, and only then does anything."""

    def __init__(self, root: Path, *, target: str = "") -> None:
        """Look at the repository.

        Raises:
            GitRefused: git is too old, or the repository cannot be used.
            ConfigInvalid: there is a configuration already, and it cannot be used.
            InvalidInput: `target` is not what that configuration says.
        """
        require_git()
        self.checkout: Checkout = open_checkout(root)
        self.root = self.checkout.root
        self.layout = Layout(self.root)
        if not branches(self.checkout):
            raise no_commits(self.checkout)
        found = self._configured(target) or self._proposed(target)
        self.target = found.target
        self.target_reason = found.target_reason
        self.checks = found.checks
        self.identity: Identity | None = identity(self.root)
        require_usable(self.checkout, self.target)
        self.notes = self._notes(found)

    def _configured(self, target: str) -> Proposal | None:
        if not self.layout.config.exists():
            return None
        settings = load(self.layout.config)
        configured = settings.merge.target_branch
        if target not in ("", configured):
            raise InvalidInput(
                f"The configuration says that the target branch is {configured}, not {target}.",
                remedy=f"Change merge.targetBranch in {self.layout.config}.",
            )
        return Proposal(
            target=configured,
            target_reason="from the configuration",
            checks=tuple(
                ProposedCheck(name=check.name, run=check.run, reason="")
                for check in settings.checks
            ),
            note=settings.vacuous_sentence,
        )

    def _proposed(self, target: str) -> Proposal:
        present = branches(self.checkout)
        head = run_git(
            ["symbolic-ref", "--quiet", "refs/remotes/origin/HEAD"], cwd=self.root, accept=(0, 1)
        )
        proposed = propose_target_branch(
            current=self.checkout.branch,
            branches=present,
            remote_head=head.text.removeprefix("refs/remotes/origin/") or None,
        )
        name = target or proposed.name
        if name not in present:
            listed = ", ".join(present[:8]) + ("" if len(present) <= 8 else " …")
            raise GitRefused(
                f"There is no branch {name} for finished work to land on. There is: {listed}.",
                remedy="Name one of them: sf init --target BRANCH",
            )
        checks = self._proposed_checks(name)
        return Proposal(
            target=name,
            target_reason="" if target else proposed.reason,
            checks=checks,
            note=vacuous_sentence(len(checks), run_checks=True),
        )

    def _proposed_checks(self, target: str) -> tuple[ProposedCheck, ...]:
        # Of the target, not of what is checked out: that is where the checks will run.
        ask = self.checkout.repository.run
        ref = f"refs/heads/{target}"
        listed = ask("ls-tree", "-r", "-z", "--name-only", ref).stdout
        files = [readable(name) for name in listed.split(b"\0") if name]
        contents = {
            name: readable(found.stdout)
            for name in files_to_read(files)
            if (found := ask("cat-file", "blob", f"{ref}:{name}", accept=range(256))).exit_code == 0
        }
        return propose_checks(files, contents)

    def _notes(self, found: Proposal) -> list[str]:
        notes = [found.note] if found.note else []
        seen = status(self.root)
        if seen.operation:
            notes.append(
                f"A {seen.operation} is under way: your files are left alone until it is over."
            )
        elif self.checkout.branch != self.target:
            at = self.checkout.branch or "no branch"
            notes.append(
                f"You are on {at}: what lands moves your {self.target} and not your files."
            )
        elif seen.changed or seen.conflicted:
            notes.append(
                "You have uncommitted changes: your checkout follows once they are committed."
            )
        return notes

    # -- identity ----------------------------------------------------------------------------------

    def no_identity(self) -> GitRefused:
        """Return the refusal of a repository in which git does not know its user."""
        return GitRefused(
            f"Git does not know who you are in {self.root}; the fleet's commits carry your name.",
            remedy='Run: git config --global user.name "Your Name" && git config --global '
            'user.email "you@example.com"',
        )

    def set_identity(self, name: str, email: str) -> None:
        """Store the identity in the repository's own configuration.

        Raises:
            GitRefused: git does not take it for one.
        """
        if not name or not email:
            raise self.no_identity()
        self.checkout.repository.run("config", "user.name", name)
        self.checkout.repository.run("config", "user.email", email)
        self.identity = identity(self.root)
        if self.identity is None:
            raise self.no_identity()

    # -- doing it ----------------------------------------------------------------------------------

    @cached_property
    def missing(self) -> list[str]:
        """What is not there yet, as paths below the root; worked out before anything is done."""
        layout = self.layout
        parts = (self._gitignore, layout.config, layout.forge, layout.database, layout.person_token)
        return [f"{STATE_FOLDER}/{path.name}" for path in parts if not path.exists()]

    @property
    def _gitignore(self) -> Path:
        return self.layout.folder / ".gitignore"

    def carry_out(self) -> list[str]:
        """Make what is missing; return it as paths below the root.

        Raises:
            StoneforgeError: something cannot be made; what was made before it stays, and the next
                run goes on from there.
        """
        done = list(self.missing)
        self.layout.folder.mkdir(exist_ok=True)
        if not self._gitignore.exists():
            _write(self._gitignore, GITIGNORE)
        if not self.layout.config.exists():
            text = render_initial(self.target, self.checks, target_reason=self.target_reason)
            _write(self.layout.config, text)
        with server_lock(self.layout) as is_ours:
            if is_ours:
                make_forge(self.checkout, self.layout.folder, self.target)
            services = Services(Workspace(self.root, utc_now))
            try:
                token = f"{STATE_FOLDER}/{self.layout.person_token.name}"
                if services.sessions.ensure_person_token(PERSON) and token not in done:
                    done.append(token)
                if is_ours:
                    services.target.recover()
            finally:
                services.close()
        return done


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
    finally:
        beside.unlink(missing_ok=True)
