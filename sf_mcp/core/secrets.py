"""What looks like a secret in a line of text: the shapes of well-known tokens, and little else.

A false alarm costs more than it seems: who has seen three looks at none. So a token's shape must be
one that nothing else has, and what is only a name with a value must look random as well.
What is found is told without being repeated.
"""

import math
import re
from collections import Counter

_TOKENS = (
    ("an AWS access key", re.compile(r"\b((?:AKIA|ASIA)[0-9A-Z]{16})\b")),
    ("a GitHub token", re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{36,255})\b")),
    ("a GitHub token", re.compile(r"\b(github_pat_[A-Za-z0-9_]{60,255})\b")),
    ("a GitLab token", re.compile(r"\b(glpat-[A-Za-z0-9_-]{20,64})\b")),
    ("a Slack token", re.compile(r"\b(xox[abeoprs]-[A-Za-z0-9-]{20,255})\b")),
    (
        "a Slack webhook",
        re.compile(r"(hooks\.slack\.com/services/T[A-Z0-9]{7,}/B[A-Z0-9]{7,}/[A-Za-z0-9]{20,})"),
    ),
    ("a Stripe key", re.compile(r"\b([sr]k_live_[A-Za-z0-9]{20,255})\b")),
    ("a Google API key", re.compile(r"\b(AIza[0-9A-Za-z_-]{35})(?![0-9A-Za-z_-])")),
    ("an Anthropic key", re.compile(r"\b(sk-ant-[a-z0-9]+-[A-Za-z0-9_-]{40,255})")),
    ("an OpenAI key", re.compile(r"\b(sk-(?:proj-)?[A-Za-z0-9_-]*T3BlbkFJ[A-Za-z0-9_-]{16,255})")),
    ("an npm token", re.compile(r"\b(npm_[A-Za-z0-9]{36})\b")),
    ("a PyPI token", re.compile(r"\b(pypi-AgE[A-Za-z0-9_-]{50,500})")),
    ("a SendGrid key", re.compile(r"\b(SG\.[A-Za-z0-9_-]{16,32}\.[A-Za-z0-9_-]{32,64})\b")),
)
_SHOWN = re.compile(
    r"(?:AKIA|ASIA|gh[pousr]_|github_pat_|glpat-|xox[abeoprs]-|[sr]k_live_|AIza|sk-ant-|sk-|npm_|"
    r"pypi-|SG\.)"
)
"""The part of a token that its maker puts into every one, and that may be shown."""

_PRIVATE_KEY = re.compile(r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----")
_KEY_MATERIAL = re.compile(r"^[\s\"'+]*[A-Za-z0-9+/]{40,}={0,2}(?:\\n)?[\"',;\s+\\]*$")
_KEY_IN_ONE_LINE = re.compile(r"PRIVATE KEY(?: BLOCK)?-----(?:\\r)?\\n[A-Za-z0-9+/\\]{40,}")

_IN_URL = re.compile(
    r"\b[a-z][a-z0-9+.-]{1,20}://[^\s/:@'\"<>{}$%]{1,64}:([^\s/@'\"<>{}$%]{8,128})@([\w.-]+)"
)
_NAMED = re.compile(
    r"(?i)[\w.-]*(?:secret|passw(?:or)?d|passwd|api[_-]?key|access[_-]?key|auth[_-]?token|"
    r"access[_-]?token|private[_-]?key|client[_-]?secret)[\w-]*[\"']?\s*(?::|=>|:?=)\s*"
    r"[rbf]?([\"'])([A-Za-z0-9+/=_.~!@#%^&*-]{16,200})\1"
)
_PLACEHOLDER = re.compile(
    r"(?i)example|sample|dummy|fake|placeholder|changeme|change[_-]me|replace|your|insert|todo|"
    r"redacted|notreal|not[_-]a|xxxx|\*\*\*\*|1234567|abcdefg|password|secret|localhost|test"
)
_RANDOM_BITS = 3.5
"""Of entropy in each character of a value that is only named like a secret."""
_TOKEN_BITS = 3.0
"""Of a token's own part; `ghp_` and forty times x is nobody's."""

MOST_CHARACTERS = 2_000
"""Of a line: what is longer is generated, and slow to look through."""


def secret_in(text: str, after: str = "", *, is_test: bool = False) -> str | None:
    """Return what secret a line seems to hold, in words without the secret; None: nothing.

    `after` is the next added line (a private key's first lines make it one). In a test, only the
    shape of a real token counts.
    """
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS]
    for name, shape in _TOKENS:
        for found in shape.finditer(text):
            token = found[1]
            prefix = _SHOWN.match(token)
            own = token[prefix.end() :] if prefix else token
            if not _PLACEHOLDER.search(token) and bits_of(own) >= _TOKEN_BITS:
                return f"{name} ({masked(token)})"
    if _PRIVATE_KEY.search(text) and (_KEY_MATERIAL.match(after) or _KEY_IN_ONE_LINE.search(text)):
        return "a private key"
    if is_test:
        return None
    if found := _IN_URL.search(text):
        password, host = found[1], found[2]
        is_public = "." in host and not host.endswith((".local", ".test", ".example"))
        is_public = is_public and "example." not in host and not host.startswith(("127.", "10."))
        if is_public and not _PLACEHOLDER.search(password) and _is_mixed(password):
            return f"a password in a URL ({masked(password)})"
    for found in _NAMED.finditer(text):
        value = found[2]
        looks_random = _is_mixed(value) and bits_of(value) >= _RANDOM_BITS
        if looks_random and not _PLACEHOLDER.search(value) and not _is_a_reference(value):
            return f"a value named like a secret ({masked(value)})"
    return None


def masked(secret: str) -> str:
    """Return a secret as what may be shown of it: its maker's prefix and its length."""
    prefix = _SHOWN.match(secret)
    return f"{prefix[0] if prefix else ''}…, {len(secret)} characters"


def bits_of(text: str) -> float:
    """Return the entropy of the text's characters in bits, by how often each occurs in it."""
    if not text:
        return 0.0
    total = len(text)
    return -sum(n / total * math.log2(n / total) for n in Counter(text).values())


def _is_mixed(value: str) -> bool:
    """Return whether letters and digits are mixed, as no word or path of a person's is."""
    digits = sum(char.isdigit() for char in value)
    letters = sum(char.isalpha() for char in value)
    return digits >= 2 and letters >= 2


def _is_a_reference(value: str) -> bool:
    """Return whether it names something instead: a dotted or slashed path, words, a constant."""
    parts = re.split(r"[./_-]", value)
    words = [part for part in parts if part]
    return len(words) >= 3 and all(len(word) < 12 and not _is_mixed(word) for word in words)
