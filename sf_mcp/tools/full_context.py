"""The worker's server: its tools ask for the handoff when the context fills, and then insist on it.

Beside each result stands the request, as `context` in what is structured and so in what the model
reads, and there too what it must hear of conflicts; past the second threshold only the tools that
end the work, and the look at the task, answer.
"""

import json
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp_types import CallToolResult, InputRequiredResult, TextContent

from sf_mcp.core.errors import ContextFull
from sf_mcp.service.filling import ENDING_TOOLS, LAST_TOOLS, Fill, Fullness, fill_of
from sf_mcp.tools.boundary import Boundary

CONFLICTS_TOOL = "check_conflicts"
"""Its own result says it all."""


class WorkerServer(MCPServer[None]):
    """An MCP server for workers."""

    def __init__(self, boundary: Boundary, **options: Any) -> None:
        """Serve the callers of this boundary; `options` are the SDK's own."""
        super().__init__(**options)
        self._boundary = boundary

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[None, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """Call a tool, unless the caller's context has no room left for anything but the handoff.

        Raises:
            ToolError: the tool refused, or was not called; the text says what to do.
        """
        fill = self._fill()
        if fill.stage is Fullness.RESTRICTED and name not in LAST_TOOLS:
            with Boundary.translated():
                raise ContextFull(
                    f"{name} is not carried out: the context holds {fill.tokens:,} tokens.",
                    remedy=fill.demand,
                )
        result = await super().call_tool(name, arguments, context)
        if name in ENDING_TOOLS or not isinstance(result, CallToolResult):
            return result
        words = [self._fill().request, await self._warning(name)]
        request = "\n\n".join(filter(None, words))
        return _with_request(result, request) if request else result

    async def _warning(self, tool: str) -> str:
        """Return what the session must hear of conflicts, unless the result has just told it."""
        warnings, caller = self._boundary.services.conflict_warnings, Boundary.identity()
        with Boundary.translated():
            if not warnings.are_due(caller):
                return ""
        told = await self._boundary.ask(lambda: warnings.take(caller), slow=True)
        return "" if tool == CONFLICTS_TOOL else told

    def _fill(self) -> Fill:
        # One row, read without waiting for any writer: cheaper than the way to a thread.
        with Boundary.translated():
            return fill_of(self._boundary.services.workspace, Boundary.identity())


def _with_request(result: CallToolResult, request: str) -> CallToolResult:
    if result.is_error or result.structured_content is None:
        return result
    structured = {**result.structured_content, "context": request}
    text = TextContent(type="text", text=json.dumps(structured, ensure_ascii=False, indent=2))
    return result.model_copy(update={"structured_content": structured, "content": [text]})
