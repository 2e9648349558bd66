"""The sampling certificate: what the verifiers that ship do to the target's law, by enumeration; no sampling, no estimate.

One round is computed in Fractions, where equal means equal; the whole loop with its processors in float64. The same
computation has to find each of nine deliberate breakages, or it would prove nothing.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from tenfold.core.config import Config
from tenfold.core.seeds import derive
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.certificate.exact import ExactRound
from tenfold.systems.specdec.certificate.guesses import GUESSES, chain
from tenfold.systems.specdec.certificate.loop import Loop
from tenfold.systems.specdec.certificate.mutants import MUTANTS, Mutant
from tenfold.systems.specdec.certificate.tables import Table
from tenfold.systems.specdec.verifiers import VERIFIERS
from tenfold.systems.specdec.verifiers.block import Block
from tenfold.systems.specdec.verifiers.sample import Sample

FLOAT_TOLERANCE = 1e-12
EXACT_VERIFIERS = ("sample", "delta", "tree", "block", "coupled")
NUM_TOKENS = 4

EXACT_SHAPES: Sequence[tuple[int, Sequence[int]]] = (
    (4, chain(3)),
    (3, (-1, -1, 0, 0, 1)),
    (2, (-1, -1, 0, 0, 1, 1, -1)),
)
"""(vocabulary, parents)."""

LOOP_SHAPES: Mapping[str, Sequence[int]] = {"chain": chain(2), "tree": (-1, -1)}

PROCESSORS: Mapping[str, dict[str, Any]] = {
    "temperature": {"temperature": 0.7},
    "top_k": {"top_k": 2},
    "top_p": {"top_p": 0.8},
    "min_p": {"min_p": 0.4},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "all": {"temperature": 0.7, "top_k": 2, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.5},
    "none, greedy": {"do_sample": False},
}
MUTANT_PROCESSORS = {"temperature": 0.7, "repetition_penalty": 1.5}


class CertifySettings(Config):
    """What the sampling certificate covers."""

    verifiers: tuple[str, ...] = EXACT_VERIFIERS
    """The verifiers to certify."""
    num_tables: int = Field(default=1, ge=1)
    """Pairs of random tables (target, draft) for each case."""
    seed: int = 0
    """Seed of the tables."""

    @field_validator("verifiers")
    @classmethod
    def _known_verifiers(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(VERIFIERS.check(name) for name in names)


@dataclass(frozen=True)
class LawCheck:
    """One enumeration and its finding."""

    verifier: str
    parents: Sequence[int]
    guess: str
    processors: str
    arithmetic: str
    """`fraction` or `float64`."""
    total_variation: float
    """Between the law of the text and the target's own; in Fractions 0.0 is exactly 0."""
    holds: bool


@dataclass(frozen=True)
class MutantCheck:
    """A broken loop, and how far its law was off; None if the breakage made a law impossible."""

    mutant: str
    verifier: str
    total_variation: float | None
    killed: bool


@dataclass(frozen=True)
class SamplingCertificate:
    """All findings, tied to the code that they are about."""

    code_digest: str
    laws: Sequence[LawCheck]
    mutants: Sequence[MutantCheck]

    @property
    def worst_total_variation(self) -> float:
        return max(check.total_variation for check in self.laws)

    @property
    def mutants_killed(self) -> Sequence[str]:
        """The mutants found out in every loop that they were put into."""
        survived = {check.mutant for check in self.mutants if not check.killed}
        return [mutant.name for mutant in MUTANTS if mutant.name not in survived]

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.laws) and len(self.mutants_killed) == len(MUTANTS)


def certify_sampling(settings: CertifySettings) -> SamplingCertificate:
    """Enumerates every case for every verifier, and every mutant; about a minute on one core."""
    laws = [check for name in settings.verifiers for check in (*exact_checks(name, settings), *loop_checks(name, settings))]
    return SamplingCertificate(code_digest(), laws, list(mutant_checks(settings)))


def exact_checks(name: str, settings: CertifySettings) -> Iterator[LawCheck]:
    """One round in Fractions: every shape, every way of guessing."""
    verifier = VERIFIERS.load(name)()
    for vocab_size, shape in EXACT_SHAPES:
        for guess in GUESSES:
            for target, draft in _tables(settings, vocab_size):
                distance = ExactRound(verifier, shape, guess, target, draft).total_variation()
                yield LawCheck(name, list(shape), guess, "none", "fraction", float(distance), distance == 0)


def loop_checks(name: str, settings: CertifySettings) -> Iterator[LawCheck]:
    """The whole loop in float64: every processor, a chain and a tree."""
    verifier = VERIFIERS.load(name)()
    guess = "same noise" if name == "coupled" else "without replacement"
    for processors, keywords in PROCESSORS.items():
        for shape in LOOP_SHAPES.values():
            for target, draft in _tables(settings, 3):
                loop = Loop(verifier, shape, guess, _generation(keywords), target, draft)
                distance = loop.total_variation()
                holds = distance <= FLOAT_TOLERANCE
                yield LawCheck(name, list(shape), guess, processors, "float64", distance, holds)


def mutant_checks(settings: CertifySettings) -> Iterator[MutantCheck]:
    """Every mutant in a loop over trees (`sample`), and in one over chains (`block`) unless it needs a tree."""
    target, draft = next(_tables(settings, 3))
    generation = _generation(MUTANT_PROCESSORS)
    tree = Loop(Sample(), LOOP_SHAPES["tree"], "without replacement", generation, target, draft)
    chained = Loop(Block(), LOOP_SHAPES["chain"], "with replacement", generation, target, draft)
    for mutant in MUTANTS:
        for loop in [tree] if mutant.needs_tree else [tree, chained]:
            yield _try_mutant(mutant, loop)


def code_digest() -> str:
    """Names the code that decides what is kept: laws, randomness, the loop and all verifiers."""
    home = Path(__file__).parents[1]
    files = [home / "laws.py", home / "randomness.py", home / "speculate.py", *sorted((home / "verifiers").glob("*.py"))]
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]


def _try_mutant(mutant: Mutant, loop: Loop) -> MutantCheck:
    try:
        distance = mutant.breaks(loop).total_variation()
    except ArithmeticError:
        return MutantCheck(mutant.name, loop.verifier.name, None, killed=True)
    return MutantCheck(mutant.name, loop.verifier.name, distance, killed=distance > FLOAT_TOLERANCE)


def _generation(keywords: Mapping[str, Any]) -> GenerationSettings:
    return GenerationSettings(**{"max_new_tokens": NUM_TOKENS, "do_sample": True, **keywords})


def _tables(settings: CertifySettings, vocab_size: int) -> Iterator[tuple[Table, Table]]:
    for index in range(settings.num_tables):
        yield tuple(Table(derive(settings.seed, side, index), vocab_size) for side in ("target", "draft"))  # pyright: ignore[reportReturnType]
