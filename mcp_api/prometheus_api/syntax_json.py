"""The syntax tree of an expression as ``/api/v1/parse_query`` tells it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

import promql_parser as grammar

from mcp_api.prometheus_api.encoding import number_text
from streams.promql.limits import Limits
from streams.promql.parsing import MS, UNIX, parse

_OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
_CARDS = {
    "OneToOne": "one-to-one",
    "ManyToOne": "many-to-one",
    "OneToMany": "one-to-many",
    "ManyToMany": "many-to-many",
}


def tree_json(text: str, limits: Limits) -> dict[str, Any]:
    """The tree; `QuerySyntaxError` for what the engine would not take."""
    return _node(_parsed(text, limits))


def formatted(text: str, limits: Limits) -> str:
    """The expression in its usual layout; errors as `tree_json`."""
    return str(_parsed(text, limits).prettify())


def _parsed(text: str, limits: Limits) -> Any:
    # First ours, which bounds what the native parser is given.
    parse(text, limits)
    return grammar.parse(text)


def _node(node: grammar.Expr) -> dict[str, Any]:
    match node:
        case grammar.AggregateExpr():
            return _aggregation(node)
        case grammar.BinaryExpr():
            return _binary(node)
        case grammar.Call():
            return _call(node)
        case grammar.ParenExpr():
            return {"type": "parenExpr", "expr": _node(node.expr)}
        case grammar.UnaryExpr():
            return {"type": "unaryExpr", "op": "-", "expr": _node(node.expr)}
        case grammar.NumberLiteral():
            return {"type": "numberLiteral", "val": number_text(node.val, exponents=False)}
        case grammar.StringLiteral():
            return {"type": "stringLiteral", "val": node.val}
        case grammar.VectorSelector():
            return {"type": "vectorSelector", **_selector(node)}
        case grammar.MatrixSelector():
            selector = _selector(node.vector_selector)
            return {"type": "matrixSelector", **selector, "range": _ms(node.range)}
        case _:
            subquery = cast("grammar.SubqueryExpr", node)
            return {
                "type": "subquery",
                "expr": _node(subquery.expr),
                "range": _ms(subquery.range),
                "offset": _ms(subquery.offset),
                "step": _ms(subquery.step),
                **_at(subquery.at),
            }


def _aggregation(node: grammar.AggregateExpr) -> dict[str, Any]:
    modifier = node.modifier
    return {
        "type": "aggregation",
        "op": str(node.op),
        "expr": _node(node.expr),
        "param": None if node.param is None else _node(node.param),
        "grouping": [] if modifier is None else list(modifier.labels),
        "without": modifier is not None and modifier.type == grammar.AggModifierType.Without,
    }


def _binary(node: grammar.BinaryExpr) -> dict[str, Any]:
    return {
        "type": "binaryExpr",
        "op": str(node.op),
        "lhs": _node(node.lhs),
        "rhs": _node(node.rhs),
        "matching": _matching(node),
        "bool": node.modifier is not None and node.modifier.return_bool,
    }


def _matching(node: grammar.BinaryExpr) -> dict[str, Any] | None:
    """None where a side is a scalar, which matches everything."""
    if _is_scalar(node.lhs) or _is_scalar(node.rhs):
        return None
    modifier = node.modifier
    card = "one-to-one" if modifier is None else _CARDS[str(modifier.card).rpartition(".")[2]]
    if str(node.op) in ("and", "or", "unless"):
        card = "many-to-many"
    labels = None if modifier is None else modifier.matching
    return {
        "card": card,
        "labels": [] if labels is None else list(labels.labels),
        "on": labels is not None and labels.type == grammar.LabelModifierType.Include,
        "include": [] if modifier is None else list(modifier.group_labels or ()),
    }


def _is_scalar(node: grammar.Expr) -> bool:
    match node:
        case grammar.NumberLiteral():
            return True
        case grammar.ParenExpr() | grammar.UnaryExpr():
            return _is_scalar(node.expr)
        case grammar.BinaryExpr():
            return _is_scalar(node.lhs) and _is_scalar(node.rhs)
        case grammar.Call():
            return bool(node.func.return_type == grammar.ValueType.Scalar)
        case _:
            return False


def _call(node: grammar.Call) -> dict[str, Any]:
    function = node.func
    return {
        "type": "call",
        "func": {
            "name": function.name,
            "argTypes": _types(function.arg_types),
            "variadic": function.variadic,
            "returnType": _types([function.return_type])[0],
        },
        "args": [_node(argument) for argument in node.args],
    }


def _types(types: Sequence[object]) -> list[str]:
    return [str(one).rpartition(".")[2].lower() for one in types]


def _selector(node: grammar.VectorSelector) -> dict[str, Any]:
    matchers = [
        {"name": m.name, "type": _OPERATORS[str(m.op).rpartition(".")[2]], "value": m.value}
        for m in node.matchers.matchers
    ]
    if node.name:
        matchers.append({"name": "__name__", "type": "=", "value": node.name})
    return {
        "name": node.name or "",
        "offset": _ms(node.offset),
        "matchers": matchers,
        **_at(node.at),
    }


def _at(modifier: Any) -> dict[str, Any]:
    start_or_end = timestamp = None
    match None if modifier is None else modifier.type:
        case None:
            pass
        case grammar.AtModifierType.Start:
            start_or_end = "start"
        case grammar.AtModifierType.End:
            start_or_end = "end"
        case _:
            timestamp = round((modifier.at - UNIX) / MS)
    return {"timestamp": timestamp, "startOrEnd": start_or_end}


def _ms(duration: timedelta | None) -> int:
    return 0 if duration is None else duration // MS
