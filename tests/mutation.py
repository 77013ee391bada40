"""Small mutations of Python source, as spans of bytes and their replacements."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ("<", ("<=", ">=")),
    ast.LtE: ("<=", ("<", ">")),
    ast.Gt: (">", (">=", "<=")),
    ast.GtE: (">=", (">", "<")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
    ast.In: ("in", ("not in",)),
    ast.NotIn: ("not in", ("in",)),
    ast.Is: ("is", ("is not",)),
    ast.IsNot: ("is not", ("is",)),
}
BINARY = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.BitOr: ("|", "&"),
    ast.BitAnd: ("&", "|"),
    ast.Mult: ("*", "//"),
    ast.FloorDiv: ("//", "*"),
}
SWAPPED = [
    ("min", "max"), ("first", "last"), ("any", "all"), ("any_horizontal", "all_horizontal"), ("head", "tail"),
    ("min_horizontal", "max_horizontal"), ("startswith", "endswith"), ("starts_with", "ends_with"),
    ("removeprefix", "removesuffix"), ("lstrip", "rstrip"), ("arg_min", "arg_max"), ("argmin", "argmax"),
    ("floor", "ceil"), ("is_null", "is_not_null"),
]  # fmt: skip
OTHER_NAME = dict(SWAPPED) | {new: old for old, new in SWAPPED}
EXITS = (ast.Return, ast.Raise, ast.Continue, ast.Break)
UNTOUCHED = (ast.JoinedStr, ast.Assert)  # Python 3.11 gives no positions within f-strings


@dataclass(frozen=True, slots=True, order=True)
class Mutation:
    """Bytes `start` to `end` of a source, and their replacement."""

    start: int
    end: int
    new: bytes

    def apply(self, source: bytes) -> bytes:
        """Return the mutated source."""
        return source[: self.start] + self.new + source[self.end :]

    def line(self, source: bytes) -> int:
        """Return the number of the line that changes, from 1."""
        return source.count(b"\n", 0, self.start) + 1

    def texts(self, source: bytes) -> tuple[str, str]:
        """Return the changed line before and after, without indentation."""
        first = source.rfind(b"\n", 0, self.start) + 1
        ends = source.find(b"\n", self.end)
        old, after = source[first:ends], source[first : self.start] + self.new + source[self.end : ends]
        return " ".join(old.decode().split()), " ".join(after.decode().split())


def mutations(source: bytes) -> list[Mutation]:
    """Return all mutations of a module in a fixed order; none touches annotations, decorators, f-strings, asserts."""
    lines = [0, *(match.end() for match in re.finditer(b"\n", source))]
    return sorted(set(_of_tree(ast.parse(source), _Text(source, lines), None)))


@dataclass(frozen=True, slots=True)
class _Text:
    source: bytes
    lines: list[int]

    def start(self, node: ast.expr | ast.stmt) -> int:
        return self.lines[node.lineno - 1] + node.col_offset

    def end(self, node: ast.expr | ast.stmt) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self.lines[node.end_lineno - 1] + node.end_col_offset

    def operator(self, left: ast.expr, right: ast.expr, old: str, new: str) -> Iterator[Mutation]:
        """Replace an operator between two operands, unless a comment lies between them."""
        begin, between = self.end(left), self.source[self.end(left) : self.start(right)]
        at = between.find(old.encode())
        if at >= 0 and b"#" not in between:
            yield Mutation(begin + at, begin + at + len(old), new.encode())


def _of_tree(node: ast.AST, text: _Text, parent: ast.AST | None) -> Iterator[Mutation]:
    if isinstance(node, UNTOUCHED):
        return
    yield from _of_node(node, text, parent)
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        for child in value if isinstance(value, list) else [value]:
            # Lengths that differ are an error in any case: `strict` only reports it.
            if isinstance(child, ast.AST) and not (isinstance(child, ast.keyword) and child.arg == "strict"):
                yield from _of_tree(child, text, node)


def _of_node(node: ast.AST, text: _Text, parent: ast.AST | None) -> Iterator[Mutation]:
    if isinstance(node, ast.Compare | ast.BoolOp | ast.BinOp):
        yield from _of_operators(node, text)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
        width = 1 if isinstance(node.op, ast.Invert) else len("not ")
        yield Mutation(text.start(node), text.start(node) + width, b"")
    elif isinstance(node, ast.Constant):
        yield from _of_constant(node, text, parent)
    elif isinstance(node, ast.Call):
        yield from _of_call(node.func, text)
    elif isinstance(node, EXITS) and isinstance(parent, ast.If | ast.For | ast.While | ast.ExceptHandler):
        yield Mutation(text.start(node), text.end(node), b"pass")


def _of_operators(node: ast.Compare | ast.BoolOp | ast.BinOp, text: _Text) -> Iterator[Mutation]:
    if isinstance(node, ast.Compare):
        for left, op, right in zip([node.left, *node.comparators], node.ops, node.comparators, strict=False):
            old, others = COMPARISONS[type(op)]
            for new in others:
                yield from text.operator(left, right, old, new)
    elif isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in zip(node.values, node.values[1:], strict=False):
            yield from text.operator(left, right, old, new)
    elif type(node.op) in BINARY:
        yield from text.operator(node.left, node.right, *BINARY[type(node.op)])


def _of_constant(node: ast.Constant, text: _Text, parent: ast.AST | None) -> Iterator[Mutation]:
    value = node.value
    if isinstance(value, bool):
        others: list[object] = [not value]
    elif isinstance(value, int | float):
        others = [value + 1, value - 1]
    elif value in ("first", "last") and isinstance(parent, ast.keyword):
        others = [OTHER_NAME[str(value)]]
    else:
        return
    for other in others:
        yield Mutation(text.start(node), text.end(node), repr(other).encode())


def _of_call(called: ast.expr, text: _Text) -> Iterator[Mutation]:
    name = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
    if name in OTHER_NAME:
        yield Mutation(text.end(called) - len(name), text.end(called), OTHER_NAME[name].encode())
