"""GSM8K solutions as chains of exact arithmetic.

A solution carries its calculations as `<<expression=value>>` and ends with `#### answer`. `parse_chain` reads every
calculation with a whitelisted syntax tree and recomputes it in rationals: `$` and `,` are dropped, `p%` is p/100, leading
zeros go. A chain is a base for new problems if every calculation recomputes and the last one is the answer.
"""

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

Tree = Fraction | str | tuple[str, "Tree", "Tree"]
"""A rational, a variable, or an operator with two trees."""

_CALCULATION = re.compile(r"<<([^<>]*?)=([^<>=]*)>>")
_OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/"}


class ChainError(ValueError):
    """A solution that is no chain of calculations; the message says why in a few words."""


@dataclass(frozen=True)
class Step:
    """One calculation and the line of the solution that it stands in."""

    line: str
    tree: Tree
    value: Fraction


@dataclass(frozen=True)
class Chain:
    """The calculations of a solution, in order, and the answer behind `####`."""

    steps: tuple[Step, ...]
    answer: Fraction

    @property
    def reaches_answer(self) -> bool:
        """Whether the last calculation gives the answer."""
        return self.steps[-1].value == self.answer


def parse_chain(solution: str) -> Chain:
    """Reads a GSM8K solution.

    Raises:
        ChainError: a calculation is missing, is not plain arithmetic or does not recompute, or there is no answer.
    """
    body, marker, answer = solution.partition("####")
    if not marker:
        raise ChainError("no answer")
    steps = [_step(line, *match.groups()) for line in body.splitlines() for match in _CALCULATION.finditer(line)]
    if not steps or len(steps) != body.count("<<"):
        raise ChainError("no calculation")
    return Chain(tuple(steps), _number(answer))


def _step(line: str, expression: str, value: str) -> Step:
    tree = parse_tree(expression)
    try:
        computed = evaluate(tree, {})
    except ZeroDivisionError:
        raise ChainError("division by zero") from None
    if computed != _number(value):
        raise ChainError("does not recompute")
    return Step(line, tree, computed)


def parse_tree(text: str) -> Tree:
    """Plain arithmetic as a tree; ChainError for anything else, a plus sign before a number included."""
    try:
        tree = _tree(ast.parse(_clean(text), mode="eval").body)
    except (SyntaxError, ValueError):
        raise ChainError("not arithmetic") from None
    if variables(tree):
        raise ChainError("not arithmetic")
    return tree


def _clean(text: str) -> str:
    text = re.sub(r"(\d+(?:\.\d+)?|\.\d+)%", r"(\1/100)", text.replace("$", "").replace(",", ""))
    return re.sub(r"(?<![\d.])0+(?=\d)", "", text).strip()


def parse_named_tree(text: str) -> Tree:
    """Plain arithmetic over variables as a tree."""
    return _tree(ast.parse(text, mode="eval").body)


def _tree(node: ast.expr) -> Tree:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return Fraction(str(number))
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return ("-", Fraction(0), _tree(operand))
        case ast.BinOp(left=left, op=operator, right=right) if type(operator) in _OPERATORS:
            return (_OPERATORS[type(operator)], _tree(left), _tree(right))
    raise ChainError("not arithmetic")


def _number(text: str) -> Fraction:
    try:
        return evaluate(parse_tree(text), {})
    except ZeroDivisionError:
        raise ChainError("division by zero") from None


def evaluate(tree: Tree, values: Mapping[str, Fraction]) -> Fraction:
    """The value of a tree; KeyError for a variable without value, ZeroDivisionError as usual."""
    if isinstance(tree, Fraction):
        return tree
    if isinstance(tree, str):
        return values[tree]
    operator, left, right = tree[0], evaluate(tree[1], values), evaluate(tree[2], values)
    if operator == "+":
        return left + right
    if operator == "-":
        return left - right
    return left * right if operator == "*" else left / right


def variables(tree: Tree) -> list[str]:
    """The variables of a tree, left to right, repeated where they occur again."""
    if isinstance(tree, str):
        return [tree]
    return [] if isinstance(tree, Fraction) else [*variables(tree[1]), *variables(tree[2])]


def to_expression(tree: Tree) -> str | list:
    """The tree as a certificate writes it."""
    if isinstance(tree, tuple):
        return [tree[0], to_expression(tree[1]), to_expression(tree[2])]
    return str(tree)
