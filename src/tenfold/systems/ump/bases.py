"""A GSM8K row as a base: its text, each number of the text bound to a variable, and its solution as equations.

A number of a calculation is bound to the number of the text that it comes from: as written, or as 1 + p, 1 - p, 100 p for
a percentage and 1/p for a part; else to an earlier result, or to a constant that the text's units call for (60 minutes in
an hour). A base is refused if a number of the text stays without use, or a number of the solution without source.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from tenfold.systems.ump.chain import Chain, ChainError, Tree, evaluate, parse_chain
from tenfold.systems.ump.numerals import Numeral, NumeralError, find_numerals
from tenfold.systems.ump.problems import Span

CONSTANTS = {
    60: r"minute|hour|second",
    24: r"hour|day",
    7: r"week|day",
    52: r"week|year",
    12: r"month|year|feet|foot|inch",
    365: r"day|year",
    100: r"%|percent|cent|meter",
    16: r"ounce|pound",
    3: r"yard",
    1000: r"kilo|gram|liter|km\b",
}
"""A constant and the words of a text that call for it."""

_ABBREVIATION = r"(?<!\bMr\.)(?<!\bMrs\.)(?<!\bMs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bNo\.)(?<!\bvs\.)"
_SENTENCE_END = re.compile(_ABBREVIATION + r"(?<=[.?!])[\"”']? +(?=[\"“$A-Z0-9])")


class BaseError(ValueError):
    """A row that is no base; the message says why in a few words."""


@dataclass(frozen=True)
class Bound:
    """A number of the text and its variable. `num_uses` counts the places of the solution where it occurs."""

    numeral: Numeral
    var: str
    num_uses: int
    alone: bool
    """Whether no other number of text or solution could be taken for this one."""


@dataclass(frozen=True)
class Equation:
    """One calculation of the solution over variables, its value, and the line it stands in."""

    var: str
    tree: Tree
    value: Fraction
    line: str


@dataclass(frozen=True)
class Base:
    """A sound problem whose every number is accounted for."""

    source: str
    source_id: str
    split: str
    licence: str
    question: str
    sentences: tuple[Span, ...]
    numbers: tuple[Bound, ...]
    equations: tuple[Equation, ...]
    doubtful: frozenset[str]
    """Results for which a number of the solution might, or might not, stand: what changes them cannot be recomputed."""

    @property
    def ask(self) -> str:
        return self.equations[-1].var

    @property
    def answer(self) -> Fraction:
        return self.equations[-1].value

    def values(self, changes: Mapping[str, Fraction] | None = None) -> dict[str, Fraction]:
        """All variables' values, with some numbers of the text changed; ZeroDivisionError if that divides by zero."""
        values = {bound.var: bound.numeral.value for bound in self.numbers} | dict(changes or {})
        for equation in self.equations:
            values[equation.var] = evaluate(equation.tree, values)
        return values

    @property
    def last_sentence(self) -> Span:
        return self.sentences[-1]


