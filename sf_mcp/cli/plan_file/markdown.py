"""A plan written in Markdown: headings and check boxes.

Rule 1: in a file with check boxes each of them is a task, and headings are groups. In one without,
each heading that has no heading below it is a task.
Rule 2: what belongs to no task is the plan's description; nothing that was written is dropped but
comments, and what is ticked off.
Rule 3: text stays as it was written; only its place is read from the Markdown.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from sf_mcp.cli.plan_file.fields import items_of, minutes_of
from sf_mcp.cli.plan_file.parsed import ParsedPlan, ParsedTask, PlanFileInvalid, Reference

MOST_NESTING = 200
LISTS = frozenset({"bullet_list", "ordered_list"})

_BOX = re.compile(r"\[([ xX])\][ \t]+(\S.*)")
_MARK = r"[*_`]{0,2}"
_FIELD = re.compile(
    rf"{_MARK}(priority|depends[ _]on|paths?|estimate(?:[ _]minutes)?|key){_MARK}\s*:{_MARK}"
    r"\s*(.*)",
    re.IGNORECASE,
)
_ACCEPTANCE = re.compile(
    rf"{_MARK}acceptance(?: criteria)?{_MARK}\s*:?{_MARK}\s*(.*)", re.IGNORECASE
)
_KEY = re.compile(r"[\w.-]+")


@dataclass(slots=True)
class _Section:
    """A heading and what stands below it, up to the next one of its rank."""

    rank: int
    title: str
    line: int
    blocks: list[SyntaxTreeNode] = field(default_factory=list[SyntaxTreeNode])
    inner: list["_Section"] = field(default_factory=list["_Section"])

    @property
    def is_acceptance(self) -> bool:
        found = _ACCEPTANCE.fullmatch(self.title)
        return found is not None and not found[1]


@dataclass(slots=True)
class _Body:
    """What is said below a title."""

    text: list[str] = field(default_factory=list[str])
    acceptance: list[str] = field(default_factory=list[str])
    fields: dict[str, tuple[str, int]] = field(default_factory=dict[str, tuple[str, int]])
    boxes: list[SyntaxTreeNode] = field(default_factory=list[SyntaxTreeNode])
    """The check boxes in it, which are tasks of their own."""


def read_markdown(text: str, source: str) -> ParsedPlan:
    """Return the plan that the text holds.

    Raises:
        PlanFileInvalid: a field has a value that it cannot have.
    """
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    root = SyntaxTreeNode(MarkdownIt("commonmark", {"maxNesting": MOST_NESTING}).parse(text))
    return _Reader(text.split("\n"), source).plan(root)


class _Reader:
    def __init__(self, lines: list[str], source: str) -> None:
        self._lines = lines
        self._source = source
        self._plan = ParsedPlan()
        self._about: list[str] = []
        self._has_boxes = True
        """Whether check boxes are tasks; taken for granted until they have been looked for."""

    def plan(self, root: SyntaxTreeNode) -> ParsedPlan:
        top = _sections(root)
        self._has_boxes = any(
            self._body(section.blocks, with_fields=False).boxes
            for section in _all(top)
            if not section.is_acceptance
        )
        titled = next((section for section in top.inner if section.rank == 1), None)
        if titled is not None:
            self._plan.title = titled.title
        for section in _all(top):
            is_title = section in (top, titled)
            if self._has_boxes:
                self._group(section, [] if is_title else _path(top, section, titled))
            elif is_title:
                self._about += self._body(section.blocks).text
            else:
                self._heading(section, _path(top, section, titled))
        self._plan.description = "\n\n".join(self._about).strip()
        return self._plan

    # -- where tasks are ---------------------------------------------------------------------------

    def _group(self, section: _Section, path: list[str]) -> None:
        """Read the check boxes of a section; the rest of it is about the plan."""
        body = _Body()
        if section.is_acceptance:
            body.text = [text for block in section.blocks for text in self._source_of(block)]
        else:
            body = self._body(section.blocks, with_fields=False)
        if body.text:
            heading = f"{'#' * section.rank} {section.title}\n\n" if path else ""
            self._about.append(heading + "\n\n".join(body.text))
        for box in body.boxes:
            self._box(box, path)

    def _heading(self, section: _Section, path: list[str]) -> None:
        """Read a heading as a task, unless it is a group or the criteria of one."""
        if section.is_acceptance:
            return
        if any(not one.is_acceptance for one in section.inner):
            if text := self._body(section.blocks).text:
                self._about.append(f"{'#' * section.rank} {section.title}\n\n" + "\n\n".join(text))
            return
        body = self._body(section.blocks)
        for criteria in section.inner:
            for block in criteria.blocks:
                if block.type in LISTS:
                    body.acceptance += [self._criterion(item) for item in block.children]
                else:
                    body.text += self._source_of(block)
        self._add(section.title, section.line, body, path[:-1])

    def _box(self, item: SyntaxTreeNode, path: list[str]) -> Reference | None:
        """Read a check box as a task, its inner ones first: it waits for them."""
        first, *others = item.children
        written = first.children[0].content.split("\n", 1)
        box = _BOX.fullmatch(written[0])
        assert box is not None  # `boxes` holds nothing else
        line = _line(item)
        if box[1] != " ":
            self._plan.tasks.append(ParsedTask(line=line, title=box[2].strip(), is_done=True))
            return None
        body = self._body(others, begins=(written[1], line + 1) if written[1:] else None)
        task = self._add(box[2].strip(), line, body, path)
        place = len(self._plan.tasks) - 1
        inner = [self._box(one, [*path, task.title]) for one in body.boxes]
        waits = tuple(one for one in inner if one is not None)
        self._plan.tasks[place] = replace(task, depends_on=(*task.depends_on, *waits))
        return Reference(f"#{place + 1}", line)

    def _add(self, title: str, line: int, body: _Body, path: list[str]) -> ParsedTask:
        group = [f"Part of: {' / '.join(path)}"] if path else []
        task = ParsedTask(
            line=line,
            title=title,
            description="\n\n".join([*group, *body.text]),
            acceptance=tuple(body.acceptance),
        )
        for name, (value, where) in body.fields.items():
            task = self._with_field(task, name, value, where)
        self._plan.tasks.append(task)
        return task

    # -- what stands below a title -----------------------------------------------------------------

    def _body(
        self,
        blocks: Sequence[SyntaxTreeNode],
        *,
        with_fields: bool = True,
        begins: tuple[str, int] | None = None,
    ) -> _Body:
        """Read blocks, after the rest of a title's own paragraph and its line."""
        body = _Body()
        is_criteria_next = begins is not None and self._paragraph(*begins, body)
        for block in blocks:
            if block.type in LISTS and is_criteria_next:
                body.acceptance += [self._criterion(item) for item in block.children]
            elif block.type in LISTS:
                self._list(block, body, with_fields=with_fields)
            elif block.type == "paragraph" and with_fields:
                is_criteria_next = self._paragraph(block.children[0].content, _line(block), body)
                continue
            elif block.type == "paragraph" and self._announces(block):
                is_criteria_next = True
                body.text += self._source_of(block)
                continue
            else:
                body.text += self._source_of(block)
            is_criteria_next = False
        return body

    def _announces(self, block: SyntaxTreeNode) -> bool:
        found = _ACCEPTANCE.fullmatch(block.children[0].content)
        return found is not None and not found[1]

    def _paragraph(self, written: str, line: int, body: _Body) -> bool:
        """Take the fields out of a paragraph; return whether a list of criteria must follow."""
        kept: list[str] = []
        announced = False
        for number, text in enumerate(written.split("\n")):
            announced = False
            if self._field(text, line + number, body):
                continue
            if found := _ACCEPTANCE.fullmatch(text.strip()):
                if not found[1]:
                    announced = True
                    continue
                if ":" in text:
                    body.acceptance.append(found[1])
                    continue
            kept.append(text)
        if kept:
            body.text.append("\n".join(kept))
        return announced

    def _field(self, text: str, line: int, body: _Body) -> bool:
        found = _FIELD.fullmatch(text.strip())
        if found is None:
            return False
        name = found[1].lower().replace("_", " ")
        if name == "key" and not _KEY.fullmatch(found[2]):
            return False  # prose that happens to begin so
        body.fields[name] = (found[2].strip(), line)
        return True

    def _list(self, block: SyntaxTreeNode, body: _Body, *, with_fields: bool) -> None:
        """Take tasks, fields and criteria out of a list; what is left of it is text."""
        kept: list[str] = []
        for item in block.children:
            first = item.children[0] if item.children else None
            written = first.children[0].content if _is_paragraph(first) and first else ""
            title = written.split("\n", 1)[0]
            if self._has_boxes and _BOX.fullmatch(title):
                body.boxes.append(item)
                continue
            rest = item.children[1:]
            announced = _ACCEPTANCE.fullmatch(title)
            if with_fields and announced and not announced[1] and rest and rest[0].type in LISTS:
                body.acceptance += [self._criterion(one) for one in rest[0].children]
                continue
            if with_fields and "\n" not in written and not rest:
                if self._field(written, _line(item), body):
                    continue
                if announced and announced[1] and ":" in written:
                    body.acceptance.append(announced[1])
                    continue
            inner = _Body()
            for one in rest:
                if one.type in LISTS:
                    self._list(one, inner, with_fields=with_fields)
            if inner.boxes:
                body.boxes += inner.boxes
                kept += [f"- {title}", *inner.text]
                body.fields |= inner.fields
                body.acceptance += inner.acceptance
            else:
                kept += self._source_of(item)
        if kept:
            body.text.append("\n".join(kept))

    def _criterion(self, item: SyntaxTreeNode) -> str:
        text = "\n".join(self._source_of(item))
        text = re.sub(r"\A\s*(?:[-*+]|\d+[.)])\s+", "", text)
        box = re.sub(r"\A\[[ xX]\]\s+", "", text)
        return " ".join(box.split())

    def _source_of(self, node: SyntaxTreeNode) -> list[str]:
        """Return a block as it was written; nothing for a comment."""
        if node.map is None or node.type == "hr":
            return []
        text = textwrap.dedent("\n".join(self._lines[node.map[0] : node.map[1]])).strip("\n")
        if node.type == "html_block" and text.lstrip().startswith("<!--"):
            return []
        return [text.rstrip()] if text.strip() else []

    # -- fields ------------------------------------------------------------------------------------

    def _with_field(self, task: ParsedTask, name: str, value: str, line: int) -> ParsedTask:
        match name.split(" ")[0]:
            case "priority":
                if not re.fullmatch(r"\d{1,9}", value):
                    raise self._fault(line, f"the priority {value!r} is not a number from 1 to 5.")
                return replace(task, priority=int(value))
            case "depends":
                found = tuple(Reference(one.strip("`"), line) for one in items_of(value))
                return replace(task, depends_on=found)
            case "path" | "paths":
                return replace(task, paths=tuple(one.strip("`") for one in items_of(value)))
            case "key":
                return replace(task, key=value)
            case _:
                if (minutes := minutes_of(value)) is None:
                    raise self._fault(line, f"the estimate {value!r} is not a time such as 45m.")
                return replace(task, estimate_minutes=minutes)

    def _fault(self, line: int, what: str) -> PlanFileInvalid:
        return PlanFileInvalid(self._source, line, what, remedy="Correct it or remove the line.")


