"""A program: a server that is killed at one instant of a landing.

    python -m tests.service.landing_that_dies ROOT before|after|published

Before the target is moved, after it was moved and before that is recorded, or when it is recorded
and not yet published.
"""

import os
import signal
import sys
from pathlib import Path

from sf_mcp.core.models import Oid
from sf_mcp.git.repository import Repository
from sf_mcp.service import Services
from sf_mcp.service.publishing import PublishingService
from sf_mcp.service.workspace import Workspace
from tests.builders import Clock

move = Repository.compare_and_swap


def main(root: str, when: str) -> None:
    """Step the train of the project at `root`; does not come back from a landing."""

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def dying_move(
        self: Repository, ref: str, *, new: Oid, old: Oid | None, message: str = "stoneforge"
    ) -> None:
        is_landing = ref == "refs/heads/main"
        if is_landing and when == "before":
            die()
        move(self, ref, new=new, old=old, message=message)
        if is_landing and when == "after":
            die()

    def dying_publish(self: PublishingService) -> None:
        die()

    Repository.compare_and_swap = dying_move
    if when == "published":
        PublishingService.publish = dying_publish
    train = Services(Workspace(Path(root), Clock())).train
    while train.step() or train.wait(60):
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
