"""Tokens as the API counts them: what a request was given, from the cache or not, and gave."""

from dataclasses import dataclass

from launcher.core.loose import Json, count_in, object_in

CHARACTERS_PER_TOKEN = 4
"""A rough count, for texts of ours that nobody has counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A number of tokens of each kind; the kinds cost differently."""

    input: int = 0
    """Neither written to the cache nor read from it."""
    cache_write: int = 0
    cache_read: int = 0
    output: int = 0

    @property
    def prompt(self) -> int:
        """Everything that was given, from the cache or not."""
        return self.input + self.cache_write + self.cache_read

    def __add__(self, other: "Tokens") -> "Tokens":
        """Return both together."""
        return Tokens(
            input=self.input + other.input,
            cache_write=self.cache_write + other.cache_write,
            cache_read=self.cache_read + other.cache_read,
            output=self.output + other.output,
        )

    def at_least(self, other: "Tokens") -> "Tokens":
        """Return the greater of each kind."""
        return Tokens(
            input=max(self.input, other.input),
            cache_write=max(self.cache_write, other.cache_write),
            cache_read=max(self.cache_read, other.cache_read),
            output=max(self.output, other.output),
        )


def tokens_of(usage: object) -> Tokens:
    """Return the `usage` of the Messages API; also of a whole turn, in a result event."""
    fields = object_in(usage)
    return Tokens(
        input=count_in(fields.get("input_tokens")),
        cache_write=count_in(fields.get("cache_creation_input_tokens")),
        cache_read=count_in(fields.get("cache_read_input_tokens")),
        output=count_in(fields.get("output_tokens")),
    )


def tokens_of_models(usage: object) -> Tokens:
    """Return the client's own `modelUsage` form, all models together."""
    total = Tokens()
    for entry in object_in(usage).values():
        fields: Json = object_in(entry)
        total += Tokens(
            input=count_in(fields.get("inputTokens")),
            cache_write=count_in(fields.get("cacheCreationInputTokens")),
            cache_read=count_in(fields.get("cacheReadInputTokens")),
            output=count_in(fields.get("outputTokens")),
        )
    return total


def estimated(text: str) -> int:
    """Return about how many tokens the text has: its characters by four, an estimate."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)
