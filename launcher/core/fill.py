"""When the fill of a context is worth a word: to the server, or to the client that measures it."""

from sf_mcp.settings import HandoffThresholds

FILL_STEP = 0.05
"""A context that has grown by this share of its room is reported at once."""
NEAR = 0.9
"""From this share of the first threshold on, the client is asked often."""
OFTEN_SECONDS = 1.0
SELDOM_SECONDS = 5.0
"""Between two questions to a client that works; a killed one loses the costs of that time."""


def is_step(told: int, tokens: int, thresholds: HandoffThresholds) -> bool:
    """Say whether the server must know at once: what was told it is far behind, or it must act."""
    marks = (thresholds.ask, thresholds.restrict, thresholds.take_over)
    return tokens - told >= FILL_STEP * thresholds.take_over or any(
        told < mark <= tokens for mark in marks
    )


def seconds_between_questions(tokens: int, thresholds: HandoffThresholds) -> float:
    """Return how long to wait before the client is asked again."""
    return OFTEN_SECONDS if tokens >= NEAR * thresholds.ask else SELDOM_SECONDS
