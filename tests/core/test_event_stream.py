"""The parser of Server-Sent Events.

Rules and most examples: https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sf_mcp.core.event_stream import Message, Parser


def parsed(*chunks: bytes, most_bytes: int = 1000) -> list[Message]:
    parser = Parser(most_bytes)
    return [message for chunk in chunks for message in parser.feed(chunk)]


STREAM = (
    b"\xef\xbb\xbfretry: 1000\n\n: alive\nid: 7\nevent: overview\ndata: {}\n\n"
    b"data: YHOO\r\ndata: +2\r\ndata:10\r\n\r\nid: 8\revent: events\rdata: \xe2\x9c\x93\r\r: end\n"
)
MESSAGES = [
    Message("overview", "{}", "7"),
    Message("message", "YHOO\n+2\n10", "7"),
    Message("events", "✓", "8"),
]


def test_messages_have_kind_data_and_the_newest_id() -> None:
    assert parsed(STREAM) == MESSAGES


def test_it_does_not_matter_where_the_bytes_are_cut() -> None:
    for at in range(len(STREAM)):
        assert parsed(STREAM[:at], STREAM[at:]) == MESSAGES
    assert parsed(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == MESSAGES


def test_a_message_is_out_as_soon_as_its_empty_line_is() -> None:
    assert parsed(b"data: x\n\n") == [Message("message", "x", "")]
    assert parsed(b"data: x\r\n\r\n") == [Message("message", "x", "")]


@pytest.mark.parametrize(
    ("stream", "data"),
    [
        (b"data\n\n", [""]),
        (b"data\ndata\n\n", ["\n"]),
        (b"data:test\n\ndata: test\n\n", ["test", "test"]),
        (b"data:  two spaces\n\n", [" two spaces"]),
        (b"data: a: b\n\n", ["a: b"]),
        (b": only a comment\n\n", []),
        (b"event: empty\n\n", []),
        (b"datum: x\nno colon\n\n", []),
        (b"data: torn", []),
        (b"data: torn\n", []),
    ],
)
def test_what_the_standard_says_of_odd_lines(stream: bytes, data: list[str]) -> None:
    assert [message.data for message in parsed(stream)] == data


def test_an_id_with_a_nul_is_no_id_and_an_empty_one_takes_it_back() -> None:
    assert parsed(b"id: 4\nid: 5\0\ndata: x\n\nid\ndata: y\n\n") == [
        Message("message", "x", "4"),
        Message("message", "y", ""),
    ]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 7, 5000])
def test_a_message_that_is_too_long_is_passed_over_and_the_next_is_not(
    end: bytes, size: int
) -> None:
    one_line = b"event: big" + end + b"data: " + b"x" * 5000 + end + b"data: y" + end + end
    many_lines = (b"data: 0123456789" + end) * 200 + end
    after = b"data: next" + end + end + b":" + end
    for too_long in (one_line, many_lines, b"y" * 5000 + end + end):
        stream = too_long + after
        chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
        assert parsed(*chunks) == [Message("message", "next", "")]


def test_what_is_kept_does_not_grow_with_what_comes() -> None:
    parser = Parser(1000)
    for chunk in (b"x" * 700, b"data:\n" * 100):
        for _ in range(200):
            assert not list(parser.feed(chunk))
            held = parser.__dict__
            assert len(held["_rest"]) <= 1700
            assert sum(map(len, held["_data"])) + len(held["_data"]) <= 1700


@given(st.lists(st.binary(max_size=80), max_size=20))
def test_any_bytes_are_accepted_and_what_follows_is_understood(junk: list[bytes]) -> None:
    assert parsed(*junk, b"\n\nevent: overview\ndata: {}\n\n", most_bytes=100)[-1].data == "{}"
