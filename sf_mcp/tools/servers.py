"""One MCP server per role: its tools, its instructions, and the token that opens it."""

import logging

from mcp.server.auth.provider import AccessToken, TokenVerifier
from mcp.server.auth.settings import AuthSettings
from mcp.server.mcpserver import MCPServer
from pydantic import AnyHttpUrl

from sf_mcp.core.errors import StoneforgeError
from sf_mcp.core.models import Role
from sf_mcp.service import Services
from sf_mcp.tools import director, reading, shared, steward, worker
from sf_mcp.tools.boundary import Boundary

COMMON = (
    "Stoneforge runs a fleet of sessions on one git repository. The server owns plans, tasks, "
    "leases and the target branch; nothing counts but what its tools record. A refusal says what "
    "to do next: do that."
)

INSTRUCTIONS = {
    Role.WORKER: COMMON + " You are a worker with one task. claim_task gives the brief; commit "
    "early and often in your worktree (commits are safe at once, pushing is not needed); "
    "run_checks before request_merge; end your turn after request_merge, write_handoff or "
    "release_task.",
    Role.STEWARD: COMMON + " You are a steward and review one merge request, read-only. "
    "claim_review gives it; decide with approve_merge, send_back or escalate, then end your turn.",
    Role.DIRECTOR: COMMON + " You are a headless director: plan goals, answer questions, escalate "
    "what only the person can decide. You never approve merges.",
    Role.PERSON: COMMON + " You direct this fleet for the person in this session: plan with "
    "create_plan, answer what list_questions shows, approve or send back merge requests when the "
    "person says so, and use why and fleet_status rather than guess.",
}
"""At most 2,048 characters each: the client cuts off what is beyond."""


class StoredTokens(TokenVerifier):
    """Accepts the tokens that the state knows; the role is the token's only scope."""

    def __init__(self, services: Services) -> None:
        """Look tokens up in these services' state."""
        self._services = services

    async def verify_token(self, token: str) -> AccessToken | None:
        """Return whom the token speaks for; None when it is unknown or has ended."""
        try:
            # Two look-ups that wait for nobody: cheaper than the way to a thread and back.
            caller = self._services.sessions.authenticate(token)
        except StoneforgeError:
            return None
        return AccessToken(
            token=token,
            client_id=caller.name,
            scopes=[caller.role.value],
            claims={"session": caller.session_id},
        )


def make_server(role: Role, services: Services, boundary: Boundary, url: str) -> MCPServer[None]:
    """Return the MCP server of one role with exactly that role's tools."""
    # At INFO the SDK tells of every request.
    logging.getLogger("mcp").setLevel(logging.WARNING)
    server: MCPServer[None] = MCPServer(
        name=f"stoneforge-{role.value}",
        log_level="WARNING",
        instructions=INSTRUCTIONS[role],
        token_verifier=StoredTokens(services),
        auth=AuthSettings(
            issuer_url=AnyHttpUrl(url),
            resource_server_url=AnyHttpUrl(f"{url}/{role.value}/mcp"),
            required_scopes=[role.value],
            validate_token_resource=False,
        ),
    )
    shared.register(server, boundary)
    match role:
        case Role.WORKER:
            worker.register(server, boundary)
        case Role.STEWARD:
            steward.register(server, boundary)
        case Role.DIRECTOR:
            director.register(server, boundary)
        case Role.PERSON:
            director.register(server, boundary)
            director.register_approvals(server, boundary)
            reading.register_prompts(server)
    reading.register_resources(server, boundary)
    return server
