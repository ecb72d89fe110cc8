"""Small changes of a tree's nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import libcst as cst
from libcst import matchers as m

__all__ = [
    "Change",
    "appended",
    "argument",
    "followed",
    "preceded_by",
    "replaced_by",
    "with_comma",
    "with_meta",
    "without_repeated_bases",
]

Change = Callable[[Any], Any]
_Row = TypeVar("_Row", cst.List, cst.Set, cst.Tuple)


def replaced_by(value: cst.BaseExpression) -> Change:
    return lambda updated: updated.with_changes(value=value)


def argument(text: str) -> cst.Arg:
    call = cst.ensure_type(cst.parse_expression(f"f({text})"), cst.Call)
    return call.args[0]


def followed(arg: cst.Arg) -> cst.Arg:
    space = cst.SimpleWhitespace(" ")
    return arg.with_changes(comma=cst.Comma(whitespace_after=space))


def preceded_by(comment: str) -> Change:
    line = cst.EmptyLine(comment=cst.Comment(comment))
    return lambda updated: updated.with_changes(
        leading_lines=[*updated.leading_lines, line]
    )


def with_comma(node: _Row) -> _Row:
    """Leave no comma at the end of what something was taken out of, but for tuples."""
    if not node.elements:
        return node
    last = node.elements[-1]
    if isinstance(node, cst.Tuple) and len(node.elements) == 1:
        comma: cst.Comma | cst.MaybeSentinel = cst.Comma()
    elif m.matches(last.comma, m.Comma(whitespace_after=m.SimpleWhitespace())):
        comma = cst.MaybeSentinel.DEFAULT
    else:
        return node
    return node.with_changes(
        elements=[*node.elements[:-1], last.with_changes(comma=comma)]
    )


def without_repeated_bases(node: cst.ClassDef) -> cst.ClassDef:
    seen: set[str] = set()
    kept = []
    for arg in node.bases:
        code = cst.Module([]).code_for_node(arg.value)
        if code not in seen:
            seen.add(code)
            kept.append(arg)
    kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
    return node.with_changes(bases=kept)


def appended(node: cst.ClassDef, statement: cst.BaseStatement) -> cst.ClassDef:
    body = [one for one in node.body.body if not m.matches(one, _PASS)]
    return node.with_changes(body=node.body.with_changes(body=[*body, statement]))


_PASS = m.SimpleStatementLine(body=[m.Pass()])


def with_meta(node: cst.ClassDef, meta: cst.BaseStatement) -> cst.ClassDef:
    """Put ``class Meta`` behind the fields, in front of the methods."""
    body = [*node.body.body]
    at = next(
        (i for i, one in enumerate(body) if isinstance(one, cst.FunctionDef)), len(body)
    )
    return node.with_changes(
        body=node.body.with_changes(body=[*body[:at], meta, *body[at:]])
    )
