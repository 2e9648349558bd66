"""All gates over a data set in bounded memory: a verdict for each pair; of duplicates the first in the tree's order stays.

Single gates come first, then decontamination of question and answer, then duplicates of the questions that are left. The
verdicts lie in a scratch SQLite file, like the texts that are compared, so pairs may be any number.

    with Sieve(folder) as sieve:
        sieve.take(pairs)           pairs come in the tree's order, and are counted from 0
        sieve.compare()
        sieve.reasons()             one for each pair, None where it passes
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tenfold.core.registry import load_target
from tenfold.systems.glan.decontaminate import Decontaminator, Hit
from tenfold.systems.glan.duplicates import Texts
from tenfold.systems.glan.gates import Reason, check
from tenfold.systems.glan.tree import Pair

Check = Callable[[Pair], Reason | None]
"""A gate on single pairs."""
PREFIX = "sieve-"
BATCH = 256
"""Pairs that are looked up in the benchmarks together."""


class Sieve:
    """A context manager; its scratch files lie in a folder of their own within `folder`, and are gone at the end."""

    def __init__(
        self,
        folder: Path | None,
        gate: Check = check,
        *,
        benchmarks: Decontaminator | None = None,
        alike_from: float | None = None,
    ) -> None:
        """With `alike_from`, questions are also stopped whose words are as alike as that to a kept one's (`likeness`)."""
        self.gate, self.benchmarks, self.alike_from = gate, benchmarks, alike_from
        self.num_pairs = 0
        for left_by_a_kill in folder.glob(f"{PREFIX}*") if folder else ():
            shutil.rmtree(left_by_a_kill)
        self._scratch = tempfile.TemporaryDirectory(prefix=PREFIX, dir=folder)
        place = Path(self._scratch.name)
        self._texts = Texts(place / "texts.sqlite")
        self._verdicts = sqlite3.connect(place / "verdicts.sqlite", isolation_level=None)
        self._verdicts.execute("PRAGMA synchronous = OFF")
        self._verdicts.execute("PRAGMA journal_mode = OFF")
        self._verdicts.execute("CREATE TABLE verdict (number INTEGER PRIMARY KEY, gate TEXT NOT NULL, detail TEXT NOT NULL)")
        self._verdicts.execute("CREATE TABLE pair (number INTEGER PRIMARY KEY, id TEXT NOT NULL)")

    def __enter__(self) -> "Sieve":
        return self

    def __exit__(self, *_: object) -> None:
        self._texts.__exit__()
        self._verdicts.close()
        self._scratch.cleanup()

    def take(self, pairs: Iterable[Pair]) -> None:
        """Judges pairs one by one, and keeps the questions of those that pass for comparison."""
        stream = iter(pairs)
        while some := list(islice(stream, BATCH)):
            self._verdicts.execute("BEGIN")
            for pair, reason in zip(some, self._judged(some), strict=True):
                self._file(pair, reason)
            self._verdicts.execute("COMMIT")

    def compare(self) -> None:
        """Finds duplicates among the questions that passed; called once, after the last `take`."""
        for number, earlier, is_exact in self._texts.duplicates():
            self.reject(number, Reason("duplicate" if is_exact else "near duplicate", f"of {self._id(earlier)}"))
        if self.alike_from is not None:
            alike = load_target("tenfold.systems.glan.likeness:alike")  # imports SciPy
            for number, earlier, likeness in alike(self._left(), self.alike_from):
                self.reject(number, Reason("alike", f"{likeness:.2f} to {self._id(earlier)}"))

    def reject(self, number: int, reason: Reason) -> None:
        """Stops the pair of this number, which had passed so far."""
        self._verdicts.execute("INSERT INTO verdict VALUES (?, ?, ?)", (number, reason.gate, reason.detail))

    def reasons(self) -> Iterator[Reason | None]:
        """Why pairs are held back, in their order; None for each that passes."""
        rows = self._verdicts.execute("SELECT number, gate, detail FROM verdict ORDER BY number")
        row: Any = rows.fetchone()
        for number in range(self.num_pairs):
            if row is not None and row[0] == number:
                yield Reason(row[1], row[2])
                row = rows.fetchone()
            else:
                yield None

    def counts(self) -> dict[str, int]:
        """Pairs stopped by each gate."""
        return dict(self._verdicts.execute("SELECT gate, count(*) FROM verdict GROUP BY gate ORDER BY gate"))

    def _judged(self, pairs: Sequence[Pair]) -> list[Reason | None]:
        reasons = [self.gate(pair) for pair in pairs]
        if self.benchmarks is None:
            return reasons
        left = [place for place, reason in enumerate(reasons) if reason is None]
        texts = [text for place in left for text in (pairs[place].instruction, pairs[place].answer)]
        hits = self.benchmarks.check_all(texts)
        for place, in_question, in_answer in zip(left, hits[::2], hits[1::2], strict=True):
            reasons[place] = known(in_question or in_answer)
        return reasons

    def _file(self, pair: Pair, reason: Reason | None) -> None:
        number = self.num_pairs
        self.num_pairs += 1
        if reason is not None:
            return self.reject(number, reason)
        self._verdicts.execute("INSERT INTO pair VALUES (?, ?)", (number, pair.id))
        return self._texts.add(number, pair.instruction)

    def _id(self, number: int) -> str:
        return self._verdicts.execute("SELECT id FROM pair WHERE number = ?", (number,)).fetchone()[0]

    def _left(self) -> Iterator[tuple[int, str]]:
        """Number and question of each pair that passes so far."""
        stopped = {number for (number,) in self._verdicts.execute("SELECT number FROM verdict")}
        return ((number, text) for number, text in self._texts.all() if number not in stopped)


def known(hit: Hit | None) -> Reason | None:
    """A benchmark's item as a reason."""
    return hit and Reason("benchmark", f"{hit.benchmark} {hit.item} ({hit.rule}): {hit.text}")


def sieve(
    pairs: Sequence[Pair],
    gate: Check = check,
    *,
    benchmarks: Decontaminator | None = None,
    alike_from: float | None = None,
) -> dict[str, Reason]:
    """The verdicts on a data set that fits into memory, by the pairs' ids; those that pass are not in it."""
    with Sieve(None, gate, benchmarks=benchmarks, alike_from=alike_from) as open_sieve:
        open_sieve.take(pairs)
        open_sieve.compare()
        return {pair.id: reason for pair, reason in zip(pairs, open_sieve.reasons(), strict=True) if reason is not None}
