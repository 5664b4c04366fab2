import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.errors import InvalidInput
from sf_mcp.core.text import (
    TEXT_LIMIT,
    TITLE_LIMIT,
    branch_name_problem,
    checked_text,
    checked_title,
    one_line,
    slug,
)


@pytest.mark.parametrize(
    "title",
    [
        "Fix `rm -rf /` in $(HOME) \"quoted\" 'twice'",
        "--force",
        "-x",
        "/etc/passwd",
        "../../up",
        "👩‍👩‍👧 family invitations",
        "日本語のタイトル",
    ],
)
def test_a_title_of_odd_characters_is_kept_as_it_is(title: str) -> None:
    assert checked_title(title) == title


def test_line_breaks_and_control_characters_in_a_title_become_spaces() -> None:
    title = "  Fix the\nparser\r\n\tand\x1b[31m the\u2028lexer\x00 \n"
    assert checked_title(title) == "Fix the parser and [31m the lexer"


@pytest.mark.parametrize("title", ["", "   ", "\n\t", "\x00\u2029"])
def test_a_title_without_a_visible_character_is_refused(title: str) -> None:
    with pytest.raises(InvalidInput, match="title is empty"):
        checked_title(title)


def test_a_title_of_ten_thousand_characters_is_refused_with_its_length_and_the_way_out() -> None:
    with pytest.raises(InvalidInput) as refusal:
        checked_title("x" * 10_000)
    assert "10,000 characters" in refusal.value.message
    assert "--description" in refusal.value.remedy


def test_a_title_at_the_limit_is_accepted() -> None:
    assert checked_title("x" * TITLE_LIMIT) == "x" * TITLE_LIMIT


def test_a_title_that_is_not_unicode_is_refused() -> None:
    with pytest.raises(InvalidInput, match="lone surrogate at position 3"):
        checked_title("ab\udcff")


@given(st.text())
def test_a_checked_title_is_one_printable_line_with_every_word(text: str) -> None:
    try:
        title = checked_title(text)
    except InvalidInput:
        return
    assert title.splitlines() == [title]
    assert title == checked_title(title)


def test_a_long_text_with_line_breaks_is_kept_as_it_is() -> None:
    text = "a\n\tb\r\n" * 1000
    assert checked_text(text, "description") == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x" * (TEXT_LIMIT + 1), "100,001 characters; at most 100,000"),
        ("ab\0c", "NUL character .at position 3"),
        ("\ud800", "lone surrogate at position 1"),
    ],
)
def test_a_text_that_cannot_be_stored_is_refused_by_name(text: str, words: str) -> None:
    with pytest.raises(InvalidInput, match=rf"The summary .*{words}"):
        checked_text(text, "summary")


def test_one_line_cuts_at_the_limit_and_shows_that_it_did() -> None:
    assert one_line("one\ntwo three", 9) == "one two…"
    assert one_line("one\ntwo", 7) == "one two"


def test_one_line_can_always_be_printed() -> None:
    assert one_line("bad \udcff byte\x07").encode() == "bad \ufffd byte".encode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Add user invitation API", "add-user-invitation-api"),
        ("Ünïcode — façade!", "unicode-facade"),
        ("--force /etc/../passwd", "force-etc-passwd"),
        ("日本語", ""),
        ("a" * 50, "a" * 40),
        ("word " * 20, "word-word-word-word-word-word-word-word"),
    ],
)
def test_a_slug_is_ascii_words_cut_at_a_word(text: str, expected: str) -> None:
    assert slug(text) == expected


@given(st.text())
def test_a_slug_after_a_prefix_is_always_a_branch_name(text: str) -> None:
    assert branch_name_problem(f"x/T1-{slug(text)}") is None


@pytest.mark.parametrize(
    "name",
    [
        *(
            "main",
            "feature/x",
            "release-1.2",
            "ünï/日本",
            "a@b",
            "x{y}",
            "1",
            "a/b/c",
            "a.b",
            "x@{",
        ),
        *("", "-x", ".a", "a/.b", "a..b", "a.lock", "a.lock/b", "a/", "/a", "a//b", "a."),
        *("a b", "a~1", "a^", "a:b", "a?", "a*", "a[b", "a\\b", "a\x7f", "a\tb", "@{u}"),
    ],
)
def test_a_branch_name_is_refused_exactly_when_git_refuses_it(name: str) -> None:
    """git-check-ref-format(1), asked itself."""
    git = subprocess.run(["git", "check-ref-format", f"refs/heads/{name}"], timeout=10, check=False)
    accepted_by_git = git.returncode == 0 and not name.startswith("-")
    assert (branch_name_problem(name) is None) == accepted_by_git


@pytest.mark.parametrize("name", ["HEAD", "@", "refs/heads/main", "sf", "sf/T12-a-task"])
def test_names_with_a_meaning_of_their_own_are_refused_as_branches(name: str) -> None:
    assert branch_name_problem(name) is not None
