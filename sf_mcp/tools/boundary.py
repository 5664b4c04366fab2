"""The edge between a model and the services: who calls, in which thread, how a refusal reads."""

import hashlib
import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, TypeVar

import anyio
import anyio.to_thread
from mcp.server.auth.middleware.auth_context import get_access_token
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel

from sf_mcp.core.errors import StoneforgeError, Unauthorized
from sf_mcp.core.identity import Caller
from sf_mcp.core.models import Role, SessionId
from sf_mcp.service import Services
from sf_mcp.service.fencing import require_not_given_up
from sf_mcp.service.workspace import Call

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

SERVICE_THREADS = 8
"""More would only queue at the one writer; git and checks have threads of their own."""


class Boundary:
    """Runs service calls for the tools of one server process."""

    def __init__(self, services: Services) -> None:
        """Serve these services."""
        self.services = services
        self._threads = anyio.CapacityLimiter(SERVICE_THREADS)
        self._slow = anyio.CapacityLimiter(SERVICE_THREADS)

    def caller(self) -> Caller:
        """Return who calls, unless it is a session that was given up for dead.

        Raises:
            ToolError: the request came without a token, or from such a session.
        """
        caller = self.identity()
        with self.translated():
            require_not_given_up(self.services.workspace, caller)
        return caller

    @staticmethod
    def identity() -> Caller:
        """Return whom this connection's token speaks for; never taken from a parameter.

        Raises:
            ToolError: the request came without a token.
        """
        token = get_access_token()
        if token is None:
            error = Unauthorized(
                "The request carries no token.",
                remedy="Connect with the token that the launcher, or `sf-launch director`, gives.",
            )
            raise ToolError(_text(error))
        claims = token.claims or {}
        session = claims.get("session")
        return Caller(
            role=Role(token.scopes[0]),
            name=token.client_id,
            session_id=SessionId(session) if session else None,
        )

    async def ask(self, question: Callable[[], T], *, slow: bool = False) -> T:
        """Run a service call in a thread; `slow` for those that run git.

        Raises:
            ToolError: the service refused; the text says what to do next.
        """
        with self.translated():
            return await anyio.to_thread.run_sync(
                question, limiter=self._slow if slow else self._threads
            )

    async def ask_briefly(self, question: Callable[[], T]) -> T:
        """Make a call of one short transaction: here and now, unless somebody else's is open.

        The way to a thread and back would cost more than all of the call, and all that the event
        loop waits for is one commit.

        Raises:
            ToolError: the service refused; the text says what to do next.
        """
        if self.services.workspace.is_in_use:
            return await self.ask(question)
        with self.translated():
            return question()

    @staticmethod
    @contextmanager
    def translated() -> Generator[None]:
        """Turn refusals into what a model reads.

        Raises:
            ToolError: the service refused; the text says what to do next.
        """
        try:
            yield
        except StoneforgeError as error:
            raise ToolError(_text(error)) from error

    async def change(
        self,
        context: Context[Any],
        tool: str,
        result: type[M],
        record: Callable[[Any], M],
        *,
        request: dict[str, Any],
        prepare: Callable[[], Any] | None = None,
    ) -> M:
        """Carry out a mutation of the tool called `tool` once per (session, tool-use id).

        `prepare` runs git outside the transaction, `record` inside it with what was prepared.

        Raises:
            ToolError: the service refused; nothing was changed.
        """
        caller = self.caller()
        call = _call(context, caller, tool, request)

        def run() -> M:
            if call is None:
                return record(prepare() if prepare else None)
            workspace = self.services.workspace
            known = workspace.recorded(call)
            if known is None:
                try:
                    prepared = prepare() if prepare else None
                    known = workspace.once(
                        caller, call, lambda: record(prepared).model_dump(mode="json")
                    )
                except StoneforgeError:
                    # It may have found its work over because it was carried out meanwhile itself.
                    known = workspace.recorded(call)
                    if known is None:
                        raise
            return result.model_validate(known)

        return await self.ask(run, slow=prepare is not None)


def tool_use_id(context: Context[Any]) -> str:
    """Return the client's id of this tool use; empty from a client that gives none."""
    meta: Any = context.request_context.meta or {}
    return str(meta.get("claudecode/toolUseId") or "")


def _call(context: Context[Any], caller: Caller, tool: str, request: dict[str, Any]) -> Call | None:
    # Claude Code names each tool use; another client's calls are idempotent by nature alone.
    tool_use = tool_use_id(context)
    if not tool_use:
        return None
    digest = hashlib.sha256(json.dumps([tool, request], sort_keys=True).encode()).hexdigest()
    holder = caller.session_id or caller.name
    return Call(key=f"{holder}:{tool_use}", tool=tool, request_hash=digest)


def _text(error: StoneforgeError) -> str:
    return f"[{error.code}] {error}"
