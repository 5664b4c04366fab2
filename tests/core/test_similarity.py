"""Likeness of texts: what it finds in real questions, and what holds for any texts at all."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sf_mcp.core.similarity import ALIKE, most_similar, similarity, words_of

TEXTS = st.text(max_size=60) | st.lists(
    st.sampled_from(["which", "Database", "should", "events", "SQLite", "Postgres", "cache?"]),
    max_size=10,
).map(" ".join)
EARLIER = [
    "Which database should the event store use, SQLite or Postgres?",
    "May I rename the column user_id to member_id in the API?",
    "Is the limit per team and day, or per person?",
    "Should old Python versions (3.9) still be supported?",
]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("Should the store for events use SQLite or Postgres?", 0),
        ("SQLite or Postgres for the event database?", 0),
        ("Can I rename user_id to member_id?", 1),
        ("Is the invitation limit meant per person, or per team and day?", 2),
        ("Do we still support Python 3.9?", 3),
    ],
)
def test_the_same_thing_asked_in_other_words_is_found(text: str, place: int) -> None:
    assert most_similar(text, EARLIER) == (place,)


@pytest.mark.parametrize(
    "text",
    [
        "Which colour should the button have?",
        "Should the cache use Redis?",
        "Which one should I use?",
        "May I delete the table of sessions?",
        "",
        "?!",
    ],
)
def test_another_thing_is_not_taken_for_one_of_them(text: str) -> None:
    assert most_similar(text, EARLIER) == ()


def test_texts_that_say_nothing_by_themselves_are_not_alike() -> None:
    """`Which one?` about two tasks are two questions."""
    assert similarity("Which one?", "Which one?") == 0
    assert most_similar("Which one?", ["Which one?"]) == ()


def test_the_likest_comes_first_the_later_of_equals_before_the_earlier_and_not_too_many() -> None:
    earlier = ["red button colour", "button colour", "red button colour", "button colour border"]
    assert most_similar("red button colour", earlier, most=3) == (2, 0, 1)


def test_a_rare_word_in_common_says_more_than_one_that_everybody_uses() -> None:
    among = ["task alpha", "task beta", "task gamma", "task delta"]
    common = similarity("task one", "task two", among=among)
    rare = similarity("alpha one", "alpha two", among=among)
    assert rare > common


@given(TEXTS, TEXTS, st.lists(TEXTS, max_size=5))
def test_likeness_is_mutual_and_between_none_and_all(
    one: str, other: str, among: list[str]
) -> None:
    found = similarity(one, other, among=among)
    assert 0 <= found <= 1
    assert found == similarity(other, one, among=among)
    assert (found == 0) == (not words_of(one) & words_of(other))


@given(TEXTS, st.lists(TEXTS, max_size=5))
def test_a_text_is_wholly_like_itself_however_it_is_written(text: str, among: list[str]) -> None:
    shuffled = "Why, the " + " ".join(sorted(text.upper().split(), reverse=True)) + "?!"
    if words_of(text) and words_of(text) == words_of(shuffled):
        assert similarity(text, shuffled, among=among) == 1


@given(TEXTS)
@example("\N{MATHEMATICAL BOLD FRAKTUR CAPITAL A}")
def test_the_words_of_words_are_those_words(text: str) -> None:
    assert words_of(" ".join(sorted(words_of(text)))) == words_of(text)


@given(TEXTS, st.lists(TEXTS, max_size=8), st.integers(0, 4))
def test_what_is_offered_is_each_once_and_alike(text: str, earlier: list[str], most: int) -> None:
    places = most_similar(text, earlier, most=most)
    assert len(set(places)) == len(places) <= most
    scores = [similarity(text, earlier[place], among=earlier) for place in places]
    assert all(score >= ALIKE for score in scores)
    assert scores == sorted(scores, reverse=True)
    assert places == most_similar(text, earlier, most=most)