def _sections(root: SyntaxTreeNode) -> _Section:
    """Return the file as sections below one that stands for the whole."""
    top = _Section(0, "", 1)
    open_sections = [top]
    for node in root.children:
        if node.type != "heading":
            open_sections[-1].blocks.append(node)
            continue
        rank = int(node.tag[1])
        while open_sections[-1].rank >= rank:
            open_sections.pop()
        title = " ".join(node.children[0].content.split()) if node.children else ""
        section = _Section(rank, title, _line(node))
        open_sections[-1].inner.append(section)
        open_sections.append(section)
    return top


def _all(section: _Section) -> Iterator[_Section]:
    yield section
    for inner in section.inner:
        yield from _all(inner)


def _path(top: _Section, wanted: _Section, titled: _Section | None) -> list[str]:
    """Return the headings above a section and its own, without the plan's title."""
    for section in top.inner:
        if section is wanted or any(one is wanted for one in _all(section)):
            own = [] if section is titled else [section.title]
            return own if section is wanted else [*own, *_path(section, wanted, titled)]
    return []


def _is_paragraph(node: SyntaxTreeNode | None) -> bool:
    return node is not None and node.type == "paragraph" and bool(node.children)


def _line(node: SyntaxTreeNode) -> int:
    return node.map[0] + 1 if node.map else 1
