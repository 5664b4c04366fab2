"""Headers of every answer: what a browser may do with it, which is as little as the page needs.

Scripts, styles and connections of this server alone, no inline ones, no frames; nothing turns text
into markup or code but lit-html, which does not do it with what it is given to show
(https://www.w3.org/TR/CSP3/, https://www.w3.org/TR/trusted-types/).
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "worker-src 'self'",
        "font-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        # The second names this server's own workers alone: `static/workers.js`.
        "trusted-types lit-html stoneforge-worker",
    )
)

STRICT = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
NOT_KEPT = (b"cache-control", b"no-store")
"""Of answers that do not say how long they may be kept themselves."""

_STRICT = [(name.lower().encode(), value.encode()) for name, value in STRICT.items()]


class StrictHeaders:
    """ASGI middleware that adds the headers to every answer, refusals included."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap `app`."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", ()), *_STRICT]
                if not any(name.lower() == b"cache-control" for name, _ in headers):
                    headers.append(NOT_KEPT)
                message = {**message, "headers": headers}
            await send(message)

        await self._app(scope, receive, with_headers)
