"""The table of known defects speaks of tests and lines that are there.

That each test turns red when its defect comes back is shown by `python tests/known_defects.py`.
"""

import ast
import re

import pytest

from tests.known_defects import ROOT, Row, rows

REQUIRED = {
    *(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17),
    *(20, 23, 24, 26, 28, 29, 30, 33, 36, 37, 38, 39, 40, 41),
}
"""What the first release must not do; the other numbers come with what they are about."""

ROWS = rows()

each_row = pytest.mark.parametrize(
    "row", ROWS, ids=[f"{row.number}-{row.test.rpartition('::test_')[2]}" for row in ROWS]
)


def test_every_required_defect_has_a_row() -> None:
    assert REQUIRED - {row.number for row in ROWS} == set()


def test_rows_are_in_order_and_none_is_there_twice() -> None:
    assert [row.number for row in ROWS] == sorted(row.number for row in ROWS)
    assert len({(row.test, row.file, row.old, row.new) for row in ROWS}) == len(ROWS)


@each_row
def test_the_test_of_a_row_exists(row: Row) -> None:
    path, _, name = row.test.partition("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text("utf-8"), re.MULTILINE)


@each_row
def test_the_line_of_a_row_is_in_its_file_once_and_the_changed_file_can_be_read(row: Row) -> None:
    text = (ROOT / row.file).read_text("utf-8")
    assert text.count(row.old) == 1
    assert row.old != row.new
    # A file that cannot be read turns every test red, which is no proof.
    ast.parse(text.replace(row.old, row.new))
