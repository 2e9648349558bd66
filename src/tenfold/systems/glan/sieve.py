"""All gates over a data set: each pair with its verdict, in order; of duplicates the first in the tree's order stays.

Single gates come first, then decontamination of question and answer, then duplicates of the questions that are left. What
is held in memory is the questions' text, 168 bytes a question, and the verdicts.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping

from tenfold.systems.glan.decontaminate import Decontaminator
from tenfold.systems.glan.duplicates import near_duplicates
from tenfold.systems.glan.gates import Reason, check
from tenfold.systems.glan.grams import words_of
from tenfold.systems.glan.tree import Pair

Verdicts = Mapping[str, Reason]
"""Why pairs are held back, by their id; those that pass are not in it."""


def sieve(pairs: Iterable[Pair], *, benchmarks: Decontaminator | None = None, language: str = "en") -> dict[str, Reason]:
    """The verdicts on pairs that come in the tree's order."""
    verdicts: dict[str, Reason] = {}
    ids, questions = [], []
    for pair, reason in _one_by_one(pairs, benchmarks, language):
        if reason is None:
            ids.append(pair.id)
            questions.append(pair.instruction)
        else:
            verdicts[pair.id] = reason
    for index, earlier in near_duplicates(questions).items():
        verdicts[ids[index]] = Reason("near duplicate", f"of {ids[earlier]}")
    return verdicts


def _one_by_one(
    pairs: Iterable[Pair], benchmarks: Decontaminator | None, language: str
) -> Iterator[tuple[Pair, Reason | None]]:
    """Each pair with the first reason that can be told without comparing questions word by word."""
    seen: dict[bytes, str] = {}
    for pair in pairs:
        yield pair, check(pair, language=language) or _known(pair, benchmarks) or _repeated(pair, seen)


def _known(pair: Pair, benchmarks: Decontaminator | None) -> Reason | None:
    if benchmarks is None:
        return None
    hit = benchmarks.check(pair.instruction) or benchmarks.check(pair.answer)
    return hit and Reason("benchmark", f"{hit.benchmark} {hit.item} ({hit.rule}): {hit.text}")


def _repeated(pair: Pair, seen: dict[bytes, str]) -> Reason | None:
    digest = hashlib.sha256(" ".join(words_of(pair.instruction)).encode()).digest()[:16]
    first = seen.setdefault(digest, pair.id)
    return None if first == pair.id else Reason("duplicate", f"of {first}")
