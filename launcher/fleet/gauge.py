"""Measures a session: asks its client for fill, window and cost, and says when it is full.

Rule 1: a client at rest is asked nothing, and no question costs a model request.
Rule 2: a question that is not answered, or not known to an older client, changes nothing: the
stream says most of it too, only later.
"""

import itertools
import logging
from collections.abc import Callable

import anyio

from launcher.core.fill import OFTEN_SECONDS, seconds_between_questions
from launcher.core.observation import Observation
from launcher.core.stream import (
    AssistantMessage,
    ControlResponse,
    Event,
    ToolResults,
    get_context_usage,
    get_session_cost,
)
from launcher.core.tokens import estimated
from launcher.core.usage import OUR_TOOLS, Usage
from launcher.fleet.child import Child
from launcher.prompts import prompt_text
from sf_mcp.core.layout import Layout
from sf_mcp.core.models import Role
from sf_mcp.settings import HandoffThresholds, SettingsFile

logger = logging.getLogger(__name__)

ENDING_TOOLS = frozenset(
    f"{OUR_TOOLS}{name}" for name in ("write_handoff", "request_merge", "release_task")
)
"""A full session in the middle of one of these calls is let finish it."""


class Gauge:
    """The measuring of one session; it sees every event of its stream."""

    def __init__(
        self, role: Role, settings: SettingsFile, observed: Callable[[], Observation]
    ) -> None:
        """`observed` gives what is known at the moment."""
        self._role = role
        self._settings = settings
        self._observed = observed
        self._numbers = itertools.count(1)
        self._questions = {"context": get_context_usage, "cost": get_session_cost}
        self._asked_about = ""
        """The message that was the newest when it was last asked."""
        self._ending_calls: frozenset[str] = frozenset()
        self._has_news = anyio.Event()
        self._has_moved = anyio.Event()
        """The fill, and with it how often to ask."""
        self._asked_at = 0.0
        self._scope = anyio.CancelScope()

    def thresholds(self) -> HandoffThresholds:
        """Return where the session is asked, restricted and taken over, in tokens.

        The window is the one that the client has said.
        """
        worker = self._settings.current().agents.worker
        return worker.handoff_thresholds(
            self._observed().context_window or worker.max_session_tokens
        )

    @property
    def is_full(self) -> bool:
        """Whether the session must be taken over now."""
        tokens = self._observed().context_tokens
        if self._role is not Role.WORKER or not tokens or self._ending_calls:
            return False
        return tokens >= self.thresholds().take_over

    def hear(self, event: Event) -> None:
        """Take note of an event that has just been observed."""
        match event:
            case AssistantMessage() if event.is_main_thread:
                ending = {use.id for use in event.tool_uses if use.name in ENDING_TOOLS}
                self._ending_calls |= ending
                self._has_moved.set()
                if event.message_id != self._asked_about:
                    self._has_news.set()
            case ToolResults():
                self._ending_calls -= {result.tool_use_id for result in event.results}
            case ControlResponse() if event.error is not None:
                if self._questions.pop(event.request_id.partition("-")[0], None):
                    logger.info("the client does not say it: %s", event.error)
            case _:
                pass

    async def ask(self, child: Child) -> None:
        """Ask for everything now; the answers come in the stream."""
        self._asked_about = self._observed().usage.newest
        self._asked_at = anyio.current_time()
        number = next(self._numbers)
        try:
            for name, question in tuple(self._questions.items()):
                await child.send(question(f"{name}-{number}"))
        except OSError as error:
            # It is ending or hangs: the one is seen in its output, the other by its silence.
            logger.info("the client took no question: %s", error)

    async def run(self, child: Child) -> None:
        """Ask again and again while the session works, until closed."""
        with self._scope:
            while True:
                await self._has_news.wait()
                # For the answer that has begun to be whole.
                await anyio.sleep(OFTEN_SECONDS)
                while (left := self._asked_at + self._pause() - anyio.current_time()) > 0:
                    self._has_moved = anyio.Event()
                    with anyio.move_on_after(left):
                        await self._has_moved.wait()
                # Only here: who waits for an event must be the one that replaces it.
                self._has_news = anyio.Event()
                if self._observed().is_turn_active:  # else the turn's end has told it
                    await self.ask(child)

    def _pause(self) -> float:
        return seconds_between_questions(self._observed().context_tokens, self.thresholds())

    def close(self) -> None:
        """Ask no more."""
        self._scope.cancel()


def nothing_seen(layout: Layout, role: Role) -> Observation:
    """Return what is known of a client that has said nothing yet: the prompt it was given.

    Raises:
        StoneforgeError: the role's prompt cannot be used.
    """
    prompt = prompt_text(layout, role)
    return Observation(usage=Usage(prompt=estimated(prompt)))
