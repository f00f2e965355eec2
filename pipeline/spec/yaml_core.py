"""YAML to a tree of nodes: 1.2 core types, no key twice, no bombs, every fault with its place."""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import yaml

from pipeline.errors import Mistake, Place
from pipeline.spec.nodes import ListNode, MapNode, Node, ScalarNode
from pipeline.spec.scalars import CORE, Value, resolve, resolve_tagged
from pipeline.spec.source import Source, holds_secret, printable

#: Lists and maps inside one another.
DEPTH_MAX: Final = 50
#: Values of a spec, keys included.
NODES_MAX: Final = 50_000
#: Values that aliases may stand for, in total.
EXPANSION_MAX: Final = 10_000
#: Unquoted templates that are mended in memory so that later faults are found in the same pass.
_REPAIRS_MAX: Final = 20
_REPAIR_CHARACTERS_MAX: Final = 100_000

#: Events, marks and errors of a parser: the C parser's and the Python one's share no types.
_Event: TypeAlias = Any
_Parser: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FLOW_TEMPLATE: Final = re.compile(r"[^,\[\]{}]*(\{\{.*?\}\}[^,\[\]{}#]*)+")
_TEMPLATE_START: Final = re.compile(r"(?:^\s*|:\s+|-\s+|[\[,]\s*)(?=\{\{)")
_SCALAR_TAGS: Final = frozenset({"!", *(CORE + kind for kind in ("str", "int", "float", "bool", "null"))})


class _Stop(Exception):  # noqa: N818 - not a fault of ours: it ends the reading
    """Reading cannot go on; the mistake is recorded."""


class _Template(Exception):  # noqa: N818
    """An unquoted value begins with {{ at this zero-based place."""

    def __init__(self, line: int, column: int, *, flow: bool) -> None:
        self.line, self.column, self.flow = line, column, flow


def read_tree(source: Source, text: str | None = None) -> tuple[Node | None, list[Mistake]]:
    """The tree of a source's text (or of `text`, which must stand at the same places), with all faults found.

    The tree is None when the text could not be read to its end.
    """
    mistakes: list[Mistake] = []
    lines = re.split("(\r\n|[\n\r\x85\u2028\u2029])", source.text if text is None else text)
    inserted: dict[int, list[int]] = {}
    for _ in range(_REPAIRS_MAX + 1):
        composer = _Composer(source, "".join(lines), inserted)
        try:
            return composer.document(), mistakes + composer.mistakes
        except _Stop:
            return None, mistakes + composer.mistakes
        except yaml.YAMLError as error:
            found = composer.template_near(error)
            if found is None:
                # After a template without quotes, what the parser says next is most likely about the same.
                return None, mistakes + composer.mistakes + ([] if mistakes else [composer.explain(error)])
        except _Template as template:
            found = template
        line = lines[2 * found.line]
        value = _unquoted(line[found.column :], flow=found.flow)
        where = "begins with {{" if value.startswith("{{") else "holds {{ inside [ ] or { }"
        what = f"a value that {where} must stand in quotes"
        mistakes.append(Mistake(composer.place(found.line, found.column), what, f"write {_in_quotes(value)}"))
        if len(source.text) > _REPAIR_CHARACTERS_MAX:
            return None, mistakes
        lines[2 * found.line] = _repair(line, found.column, value, inserted.setdefault(found.line, []))
    return None, mistakes


def _unquoted(rest: str, *, flow: bool) -> str:
    """The value that was meant, from its {{ to its end."""
    if flow and (match := _FLOW_TEMPLATE.match(rest)):
        return match[0].rstrip()
    return re.split(r"\s#", rest, maxsplit=1)[0].rstrip()


def _in_quotes(value: str) -> str:
    shown = printable(value if len(value) <= 60 else value[:57] + "...")
    if holds_secret(value):
        return '"{{ ... }}"'
    return f'"{shown}"' if '"' not in shown and "\\" not in shown else "'" + shown.replace("'", "''") + "'"


def _repair(line: str, column: int, value: str, inserted: list[int]) -> str:
    """The line with the value in quotes; the columns of what was put in are noted."""
    quoted = "'" + value.replace("'", "''") + "'"
    inserted.append(column)
    inserted.extend(match.end() - 1 + column for match in re.finditer("(?<!^)''", quoted))
    inserted.append(column + len(quoted) - 1)
    return line[:column] + quoted + line[column + len(value) :]


