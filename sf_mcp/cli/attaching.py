"""The files that attach a person's Claude Code to the project: written, renewed, removed.

Rule 1: nothing is written before all of it is known to work out; a refusal leaves every file alone.
Rule 2: what a file was before is kept beside the state, so that it comes back byte for byte; one
that somebody else has written to since keeps what they wrote and loses only what is ours.
"""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from sf_mcp.core import attachment
from sf_mcp.core.attachment import MCP_FILE, SETTINGS_FILE, Unusable
from sf_mcp.core.errors import StorageFailed
from sf_mcp.core.layout import Layout
from sf_mcp.git.checkout import open_checkout
from sf_mcp.git.command import run_git
from sf_mcp.store.secret_files import read_secret, write_secret

FILES = (MCP_FILE, SETTINGS_FILE)
EXCLUDE_MARK = "# Written by `sf attach`; `sf detach` takes it back."


@dataclass(slots=True, kw_only=True)
class Change:
    """What becomes of one file."""

    name: str
    path: Path
    old: str | None
    new: str | None
    """None: it is not there."""

    @property
    def words(self) -> str:
        """Return what is done, or nothing."""
        if self.new == self.old:
            return ""
        if self.new is None:
            return "removed"
        return "created" if self.old is None else "changed"


@dataclass(slots=True, kw_only=True)
class Plan:
    """What attaching or detaching does, before it is done."""

    changes: list[Change]
    record: dict[str, Any]
    """What is kept for the way back; empty after detaching."""
    notes: list[str] = field(default_factory=list[str])