@dataclass
class Binding:
    """The state of binding one solution to one text."""

    numerals: list[Numeral]
    text: str
    results: dict[str, Fraction] = field(default_factory=dict)
    uses: dict[int, int] = field(default_factory=dict)
    rivals: set[int] = field(default_factory=set)
    """Numbers of the text with which something else could be confused."""
    doubtful: set[str] = field(default_factory=set)

    def bind(self, tree: Tree) -> Tree:
        """The tree with every number replaced by what it stands for; BaseError if it stands for nothing."""
        if isinstance(tree, tuple):
            fraction = self._written_fraction(tree)
            return fraction if fraction is not None else (tree[0], self.bind(tree[1]), self.bind(tree[2]))
        assert isinstance(tree, Fraction), f"a bound tree was bound again: {tree}"
        return self._bind_number(tree)

    def _written_fraction(self, tree: tuple[str, Tree, Tree]) -> Tree | None:
        """`1/4` or `20/100` of the solution, where the text has that fraction or percentage."""
        operator, left, right = tree
        if operator != "/" or not isinstance(left, Fraction) or not isinstance(right, Fraction) or right == 0:
            return None
        places = [
            place
            for place, numeral in enumerate(self.numerals)
            if numeral.value == left / right and (numeral.kind in ("fraction", "percent") or numeral.value < 1)
        ]
        return self._use(places) if places else None

    def _bind_number(self, number: Fraction) -> Tree:
        sources = list(self._sources(number))
        results = [var for var, value in self.results.items() if value == number]
        constant = self._is_constant(number)
        direct = [place for place, tree in sources if tree is None]
        if (len(sources) > len(direct) > 0) or bool(sources) + bool(results) + constant > 1 or len(results) > 1:
            self.doubtful.update(results)
            self.rivals.update(place for place, _ in sources)
        if direct:
            return self._use(direct)
        if results:
            return results[-1]
        if sources:
            place, tree = min(sources, key=lambda source: self.uses.get(source[0], 0))
            self._use([place])
            assert tree is not None
            return tree
        if constant:
            return number
        raise BaseError("a number of the solution has no source")

    def _sources(self, number: Fraction) -> Iterator[tuple[int, Tree | None]]:
        """The numbers of the text that could give `number`, with the tree over them; None where it is the number itself."""
        one = Fraction(1)
        for place, numeral in enumerate(self.numerals):
            var, value = f"x{place + 1}", numeral.value
            if value == number:
                yield place, None
            elif numeral.kind == "percent" and 100 * value == number:
                yield place, ("*", Fraction(100), var)
            elif numeral.kind == "percent" and 1 + value == number:
                yield place, ("+", one, var)
            elif numeral.kind in ("percent", "fraction") and 1 - value == number:
                yield place, ("-", one, var)
            elif value < 1 and numeral.kind in ("word", "fraction") and value * number == 1:
                yield place, ("/", one, var)

    def _use(self, places: list[int]) -> str:
        """The variable of the least used of some numbers of equal value."""
        if len(places) > 1:
            self.rivals.update(places)
        place = min(places, key=lambda place: self.uses.get(place, 0))
        self.uses[place] = self.uses.get(place, 0) + 1
        return f"x{place + 1}"

    def _is_constant(self, number: Fraction) -> bool:
        if number == 1:
            return True
        return number in CONSTANTS and re.search(CONSTANTS[int(number)], self.text, re.IGNORECASE) is not None

    def equation(self, number: int, tree: Tree, value: Fraction, line: str) -> Equation:
        """Binds one calculation and remembers its result."""
        bound = Equation(f"y{number}", self.bind(tree), value, line)
        self.results[bound.var] = value
        return bound

    def bound(self, place: int) -> Bound:
        numeral, uses = self.numerals[place], self.uses.get(place, 0)
        if uses == 0 and numeral.text.lower() != "one":
            raise BaseError("a number of the text is not used")
        twins = [other for other in self.numerals if other is not numeral and other.value == numeral.value]
        alone = uses == 1 and not twins and place not in self.rivals and numeral.value not in self.results.values()
        return Bound(numeral, f"x{place + 1}", uses, alone)


def make_base(question: str, solution: str, *, source: str, source_id: str, split: str, licence: str) -> Base:
    """Reads a row.

    Raises:
        BaseError: its solution does not recompute, or its numbers cannot all be accounted for.
    """
    text = re.sub(r"\s+", " ", question).strip()
    chain, numerals = _parsed(text, solution)
    binding = Binding(numerals, text)
    equations = [
        binding.equation(number, step.tree, step.value, step.line) for number, step in enumerate(chain.steps, start=1)
    ]
    numbers = [binding.bound(place) for place in range(len(numerals))]
    return Base(
        source=source,
        source_id=source_id,
        split=split,
        licence=licence,
        question=text,
        sentences=tuple(split_sentences(text)),
        numbers=tuple(numbers),
        equations=tuple(equations),
        doubtful=frozenset(binding.doubtful),
    )


def _parsed(text: str, solution: str) -> tuple[Chain, list[Numeral]]:
    if text.count("?") != 1 or not text.endswith("?") or re.search(r"[a-z][.,][A-Z]|[^\x20-\x7e£€“”’‘]", text):
        raise BaseError("the text is not a story that ends with its only question")
    try:
        chain, numerals = parse_chain(solution), find_numerals(text)
    except (ChainError, NumeralError) as error:
        raise BaseError(str(error)) from None
    if not chain.reaches_answer:
        raise BaseError("the last calculation is not the answer")
    return chain, numerals


def split_sentences(text: str) -> list[Span]:
    """The sentences' spans, without the spaces between them."""
    ends = [(match.start(), match.end()) for match in _SENTENCE_END.finditer(text)]
    starts = [0, *(end for _, end in ends)]
    return list(zip(starts, [*(start for start, _ in ends), len(text)], strict=True))
