"""The MCP endpoint of one role: a token of that role opens it, and says who calls.

The tokens are the server's own and there is no authorization server to send a client to, so the
check is done here and not by the SDK's OAuth layers. Sessionless: every request carries its token,
and a client goes on after a restart of the server without noticing.
"""

from mcp.server.auth.middleware.auth_context import auth_context_var
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import MCPServer
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from sf_mcp.core.errors import NotAllowed, StoneforgeError, Unauthorized
from sf_mcp.core.models import Role
from sf_mcp.service import Services


class Endpoint:
    """An ASGI application: one role's MCP server behind its tokens."""

    def __init__(self, role: Role, server: MCPServer[None], services: Services) -> None:
        """Let those in whom these services know as `role`."""
        self._role = role
        self._services = services
        # As plain JSON: no tool of the fleet's waits as long as the client does, and a stream of
        # events for each answer would cost as much as all the rest of the SDK's work on it. A
        # director's waits longer, and tells meanwhile that it goes on.
        has_no_progress = role in (Role.WORKER, Role.STEWARD)
        server.streamable_http_app(stateless_http=True, json_response=has_no_progress)
        self.sessions = server.session_manager

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        try:
            user = self._user(scope)
        except StoneforgeError as error:
            await _refusal(error)(scope, receive, send)
            return
        if scope["method"] != "POST":
            await _no_stream()(scope, receive, send)
            return
        entered = auth_context_var.set(user)
        try:
            await self.sessions.handle_request(scope, receive, send)
        finally:
            auth_context_var.reset(entered)

    def _user(self, scope: Scope) -> AuthenticatedUser:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.decode("latin-1").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthorized(
                "The request carries no token.",
                remedy="Sessions get theirs from the launcher; a person uses `sf-launch director`.",
            )
        # Two look-ups that wait for nobody: cheaper than the way to a thread and back.
        caller = self._services.sessions.authenticate(token)
        if caller.role is not self._role:
            raise NotAllowed(
                f"This is the {self._role} endpoint, and the token is a {caller.role}'s.",
                remedy=f"Use /{caller.role}/mcp.",
            )
        return AuthenticatedUser(
            AccessToken(
                token=token,
                client_id=caller.name,
                scopes=[caller.role.value],
                claims={"session": caller.session_id},
            )
        )


def _no_stream() -> JSONResponse:
    # Without sessions nothing could ever come on a stream of their own, and each that is open
    # holds up a stop. 405 is how a client is told so:
    # https://modelcontextprotocol.io/specification/2025-11-25/basic/transports
    words = {
        "code": "method_not_allowed",
        "message": "This endpoint has no sessions and no streams.",
        "remedy": "Send each message as a POST of its own.",
    }
    return JSONResponse(words, status_code=405, headers={"Allow": "POST"})


def _refusal(error: StoneforgeError) -> JSONResponse:
    match error:
        # The words after "error" are fixed: https://www.rfc-editor.org/rfc/rfc6750#section-3.1
        case Unauthorized():
            status, headers = 401, {"WWW-Authenticate": 'Bearer error="invalid_token"'}
        case NotAllowed():
            status, headers = 403, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'}
        case _:
            status, headers = 503, {}
    words = {"code": error.code, "message": error.message, "remedy": error.remedy}
    return JSONResponse(words, status_code=status, headers=headers)