class Attachment:
    """One project's files of Claude Code."""

    def __init__(self, layout: Layout) -> None:
        """Look at what is there.

        Raises:
            GitRefused: the project is in no repository any more.
        """
        self._root = layout.root
        self._kept = layout.folder / "attached.json"
        self._exclude = open_checkout(layout.root).common_dir / "info" / "exclude"
        self._record = _recorded(self._kept)

    @property
    def is_attached(self) -> bool:
        """Whether `sf attach` has written here and `sf detach` has not taken it back."""
        return bool(self._record)

    def attach(self, url: str, sf: tuple[str, ...]) -> Plan:
        """Return what makes sessions started here directors of the project at `url`.

        Raises:
            Unusable: a file cannot be added to, or is one that git tracks.
        """
        for name in FILES:
            if run_git(["ls-files", "--", name], cwd=self._root).stdout:
                raise self._tracked(name)
        theirs = _status_line_elsewhere(self._root)
        before = {name: self._before(name) for name in FILES}
        notes: list[str] = []
        settings = before[SETTINGS_FILE] or ""
        if theirs or attachment.has_own_status_line(settings):
            at = theirs or SETTINGS_FILE
            notes.append(
                f"Your own status line stays ({at}); `sf statusline` prints ours, for use in it."
            )
        after = {
            MCP_FILE: attachment.with_server(before[MCP_FILE] or "", url, sf),
            SETTINGS_FILE: attachment.with_settings(settings, sf, has_status_line=bool(theirs)),
        }
        changes = [self._change(name, after[name]) for name in FILES]
        known = self._record.get("excluded", "")
        exclude = _text(self._exclude)
        if not known or known not in (exclude or ""):
            known, exclude = self._excluding(before, exclude)
        changes.append(
            Change(
                name=".git/info/exclude",
                path=self._exclude,
                old=_text(self._exclude),
                new=exclude,
            )
        )
        folders = self._record.get("folders") or [
            name
            for name, path in (
                (".claude", self._root / ".claude"),
                ("info", self._exclude.parent),
            )
            if not path.exists()
        ]
        return Plan(
            changes=changes,
            record={
                "files": {
                    name: {"before": before[name], "after": _digest(after[name])} for name in FILES
                },
                "excluded": known,
                "folders": folders,
            },
            notes=notes,
        )

    def detach(self) -> Plan:
        """Return what takes back all that `attach` did.

        Raises:
            Unusable: a file was broken since, so that what is ours cannot be found in it.
        """
        changes = [self._change(name, self._before(name)) for name in FILES]
        exclude = _text(self._exclude)
        if (known := self._record.get("excluded")) and exclude is not None and known in exclude:
            left = exclude.replace(known, "", 1)
            changes.append(
                Change(
                    name=".git/info/exclude",
                    path=self._exclude,
                    old=exclude,
                    new=left or None,
                )
            )
        return Plan(changes=changes, record={})

    def carry_out(self, plan: Plan) -> None:
        """Write it: for the way there the record first, for the way back last.

        Raises:
            StorageFailed: a file cannot be written; what was written before it is put back.
        """
        done: list[Change] = []
        try:
            if plan.record:
                write_secret(self._kept, json.dumps(plan.record))
            for change in plan.changes:
                if change.words:
                    _write(change.path, change.new)
                    done.append(change)
        except OSError as error:
            for change in done:
                _write(change.path, change.old)
            if plan.record and not self._record:
                self._kept.unlink(missing_ok=True)
            raise StorageFailed(
                f"{error.filename or plan.changes[len(done)].path} cannot be written: "
                f"{error.strerror}.",
                remedy="Correct its permissions, then try again; nothing was changed.",
            ) from error
        if not plan.record:
            self._kept.unlink(missing_ok=True)
            for name in self._record.get("folders", []):
                folder = self._exclude.parent if name == "info" else self._root / str(name)
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()

    def _before(self, name: str) -> str | None:
        """Return what the file holds without us; None when it is not there but for us."""
        present = _text(self._root / name)
        if present is None:
            return None
        kept = self._record.get("files", {}).get(name)
        if kept is not None and _digest(present) == kept["after"]:
            return kept["before"]
        strip = attachment.without_server if name == MCP_FILE else attachment.without_settings
        left = strip(present)
        was_ours = left != present and (kept is None or kept["before"] is None)
        return None if was_ours and attachment.is_nothing(left) else left

    def _change(self, name: str, new: str | None) -> Change:
        return Change(name=name, path=self._root / name, old=_text(self._root / name), new=new)

    def _excluding(
        self, before: dict[str, str | None], exclude: str | None
    ) -> tuple[str, str | None]:
        """Return the lines that keep our new files out of `git status`, and the file with them.

        What was there before is listed as before: git takes an ignored file for one that it may
        overwrite.
        """
        new = [name for name in FILES if before[name] is None]
        # `check-ignore` knows no literal paths, and ours have nothing special in them.
        plain = {"GIT_LITERAL_PATHSPECS": "0"}
        asked = ["check-ignore", "--no-index", "--", *FILES]
        ignored = run_git(asked, cwd=self._root, extra=plain, accept=(0, 1)).text.splitlines()
        listed = [f"/{name}" for name in new if name not in ignored]
        if not listed:
            return "", exclude
        gap = "\n" if exclude and not exclude.endswith("\n") else ""
        added = gap + "\n".join([EXCLUDE_MARK, *listed]) + "\n"
        return added, (exclude or "") + added

    def _tracked(self, name: str) -> Unusable:
        return Unusable(
            f"{name} is in version control here: a change of it would keep your checkout from "
            "following what lands, and give everybody the address of your machine.",
            remedy="Use `sf-launch director`, which needs no file; or stop tracking it: "
            f"git rm --cached {name}",
        )


def _status_line_elsewhere(root: Path) -> str:
    """Return the file in which the person has a status line of their own, besides the local one."""
    folder = os.environ.get("CLAUDE_CONFIG_DIR")
    home = Path(folder) if folder else Path.home() / ".claude"
    for path in (root / ".claude" / "settings.json", home / "settings.json"):
        if attachment.has_own_status_line(read_secret(path)):
            return str(path)
    return ""


def _recorded(path: Path) -> dict[str, Any]:
    try:
        found: Any = json.loads(read_secret(path) or "{}")
    except ValueError:
        return {}
    return cast(dict[str, Any], found) if isinstance(found, dict) else {}


def _text(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError as error:
        raise Unusable(
            f"{path} is not UTF-8 text: {error}.", remedy="Correct it, then try again."
        ) from error


def _write(path: Path, text: str | None) -> None:
    if text is None:
        path.unlink(missing_ok=True)
        return
    # Through a link to where the person keeps it, and with the rights that it has.
    target = path.resolve()
    target.parent.mkdir(parents=True, exist_ok=True)
    beside = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        beside.write_bytes(text.encode())
        if target.exists():
            if not os.access(target, os.W_OK):
                raise PermissionError(13, "Permission denied", str(target))
            shutil.copymode(target, beside)
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
