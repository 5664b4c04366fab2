"""Who plans and answers: the person at any time, a headless director until it is given up.

A worker's or steward's every write is about what it holds, so its lease is asked for where that is
written. A director's are about everybody's tasks: here it is asked for once for all of them.
"""

from collections.abc import Generator
from contextlib import contextmanager

from sf_mcp.core.identity import Caller
from sf_mcp.core.leases import check_token
from sf_mcp.core.models import EndKind, Role
from sf_mcp.service.transaction import Transaction
from sf_mcp.service.workspace import Workspace
from sf_mcp.store import leases

PLANNERS = (Role.PERSON, Role.DIRECTOR)


@contextmanager
def planning(workspace: Workspace, caller: Caller, *, to: str) -> Generator[Transaction]:
    """Write as one who plans; `to` finishes the sentence "only … may".

    Raises:
        NotAllowed: the caller has another role.
        StaleLease: it is a headless director that was not heard of in time, or has ended.
    """
    caller.require(*PLANNERS, to=to)
    with workspace.write(caller) as tx:
        if caller.session_id is not None:
            mine = leases.newest_of(tx.db, caller.session_id)
            # One whose question is settled may finish what it is at.
            if mine is not None and mine.end not in (None, EndKind.DONE):
                check_token(mine, mine.session_id, mine.fence, mine.subject)
        yield tx
