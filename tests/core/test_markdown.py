"""Text in a Markdown document shows as it was written, whatever it is."""

from html import unescape
from re import findall, sub

from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from sf_mcp.core.markdown import escaped, row
from sf_mcp.core.text import one_line

MARKDOWN = MarkdownIt("commonmark").enable("table").enable("strikethrough")
ODD = st.text(alphabet="ab1. \\`*_{}[]()<>#+-=!|~&;:/@$\n\t\"'", max_size=30)


def shown(markdown: str) -> tuple[str, set[str]]:
    """Return the text that a reader sees, and the elements that it stands in."""
    html = MARKDOWN.render(markdown)
    elements = set(findall(r"</?(\w+)", html))
    return unescape(sub(r"<[^>]*>", "", html)).strip(), elements


@given(ODD)
@example("- [ ] a")
@example("1. a")
@example("---")
@example("===")
@example("<script>alert(1)</script>")
@example("<!-- -->")
@example("[a](javascript:b)")
@example("![a](b)")
@example("&lt;")
@example("a\\")
@example("https://example.com www.a.b a@b.c")
@example("`")
@example("~~a~~")
def test_any_text_in_a_list_item_is_that_text_alone(text: str) -> None:
    plain = one_line(text, 300)
    found, elements = shown(f"- x {escaped(text)}\n- {escaped(text)} y")
    assert [line.strip() for line in found.split("\n") if line.strip()] == [
        f"x {plain}".strip(),
        f"{plain} y".strip(),
    ]
    assert elements <= {"ul", "li"}


@given(ODD)
@example("a | b")
@example("\\|")
def test_any_text_in_a_table_stays_in_its_cell(text: str) -> None:
    table = "\n".join([row("A", "B"), row("---", "---"), row(escaped(text), "end")])
    html = MARKDOWN.render(table)
    assert html.count("<td>") == 2
    first = html.split("<td>")[1].split("</td>")[0]
    assert unescape(first).strip() == one_line(text, 300)
    assert "<" not in first


def test_addresses_are_not_made_into_links() -> None:
    assert escaped("https://a.b www.c.d e@f.g") == "https\\://a.b www\\.c.d e\\@f.g"
