"""From judged answers to the numbers of one model under one template, and two templates compared on the same problems.

    acc          share of sound problems whose answer is right
    abs          how often a flaw is seen: strict counts only mark 1, graded the marks themselves
    rel          the graded marks where the sound partner was solved; None below 20 of them
    false_alarm  share of sound problems that are called flawed;     j = abs_strict - false_alarm
    pair_sep     share of a block's sound/flawed comparisons that P(flagged) orders rightly, ties half: .5 is blind
    block_acc    share of whole blocks in which all four are told apart: flagged if and only if flawed
    non_conv     share of answers that were cut off or empty
    local        share of flawed problems, seen as such, whose flaw is named rightly

Every rate is {value, low, high} with a 95 % interval over blocks, or None where nothing counts (ump.md section 6).
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import ConfigError
from tenfold.evals.statistics import cluster_bootstrap, cluster_mean, mcnemar, sign_flip, wilson
from tenfold.systems.ump.data import group
from tenfold.systems.ump.harm import harm_test
from tenfold.systems.ump.judges import Status
from tenfold.systems.ump.locating import can_be_located, is_located, is_repaired, offered_repair
from tenfold.systems.ump.overthink import Length, first_flags, inflation, num_words
from tenfold.systems.ump.problems import CELLS, Problem

LEAST_FOR_REL = 20
DRAWS_OF_J = 2000
"""The difference of two rates has no fast bootstrap."""

Rate = dict[str, float] | None


@dataclass(frozen=True)
class Answered:
    """One judged answer of one model under one template to one problem."""

    problem: Problem
    text: str
    status: Status
    probability: float | None
    """P(flagged); None where the judge failed."""
    mark: float | None
    """1, 1/2 or 0; None where the judge failed."""
    solved: bool
    """Whether it ends on the problem's answer; False for flawed problems."""
    tokens: int = 0
    """Completion tokens, reasoning included."""
    reasoning_tokens: int = 0

    @property
    def label(self) -> bool | None:
        """Whether the answer says that the problem is flawed; None: unscored."""
        return None if self.probability is None else self.probability >= 0.5

    @property
    def strict(self) -> bool:
        """Whether the flaw is asserted and no number given."""
        return self.mark == 1

    @property
    def cluster(self) -> str:
        """What is resampled together: the block, else the pair."""
        return group(self.problem)

    @property
    def pair(self) -> str:
        return self.problem.pair_id or self.problem.id


Value = Callable[[Answered], float | None]


def measure(answers: Sequence[Answered]) -> dict[str, Any]:
    """All numbers of one model under one template; plain JSON."""
    sound, flawed = _sides(answers)
    seen = [answer for answer in flawed if answer.label]
    return {
        "n": len(answers),
        "n_sound": len(sound),
        "n_flawed": len(flawed),
        "unscored": sum(answer.probability is None for answer in answers),
        "acc": rate(solvable(sound), lambda answer: answer.solved),
        **_detection(answers),
        "abs_graded": rate(flawed, lambda answer: answer.mark),
        "rel": _rel(flawed, sound),
        "j": _j(answers),
        "block_acc": _block_acc(answers),
        "non_conv": rate(answers, _not_converged),
        "local": rate(
            [answer for answer in seen if can_be_located(answer.problem)],
            lambda answer: is_located(answer.problem, answer.text),
        ),
        "repair": _repair(flawed),
        "inflation": _inflation(answers),
        "first_flag": first_flags([answer.text for answer in seen]),
        "per_category": _per_category(answers),
    }


def rate(answers: Iterable[Answered], value: Value) -> Rate:
    """The mean of a value over the answers that have one, with its interval; None where none has one."""
    known = [(found, answer.cluster) for answer in answers if (found := value(answer)) is not None]
    return estimate([float(found) for found, _ in known], [cluster for _, cluster in known])


def estimate(values: Sequence[float], clusters: Sequence[str]) -> Rate:
    """The mean with its cluster bootstrap; a share of 0 or 1, which has no spread, by Wilson over the clusters."""
    if not values:
        return None
    if set(values) in ({0.0}, {1.0}):
        num_clusters = len(set(clusters))
        all_of_them = wilson(num_clusters if values[0] else 0, num_clusters)
        return {"value": values[0], "low": min(values[0], all_of_them.low), "high": max(values[0], all_of_them.high)}
    return asdict(cluster_mean(values, clusters))


def solvable(answers: Iterable[Answered]) -> list[Answered]:
    """Those of sound problems whose right answer is known."""
    return [answer for answer in answers if answer.problem.sound and answer.problem.answer is not None]


def _sides(answers: Iterable[Answered]) -> tuple[list[Answered], list[Answered]]:
    sound = [answer for answer in answers if answer.problem.sound]
    return sound, [answer for answer in answers if not answer.problem.sound]


def _strict(answer: Answered) -> float | None:
    return None if answer.mark is None else float(answer.strict)


def _label(answer: Answered) -> float | None:
    return None if answer.label is None else float(answer.label)


def _not_converged(answer: Answered) -> float | None:
    return None if answer.status == "judge_failed" else float(answer.status in ("truncated", "empty"))


def _detection(answers: Sequence[Answered]) -> dict[str, Rate]:
    sound, flawed = _sides(answers)
    values, clusters = comparisons(answers)
    return {
        "abs_strict": rate(flawed, _strict),
        "false_alarm": rate(sound, _label),
        "pair_sep": estimate(values, clusters),
    }