class _Composer:
    """One pass over the parser's events."""

    def __init__(self, source: Source, text: str, inserted: dict[int, list[int]]) -> None:
        self.source = source
        self.lines = re.split("\r\n|[\n\r\x85\u2028\u2029]", text)
        self.inserted = inserted
        self.mistakes: list[Mistake] = []
        self.parser = _Parser(text)
        self.anchors: dict[str, Node | None] = {}
        self.nodes = 0
        self.expanded = 0

    # -- places ------------------------------------------------------------------------------------------------

    def place(self, line: int, column: int) -> Place:
        """The place in the text as written, from a zero-based place in the mended text."""
        return self.source.place(line, column - sum(1 for at in self.inserted.get(line, ()) if at < column))

    def at(self, mark: _Event) -> Place:
        return self.place(mark.line, mark.column)

    def fault(self, place: Place, what: str, remedy: str = "") -> None:
        self.mistakes.append(Mistake(place, what, remedy))

    def stop(self, place: Place, what: str, remedy: str) -> _Stop:
        self.fault(place, what, remedy)
        return _Stop()

    # -- composing ---------------------------------------------------------------------------------------------

    def document(self) -> Node | None:
        """The one document of the text."""
        root: Node | None = None
        while not isinstance(event := self.parser.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise self.stop(self.at(event.start_mark), "a second document begins here", "one spec to a file")
                root = self.node(self.parser.get_event(), 0, flow=False)
        if root is None or (isinstance(root, ScalarNode) and root.value is None):
            raise self.stop(self.source.place(0, 0), "the spec is empty", "`pipeline init` writes a first one")
        return root

    def node(self, event: _Event, depth: int, *, flow: bool) -> Node:
        """The node that begins with this event. *Units* - depth: lists and maps around it."""
        self.nodes += 1
        if self.nodes > NODES_MAX:
            raise self.stop(
                self.at(event.start_mark),
                f"the spec has more than {NODES_MAX:,} values",
                "put long lists into files: {lines: FILE} or inputs",
            )
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, depth)
        if event.anchor:
            self.anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node: Node = self.scalar(event)
        else:
            if depth >= DEPTH_MAX:
                what = f"lists and maps are nested more than {DEPTH_MAX} deep"
                raise self.stop(self.at(event.start_mark), what, "no spec needs that")
            node = self.collection(event, depth, flow=flow)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def collection(self, event: _Event, depth: int, *, flow: bool) -> Node:
        mark = event.start_mark
        is_map = isinstance(event, yaml.MappingStartEvent)
        if is_map and event.flow_style and self.lines[mark.line].startswith("{{", mark.column):
            raise _Template(mark.line, mark.column, flow=flow)
        if event.tag not in {None, "!", CORE + ("map" if is_map else "seq")}:
            self.unknown_tag(event)
        flow = flow or bool(event.flow_style)
        return self.mapping(event, depth, flow=flow) if is_map else self.sequence(event, depth, flow=flow)

    def sequence(self, event: _Event, depth: int, *, flow: bool) -> ListNode:
        items: list[Node] = []
        while not isinstance(inner := self.parser.get_event(), yaml.SequenceEndEvent):
            items.append(self.node(inner, depth + 1, flow=flow))
        return ListNode(self.at(event.start_mark), tuple(items))

    def mapping(self, event: _Event, depth: int, *, flow: bool) -> MapNode:
        pairs: dict[str, tuple[ScalarNode, Node]] = {}
        merges: dict[str, Node] = {}
        while not isinstance(inner := self.parser.get_event(), yaml.MappingEndEvent):
            key = self.node(inner, depth + 1, flow=flow)
            value = self.node(self.parser.get_event(), depth + 1, flow=flow)
            if not isinstance(key, ScalarNode):
                self.fault(key.place, "a list or map cannot be a key", "write a word, or quote the text")
            elif key.text in pairs:
                first = pairs[key.text][0].place.line
                self.fault(key.place, f"key '{_shown(key.text)}' given twice", f"the first stands in line {first}")
            else:
                pairs[key.text] = (key, value)
                if key.plain and key.text == "<<":
                    merges["<<"] = value
        if merges:
            return MapNode(self.at(event.start_mark), tuple(self.merged(pairs, merges["<<"])))
        return MapNode(self.at(event.start_mark), tuple(pairs.values()))

    def merged(self, pairs: dict[str, tuple[ScalarNode, Node]], merge: Node) -> list[tuple[ScalarNode, Node]]:
        """The pairs with those of `<<` in its place; what is written wins, and the earlier of several maps."""
        out: list[tuple[ScalarNode, Node]] = []
        taken = set(pairs)
        for name, pair in pairs.items():
            if name != "<<":
                out.append(pair)
                continue
            for source in merge.items if isinstance(merge, ListNode) else (merge,):
                if not isinstance(source, MapNode):
                    self.fault(source.place, "<< takes a map or a list of maps", "merge an anchored map: <<: *name")
                    continue
                fresh = [inner for inner in source.pairs if inner[0].text not in taken]
                taken.update(inner[0].text for inner in fresh)
                out.extend(fresh)
        return out

    def alias(self, event: _Event, depth: int) -> Node:
        place, name = self.at(event.start_mark), _shown(event.anchor)
        if event.anchor not in self.anchors:
            raise self.stop(place, f"nothing above is anchored as &{name}", "quote the value if * is part of it")
        node = self.anchors[event.anchor]
        if node is None:
            raise self.stop(place, f"&{name} contains itself", "write the value out")
        self.expanded += node.size
        if self.expanded > EXPANSION_MAX or depth + node.height > DEPTH_MAX:
            what = f"aliases stand for more than {EXPANSION_MAX:,} values, or nest more than {DEPTH_MAX} deep"
            raise self.stop(place, what, "write the values out")
        return node

    def scalar(self, event: _Event) -> ScalarNode:
        mark, text = event.start_mark, event.value
        if holds_secret(text):
            self.source.report_secret(mark.line, mark.column, event.end_mark.line)
        place = self.at(mark)
        if not text.isprintable() and printable(text) != text:
            self.fault(place, "this text holds a control character", "remove the escape")
        plain = not event.style
        value: Value = text
        try:
            if event.tag is None:
                value = resolve(text) if plain else text
            elif event.tag in _SCALAR_TAGS:
                value = resolve_tagged(text, event.tag)
            else:
                self.unknown_tag(event)
        except ValueError as error:
            self.fault(place, str(error), "quote it if text is meant")
        return ScalarNode(place, text, value, plain)

    def unknown_tag(self, event: _Event) -> None:
        tag = _shown(event.tag.replace(CORE, "!!"))
        self.fault(
            self.at(event.start_mark), f"the tag {tag} is not supported", "remove it; quote a text that begins with !"
        )

    # -- what the parser says --------------------------------------------------------------------------------

    def template_near(self, error: _Event) -> _Template | None:
        """Whether this fault is really about a {{ without quotes, in the line of the fault."""
        mark = getattr(error, "problem_mark", None)
        if mark is None or mark.line >= len(self.lines):
            return None
        line = self.lines[mark.line]
        for match in _TEMPLATE_START.finditer(line):
            before = line[: match.end()]
            if match.end() <= mark.column and before.count('"') % 2 == 0 and before.count("'") % 2 == 0:
                return _Template(mark.line, match.end(), flow=before.rstrip().endswith(("[", ",")))
        if line.startswith("{{", mark.column):
            after = max(line.rfind(opener, 0, mark.column) for opener in "[{,:") + 1
            return _Template(mark.line, after + len(line[after:]) - len(line[after:].lstrip()), flow=True)
        return None

    def explain(self, error: _Event) -> Mistake:
        """The parser's complaint in plain words, at the place where a person would look."""
        problem = str(getattr(error, "problem", None) or "it cannot be read")
        mark = getattr(error, "problem_mark", None)
        context = getattr(error, "context_mark", None)
        if mark is None:
            return Mistake(self.source.place(0, 0), f"not valid YAML: {problem}")
        letter = self.lines[mark.line][mark.column : mark.column + 1] if mark.line < len(self.lines) else ""
        if "quoted scalar" in str(error.context) and "end of stream" in problem and context is not None:
            return Mistake(self.at(context), "this quote is never closed", "close it")
        if "tab character" in problem or ("cannot start any token" in problem and letter == "\t"):
            return Mistake(self.at(mark), "a tab cannot indent YAML", "use spaces")
        if "cannot start any token" in problem and letter:
            return Mistake(self.at(mark), f"a value cannot begin with {_shown(letter)}", "quote it")
        if "mapping values are not allowed" in problem:
            return Mistake(
                self.at(mark), "': ' is not allowed inside this value", "quote the whole value, or mend the indentation"
            )
        if "expected ',' or" in problem and context is not None:
            if not any(line.strip() for line in [letter, *self.lines[mark.line + 1 :]]):
                return Mistake(self.at(context), "this bracket is never closed", "close it")
            return Mistake(
                self.at(mark),
                "a comma or a closing bracket is missing",
                f"the list or map begins in line {context.line + self.source.first_line}",
            )
        if "did not find expected key" in problem or "<block end>" in problem:
            what = "this is neither part of the value before it nor a new key"
            return Mistake(self.at(mark), what, "check the indentation and the quotes")
        if "could not find expected ':'" in problem:
            where = context if context is not None else mark
            return Mistake(self.at(where), "a key without ': ' and a value", "write key: value, or quote the text")
        return Mistake(self.at(mark), f"not valid YAML: {problem}", "check the indentation and the quotes")


def _shown(text: str) -> str:
    return "(hidden)" if holds_secret(text) else printable(text[:60])
