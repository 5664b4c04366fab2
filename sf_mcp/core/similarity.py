"""Which earlier texts a new one is like: words in common, weighed by how rare they are. Pure.

Not a judgement of meaning: whoever is shown a likeness decides whether it is one. Words of grammar
and of asking count for nothing, so texts of only such words are like none.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

ALIKE = 0.5
"""From this similarity on two texts are taken for alike: by weight, half of them is shared."""

_WORD = re.compile(r"[^\W_]+")
_GRAMMAR = """
a about above after again all also am an and any are as at be because been before being below
between both but by can cannot could did do does doing done down each either else few for from
further had has have having he her here hers him his how i if in into is it its itself just like
me might mine more most must my no nor not now of off on once one ones only or other others our
out over own per please same shall she should so some such than that the their them then there
these they this those through to too under until up us use used using very want was we were what
when where whether which while who whom whose why will with would yes you your
"""
_STOP_WORDS = frozenset(_GRAMMAR.split())


def words_of(text: str) -> frozenset[str]:
    """Return the words that say something, in one form each: no case, no accents, no plural `s`."""
    plain = text
    for _ in range(2):  # such as a Fraktur A has its case only as a plain letter
        plain = unicodedata.normalize("NFKD", plain.casefold())
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    words = {_singular(word) for word in _WORD.findall(plain) if word not in _STOP_WORDS}
    return frozenset(words - _STOP_WORDS)


def similarity(one: str, other: str, *, among: Sequence[str] = ()) -> float:
    """Return how alike two texts are, from 0 (no word in common) to 1 (the same words).

    Twice the weight of the shared words over the weight of both texts (Dice, 1945). A word weighs
    the more, the fewer of the texts in `among` have it (inverse document frequency, smoothed).
    """
    return _dice(words_of(one), words_of(other), _weights([words_of(text) for text in among]))


def most_similar(
    text: str, earlier: Sequence[str], *, most: int = 3, threshold: float = ALIKE
) -> tuple[int, ...]:
    """Return the places in `earlier` of the texts that are like `text`, the likest first.

    Of two that are equally like it, the later one comes first.
    """
    asked = words_of(text)
    known = [words_of(one) for one in earlier]
    weights = _weights(known)
    scores = [(_dice(asked, words, weights), place) for place, words in enumerate(known)]
    alike = [(score, place) for score, place in scores if score and score >= threshold]
    return tuple(place for _, place in sorted(alike, reverse=True)[:most])


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word[-1] == "s" and word[-2] != "s" else word


def _weights(texts: Sequence[frozenset[str]]) -> Callable[[str], float]:
    counts = Counter(word for words in texts for word in words)
    return lambda word: 1 + math.log((1 + len(texts)) / (1 + counts[word]))


def _dice(one: frozenset[str], other: frozenset[str], weight: Callable[[str], float]) -> float:
    # Exact sums: their order is that of a set, which differs from run to run.
    shared = math.fsum(map(weight, one & other))
    whole = math.fsum(map(weight, one)) + math.fsum(map(weight, other))
    return 2 * shared / whole if whole else 0.0
