"""From the readings of questions to the numbers of one model, task and arm; and the check that blind arms are blind.

A question's row holds its readings: one per prompt format and order of options, each with a state and the option picked.
A trial is what counts once: a reading (circular off or mean), or all readings of a prompt together (strict, vote). What the
apparatus spoiled is no trial. Intervals resample whole blocks (deepeval.md sections 6, 7, 9).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from scipy.special import chdtrc

from tenfold.core.errors import ApparatusError
from tenfold.evals.permute import circular_vote
from tenfold.evals.statistics import Estimate, cluster_mean
from tenfold.systems.deepeval.asking import UNSCORED, Circular
from tenfold.systems.deepeval.items import LETTERS

Row = Mapping[str, Any]
"""{model, task, arm, item, image_id, block, gold, facets, readings: [{prompt, state, pick, shown}]}"""
Group = tuple[str, str, str]
"""Model, task, arm."""


def trials(row: Row, circular: Circular) -> list[bool]:
    """Whether each trial of a question was right; unscored ones are left out."""
    if circular in ("off", "mean"):
        return [reading["pick"] == row["gold"] for reading in row["readings"] if reading["state"] not in UNSCORED]
    return [_together(readings, row["gold"], circular) for readings in _by_prompt(row).values() if _scored(readings)]


def _together(readings: Sequence[Row], gold: int, circular: Circular) -> bool:
    picks = [reading["pick"] for reading in readings]
    return all(pick == gold for pick in picks) if circular == "strict" else circular_vote(picks) == gold


def _scored(readings: Sequence[Row]) -> bool:
    return not any(reading["state"] in UNSCORED for reading in readings)


def _by_prompt(row: Row) -> dict[int, list[Row]]:
    prompts: dict[int, list[Row]] = defaultdict(list)
    for reading in row["readings"]:
        prompts[reading["prompt"]].append(reading)
    return prompts


def score(row: Row, circular: Circular) -> float | None:
    """The share of a question's trials that were right; None if none could be scored."""
    right = trials(row, circular)
    return fmean(right) if right else None


def scores(rows: Iterable[Row], circular: Circular) -> dict[str, float]:
    """The score of each question that has one, by its id."""
    return {row["item"]: value for row in rows if (value := score(row, circular)) is not None}


def grouped(rows: Iterable[Row]) -> dict[Group, list[Row]]:
    """The rows of each model, task and arm, in the order in which they come."""
    groups: dict[Group, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["model"], row["task"], row["arm"]].append(row)
    return groups


def cluster_of(row: Row) -> str:
    """The block of a question; outside blocks each question stands alone."""
    return row["block"] or row["item"]


def describe(rows: Sequence[Row], circular: Circular) -> dict[str, Any]:
    """The numbers of one model, task and arm."""
    scored = [(row, value) for row in rows if (value := score(row, circular)) is not None]
    readings = [reading for row in rows for reading in row["readings"]]
    states = Counter(reading["state"] for reading in readings)
    shown = Counter(reading["shown"] for reading in readings if reading["shown"] is not None)
    numbers: dict[str, Any] = {
        "n": len(scored),
        "unscored": len(rows) - len(scored),
        "states": dict(sorted(states.items())),
        "letters": {letter: shown[index] for index, letter in enumerate(LETTERS)},
        "letter_bias_p": letter_bias([shown[index] for index in range(len(LETTERS))]),
        "format_failures": _format_failures(states),
        "block_accuracy": block_accuracy(rows, circular),
    }
    if scored:
        clusters = [cluster_of(row) for row, _ in scored]
        numbers |= with_interval("accuracy", cluster_mean([value for _, value in scored], clusters))
        numbers |= _among_parsed(rows) | _prompts(rows, circular)
    if circular != "off":
        numbers["circular"] = {kind: _mean_score(rows, kind) for kind in ("mean", "strict", "vote")}
    return numbers


def with_interval(name: str, estimate: Estimate) -> dict[str, Any]:
    """An estimate under a name, and its interval under the name with `_ci`."""
    return {name: estimate.value, f"{name}_ci": estimate.interval}


def _format_failures(states: Mapping[str, int]) -> float | None:
    """The share of scored readings that were no clear choice."""
    scored = sum(count for state, count in states.items() if state not in UNSCORED)
    return 1 - states.get("ok", 0) / scored if scored else None


def _among_parsed(rows: Sequence[Row]) -> dict[str, Any]:
    parsed = [(row, reading) for row in rows for reading in row["readings"] if reading["state"] == "ok"]
    if not parsed:
        return {"accuracy_parsed": None}
    right = [reading["pick"] == row["gold"] for row, reading in parsed]
    return with_interval("accuracy_parsed", cluster_mean(right, [cluster_of(row) for row, _ in parsed]))


def _prompts(rows: Sequence[Row], circular: Circular) -> dict[str, Any]:
    """Accuracy by prompt format, and the standard deviation between the formats (None for a single one)."""
    numbers = sorted({reading["prompt"] for row in rows for reading in row["readings"]})
    means = {number: _mean_score([_only(row, number) for row in rows], circular) for number in numbers}
    known = [mean for mean in means.values() if mean is not None]
    return {
        "accuracy_by_prompt": {str(number): mean for number, mean in means.items()},
        "prompt_sd": stdev(known) if len(known) > 1 else None,
    }


def _only(row: Row, prompt: int) -> Row:
    return {**row, "readings": [reading for reading in row["readings"] if reading["prompt"] == prompt]}


def _mean_score(rows: Sequence[Row], circular: Circular) -> float | None:
    values = [value for row in rows if (value := score(row, circular)) is not None]
    return fmean(values) if values else None


def letter_bias(counts: Sequence[int]) -> float | None:
    """p of the chi-square test that the four letters are chosen equally often; None where nothing was chosen."""
    if not sum(counts):
        return None
    expected = sum(counts) / len(counts)
    statistic = sum((count - expected) ** 2 for count in counts) / expected
    return float(chdtrc(len(counts) - 1, statistic))


def block_accuracy(rows: Sequence[Row], circular: Circular) -> float | None:
    """The share of trials in which all questions of a block were right; None without whole, scored blocks."""
    shares = [
        fmean(all(together) for together in zip(*of_block, strict=True))
        for of_block in ([trials(row, circular) for row in block] for block in blocks_of(rows).values())
        if of_block[0] and len({len(right) for right in of_block}) == 1
    ]
    return fmean(shares) if shares else None


def blocks_of(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The whole blocks of four."""
    blocks: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["block"]:
            blocks[row["block"]].append(row)
    return {name: block for name, block in blocks.items() if len(block) == len(LETTERS)}


def check_blind(rows: Sequence[Row]) -> int:
    """Checks, reading by reading, that without picture and description the questions of a block got one answer, so that
    exactly 25 % of what was parsed is right; returns the number of readings of blocks that were checked.

    Raises:
        ApparatusError: they did not, so something else than the picture tells the questions apart.
    """
    checked = 0
    for name, block in blocks_of(rows).items():
        for together in zip(*(row["readings"] for row in block), strict=True):
            picks = {(reading["state"], reading["pick"]) for reading in together}
            golds = {row["gold"] for row in block}
            if len(picks) > 1 or len(golds) < len(LETTERS):
                raise ApparatusError(
                    f"block {name} was asked without its pictures and scored other than 25 %: answers "
                    f"{sorted(map(str, picks))}, right options {sorted(golds)}; its prompts or key are not those of a quad"
                )
            checked += 1
    return checked