def comparisons(answers: Iterable[Answered]) -> tuple[list[float], list[str]]:
    """Every comparison of a flawed with a sound problem of its block (or pair): 1 right, 1/2 tie, 0 wrong."""
    values, clusters = [], []
    for cluster, members in _grouped(answers, lambda answer: answer.cluster).items():
        sound, flawed = _sides(members)
        pairs = [(u.probability, c.probability) for u in flawed for c in sound]
        found = [float(np.sign(u - c) + 1) / 2 for u, c in pairs if u is not None and c is not None]
        values += found
        clusters += [cluster] * len(found)
    return values, clusters


def _grouped(answers: Iterable[Answered], key: Callable[[Answered], str]) -> Mapping[str, list[Answered]]:
    groups: dict[str, list[Answered]] = defaultdict(list)
    for answer in answers:
        groups[key(answer)].append(answer)
    return groups


def _rel(flawed: Sequence[Answered], sound: Sequence[Answered]) -> Rate:
    solved = {answer.pair for answer in sound if answer.solved}
    counted = [answer for answer in flawed if answer.pair in solved and answer.mark is not None]
    return rate(counted, lambda answer: answer.mark) if len(counted) >= LEAST_FOR_REL else None


def _j(answers: Sequence[Answered]) -> Rate:
    scored = [answer for answer in answers if answer.mark is not None and answer.label is not None]
    sound_N = np.array([answer.problem.sound for answer in scored], dtype=bool)
    if not sound_N.any() or sound_N.all():
        return None
    value_N = np.array([bool(answer.label) if answer.problem.sound else answer.strict for answer in scored], dtype=float)

    def difference(drawn: NDArray[np.intp]) -> float:
        sound, value = sound_N[drawn], value_N[drawn]
        if sound.all() or not sound.any():
            return float("nan")
        return float(value[~sound].mean() - value[sound].mean())

    return asdict(cluster_bootstrap(difference, [answer.cluster for answer in scored], draws=DRAWS_OF_J))


def _block_acc(answers: Sequence[Answered]) -> Rate:
    blocks = _grouped((answer for answer in answers if answer.problem.block), lambda answer: answer.problem.block)
    whole = {
        block: members
        for block, members in blocks.items()
        if len(members) == len(CELLS) and all(member.label is not None for member in members)
    }
    right = [float(all(member.label != member.problem.sound for member in members)) for members in whole.values()]
    return estimate(right, list(whole))


def _repair(flawed: Sequence[Answered]) -> dict[str, Any]:
    scored = [answer for answer in flawed if answer.probability is not None]
    offers = [answer for answer in scored if offered_repair(answer.text)]
    certified = [answer for answer in offers if answer.problem.certificate is not None]
    return {
        "offered": rate(scored, lambda answer: bool(offered_repair(answer.text))),
        "accepted": rate(certified, lambda answer: is_repaired(answer.problem, offered_repair(answer.text))),
    }


def _inflation(answers: Sequence[Answered]) -> dict[str, Any]:
    sizes: dict[str, Callable[[Answered], int]] = {
        "words": lambda answer: num_words(answer.text),
        "visible_tokens": lambda answer: answer.tokens - answer.reasoning_tokens,
        "reasoning_tokens": lambda answer: answer.reasoning_tokens,
    }
    return {
        name: inflation([Length(size(each), each.problem.sound, each.pair, each.cluster) for each in answers])
        for name, size in sizes.items()
    }


def _per_category(answers: Sequence[Answered]) -> dict[str, dict[str, Any]]:
    named = _grouped((answer for answer in answers if answer.problem.category), lambda answer: answer.problem.category)
    return {category: {"n": len(members), **_detection(members)} for category, members in sorted(named.items())}


def compare(base: Sequence[Answered], other: Sequence[Answered]) -> dict[str, Any]:
    """What `other` (a template) changes against `base` on the same problems: differences with tests, and the harm.

    Raises:
        ConfigError: the two were asked different problems.
    """
    pairs = _matched(base, other)
    sound = [pair for pair in pairs if pair[0].problem.sound]
    answerable = [pair for pair in sound if pair[0].problem.answer is not None]
    return {
        "n": len(pairs),
        "acc": _difference(answerable, lambda answer: float(answer.solved)),
        "abs_strict": _difference([pair for pair in pairs if not pair[0].problem.sound], _strict),
        "false_alarm": _difference(sound, _label),
        "harm": harm_test([before.solved for before, _ in answerable], [after.solved for _, after in answerable]),
    }


def _matched(base: Sequence[Answered], other: Sequence[Answered]) -> list[tuple[Answered, Answered]]:
    first, second = ({answer.problem.id: answer for answer in side} for side in (base, other))
    odd = sorted(first.keys() ^ second.keys())
    if odd or not first:
        raise ConfigError(
            f"{len(first)} and {len(second)} problems were asked, {len(odd)} of them only once"
            f"{f' ({odd[0]!r})' if odd else ''}; compare answers to the same problems"
        )
    return [(first[key], second[key]) for key in first]


def _difference(pairs: Sequence[tuple[Answered, Answered]], value: Value) -> dict[str, Any] | None:
    """other - base, with the exact McNemar test where every cluster has one problem, else the sign-flip test."""
    found = [(value(before), value(after), before.cluster) for before, after in pairs]
    known = [(b, a, cluster) for b, a, cluster in found if b is not None and a is not None]
    if not known:
        return None
    changes, clusters = [a - b for b, a, _ in known], [cluster for _, _, cluster in known]
    single = len(set(clusters)) == len(clusters)
    p = mcnemar(changes.count(1), changes.count(-1)) if single else sign_flip(changes, clusters)
    return {**asdict(cluster_mean(changes, clusters)), "p": p, "test": "mcnemar" if single else "sign_flip", "n": len(known)}
