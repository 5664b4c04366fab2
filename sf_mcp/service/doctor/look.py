"""What the checks look at: each thing is read when it is first asked for, once, and never written.

What cannot be read is None here; the check that is about it says why, and the others say nothing.
"""

import fcntl
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sf_mcp.client import Address, address_of
from sf_mcp.core.errors import ConfigInvalid, StoneforgeError
from sf_mcp.core.layout import Layout
from sf_mcp.git.checkout import Checkout, open_checkout
from sf_mcp.git.forge import forge_at
from sf_mcp.git.repository import Repository
from sf_mcp.git.worktrees import Worktrees
from sf_mcp.store.inspection import State, steadily

if TYPE_CHECKING:
    from sf_mcp.settings import Settings

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientFacts:
    """What the launcher says of the Claude Code that it would start."""

    path: str
    version: str
    minimum: str
    fault: str
    """Why it cannot be used; empty when it can."""
    remedy: str
    is_logged_in: bool | None
    """None when it did not say."""
    login: str
    """How it is logged in, or why it did not say."""


class Look:
    """One project at one moment."""

    def __init__(
        self,
        layout: Layout,
        *,
        environ: Mapping[str, str],
        now: Callable[[], datetime],
        ask_client: Callable[[str | None], ClientFacts],
    ) -> None:
        """`ask_client` finds Claude Code, given the configured path of it."""
        self.layout = layout
        self.environ = environ
        self.now = now
        self._ask_client = ask_client

    @cached_property
    def is_set_up(self) -> bool:
        """Whether `sf init` has been run here."""
        return self.layout.database.exists() or self.layout.forge.exists()

    @cached_property
    def config_fault(self) -> ConfigInvalid | None:
        """Why the configuration cannot be used."""
        self.settings  # noqa: B018  reads it
        return self._config_fault

    _config_fault: ConfigInvalid | None = None

    @cached_property
    def settings(self) -> "Settings | None":
        """The configuration."""
        from sf_mcp.settings import load

        if not self.layout.config.exists() and not self.is_set_up:
            return None
        try:
            return load(self.layout.config)
        except ConfigInvalid as error:
            self._config_fault = error
            return None

    @property
    def target(self) -> str:
        """The target branch; empty while the configuration cannot be read."""
        return self.settings.merge.target_branch if self.settings else ""

    @cached_property
    def checkout(self) -> Checkout | None:
        """The person's repository."""
        try:
            return open_checkout(self.layout.root)
        except StoneforgeError:
            return None

    @cached_property
    def forge(self) -> Repository | None:
        """The forge."""
        try:
            return forge_at(self.layout.folder)
        except StoneforgeError:
            return None

    @cached_property
    def worktrees(self) -> Worktrees | None:
        """The forge's worktrees."""
        if self.forge is None or not self.target:
            return None
        return Worktrees(self.forge, self.target, self.now)

    def read(self, look: Callable[[State], T]) -> T | None:
        """Return what `look` sees in the database; None when that cannot be read."""
        try:
            return steadily(self.layout.database, look)
        except StoneforgeError:
            return None

    @cached_property
    def client(self) -> ClientFacts:
        """Claude Code, as the launcher finds it."""
        return self._ask_client(self.settings.orchestrator.claude_path if self.settings else None)

    @cached_property
    def address(self) -> Address | None:
        """Where a server says that it listens."""
        return address_of(self.layout)

    @cached_property
    def has_server(self) -> bool:
        """Whether somebody holds the state: a server, or for a moment a short command."""
        return is_held(self.layout.server_lock)

    @cached_property
    def has_launcher(self) -> bool:
        """Whether a launcher runs."""
        return is_held(self.layout.launcher_lock)


def is_held(lock: Path) -> bool:
    """Tell whether a process holds the lock file; it is not held here for longer than the look."""
    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
