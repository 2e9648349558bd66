"""Measures what the home claims of size and sharpness; each prints one JSON object.

python tests/systems/glan/measure.py minhash [N]          seconds, recall and precision of near duplicates among N questions
python tests/systems/glan/measure.py contamination [N]    planted GSM8K and MMLU items, textbook windows, records/s
python tests/systems/glan/measure.py memory [N]           seconds and peak memory of gating and exporting N pairs
python tests/systems/glan/measure.py gates [N]            planted truncations and echoes caught, good pairs lost
python tests/systems/glan/measure.py equations [N]        GSM8K's answers, as they are and with one figure changed
python tests/systems/glan/measure.py estimate [N] [RUN]   a dry run after a pilot of N against the cost; RUN: a recorded one
"""

import asyncio
import json
import random
import re
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from tenfold.core.config import parse, read_toml
from tenfold.core.seeds import derive
from tenfold.llm.chat import ChatReply, ChatRequest, Usage
from tenfold.store import runs
from tenfold.store.artifacts import data_folder
from tenfold.store.ledger import Ledger
from tenfold.systems.glan.asking import KINDS, Asking
from tenfold.systems.glan.benchmarks import load_benchmarks
from tenfold.systems.glan.budget import Budget, BudgetConfig, Spending, spent_in
from tenfold.systems.glan.decontaminate import Decontaminator
from tenfold.systems.glan.duplicates import near_duplicates
from tenfold.systems.glan.equations import false_equation
from tenfold.systems.glan.estimate import estimate
from tenfold.systems.glan.exporting import ExportConfig, export
from tenfold.systems.glan.gates import check
from tenfold.systems.glan.gating import GateConfig, gate
from tenfold.systems.glan.generating import GenerateConfig, settled
from tenfold.systems.glan.grams import shingles
from tenfold.systems.glan.minhash import jaccard
from tenfold.systems.glan.pair_files import write_pairs
from tenfold.systems.glan.piloting import pilot
from tenfold.systems.glan.pipeline import grow
from tenfold.systems.glan.planner import Planner
from tenfold.systems.glan.taxonomy import choose, load_taxonomy
from tenfold.systems.glan.teachers import open_teacher
from tenfold.systems.glan.tree import Pair

FIRST = ("ba", "ce", "di", "fo", "gu", "ka", "le", "mi", "no", "pu")
SECOND = ("ral", "ten", "sim", "dor", "kul", "pas")
WORDS = [first + second for first in FIRST for second in SECOND]
VOCABULARY = [first + second for first in WORDS for second in WORDS]
WINDOW = 60


def sentence(rng: random.Random, length: int = 40) -> str:
    return " ".join(rng.choices(VOCABULARY, k=length))


def changed(rng: random.Random, text: str, number: int) -> str:
    words = text.split()
    for place in rng.sample(range(len(words)), number):
        words[place] = rng.choice(VOCABULARY)
    return " ".join(words)


def pair(number: int, question: str, answer: str) -> Pair:
    where = {"field": "F", "branch": "B", "discipline": f"D{number % 126}", "subject": "S", "level": "beginner"}
    drawn = {"sessions": ("one",), "concepts": ("first",), "strategy": "one session", "draw": number, "split": "train"}
    return Pair(f"{number:024x}", question, answer, **where, **drawn, truncated=False, lineage=("a", "b", "c", "d"))


def minhash(number: int) -> dict[str, Any]:
    """Half of the texts are changed copies of the other half, by 0 to 3 words; truth is the Jaccard index."""
    rng = random.Random(0)
    originals = [sentence(rng) for _ in range(number // 2)]
    copies = [changed(rng, text, rng.randrange(4)) for text in originals]
    started = time.perf_counter()
    found = near_duplicates(originals + copies)
    seconds = time.perf_counter() - started
    half = len(originals)
    near = [jaccard(shingles(originals[i], 3), shingles(copies[i], 3)) >= 0.8 for i in range(half)]
    caught = sum(found.get(half + i) == i for i in range(half) if near[i])
    right = sum(index >= half and found[index] == index - half and near[index - half] for index in found)
    scores = {"recall": caught / sum(near), "precision": right / len(found), "planted": sum(near)}
    return {"texts": number, "seconds": round(seconds, 2)} | scores


def contamination(number: int) -> dict[str, Any]:
    """Items as they are and perturbed; windows of a textbook that holds none of them."""
    items = load_benchmarks(["gsm8k", "mmlu"])
    started = time.perf_counter()
    table = Decontaminator(items)
    built = time.perf_counter() - started
    rng = random.Random(0)
    planted = rng.sample(items, min(number, len(items)))
    texts = ["\n".join([item.text, *item.choices]) for item in planted]
    perturbed = [
        re.sub(r"[,.;:?!]", "", rng.choice([str.upper, str.lower, str.title])(text)).replace(" ", "  ") for text in texts
    ]
    windows = list(textbook_windows())
    started = time.perf_counter()
    false = [hit for hit in table.check_all(windows) if hit]
    seconds = time.perf_counter() - started
    return {
        "items": len(items),
        "build_seconds": round(built, 1),
        "planted": len(texts),
        "caught": sum(table.check(text) is not None for text in texts) / len(texts),
        "caught_perturbed": sum(table.check(text) is not None for text in perturbed) / len(texts),
        "windows": len(windows),
        "false_positives": len(false) / len(windows),
        "windows_per_second": round(len(windows) / seconds),
    }


def textbook_windows() -> Iterator[str]:
    """All texts of the economics textbook, 60 words at a time."""
    for path in sorted((data_folder() / "text").glob("openstax_economics*")):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            words = file.read_text(encoding="utf-8", errors="replace").split() if file.is_file() else []
            yield from (" ".join(words[at : at + WINDOW]) for at in range(0, len(words) - WINDOW, WINDOW))


def memory(number: int) -> dict[str, Any]:
    """Gates and exports a file of pairs of which one in twenty is a near duplicate."""
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        count = write_pairs(root / "pairs.jsonl", generated(rng, number))
        started = time.perf_counter()
        gating = parse(GateConfig, {"data": str(root / "pairs.jsonl"), "language": "any"})
        run = runs.start(root, "glan-gate", gating)
        metrics = gate(gating, run)
        gated = time.perf_counter() - started
        exporting = parse(ExportConfig, {"data": str(run.folder / "accepted.jsonl"), "order": "level"})
        exported = export(exporting, runs.start(root, "glan-export", exporting))
        seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    counts = {"pairs": count, "accepted": metrics["accepted"], "gates": metrics["gates"], "exported": exported["rows"]}
    return counts | {"gate_seconds": round(gated, 1), "seconds": round(seconds, 1), "peak_mib": round(peak)}


def generated(rng: random.Random, number: int) -> Iterator[Pair]:
    question = sentence(rng, 30)
    for place in range(number):
        question = changed(rng, question, 1) if place % 20 == 19 else sentence(rng, 30)
        yield pair(place, f"{question}?", f"{sentence(rng, 50)}.")


def arithmetic(number: int) -> dict[str, Any]:
    """Share of worked answers with an equation that does not hold, before and after one figure is changed."""
    rows = [json.loads(line) for line in (data_folder() / "gsm8k" / "train.jsonl").open(encoding="utf-8")][:number]
    answers = [re.sub(r"<<[^>]*>>", "", row["answer"]).partition("####")[0] for row in rows]
    rng = random.Random(0)
    planted = [spoilt for answer in answers if (spoilt := _spoilt(rng, answer))]
    return {
        "answers": len(answers),
        "stopped": sum(false_equation(answer) is not None for answer in answers) / len(answers),
        "planted": len(planted),
        "caught": sum(false_equation(answer) is not None for answer in planted) / len(planted),
    }


def _spoilt(rng: random.Random, answer: str) -> str | None:
    """The answer with the result of one equation changed; None where it has none."""
    results = list(re.finditer(r"=\s*\$?(\d+)(?![\d.,%])", answer))
    if not results:
        return None
    chosen = rng.choice(results)
    return f"{answer[: chosen.start(1)]}{int(chosen[1]) + rng.choice((1, 2, 10))}{answer[chosen.end(1) :]}"


class Recorded:
    """A teacher that says again what a ledger holds; a request is known by its seed, which comes from the call's key."""

    def __init__(self, ledger: Ledger, fingerprint: str) -> None:
        self.name, self.fingerprint, self.takes_images = "recorded", fingerprint, False
        self.replies = {derive(0, entry.key) >> 32: entry.result for kind in KINDS for entry in ledger.entries(kind)}

    async def chat(self, request: ChatRequest) -> ChatReply:
        known = self.replies[request.seed]
        usage = Usage(known["prompt_tokens"], known["completion_tokens"])
        return ChatReply(known["text"], known["finish_reason"], usage)


def estimated(number: int) -> dict[str, Any]:
    """Of a recorded run where one is named, else of the scripted teacher on ten disciplines of mathematics."""
    run = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    table = read_toml(run / "config.toml") if run else {"disciplines": ["Mathematics and logic"], "teacher": "scripted"}
    config = settled(parse(GenerateConfig, table if run else table | {"subjects": 5, "questions": 10}))
    disciplines = choose(load_taxonomy(), config.disciplines)
    with tempfile.TemporaryDirectory() as name, Ledger(Path(name) / "ledger.sqlite") as ledger:
        teacher: Any = open_teacher(config.teacher)
        if run:
            with Ledger(run / "ledger.sqlite") as recorded:
                teacher = Recorded(recorded, teacher.fingerprint)
        planner = Planner(config, teacher.fingerprint)
        asking = Asking(teacher, ledger, Budget(BudgetConfig(), Spending()), concurrency=4, again_when_cut=0)
        piloted = asyncio.run(pilot(planner, asking, disciplines, number))
        before, expected = spent_in(ledger, KINDS), estimate(planner, ledger, disciplines, piloted=piloted)
        asyncio.run(grow(planner, asking, disciplines))
        after = spent_in(ledger, KINDS)
    total = before + expected.spending
    return {
        "pilot_calls": before.calls,
        "calls": after.calls,
        "tokens": after.tokens,
        "expected_calls": total.calls,
        "expected_tokens": total.tokens,
        "off": total.tokens / after.tokens - 1,
    }


def gates(number: int) -> dict[str, Any]:
    """Good pairs are sentences of the textbook; the defective ones are made of them."""
    windows = [window.rpartition(".")[0] + "." for window in textbook_windows() if window.count(".") > 1][: number + 1]
    rng = random.Random(0)
    found = {"truncation": 0, "echo": 0, "good": 0}
    for place, (question, answer) in enumerate(pairwise(windows)):
        cut = answer[: len(answer) // 2].rstrip(" .!?") + rng.choice([" and", " the", ","])
        found["truncation"] += caught(pair(place, question, cut), "truncation")
        found["echo"] += caught(pair(place, question, f"{question} {answer[:40]}."), "echo")
        found["good"] += check(pair(place, question, answer), language="en") is not None
    return {"pairs": len(windows) - 1} | {f"{name}_caught": n / (len(windows) - 1) for name, n in found.items()}


def caught(each: Pair, gate_name: str) -> bool:
    reason = check(each, language="en")
    return reason is not None and reason.gate == gate_name


MEASURES = {
    "minhash": (minhash, 100_000),
    "contamination": (contamination, 2_000),
    "memory": (memory, 1_000_000),
    "gates": (gates, 5_000),
    "equations": (arithmetic, 7_473),
    "estimate": (estimated, 8),
}

if __name__ == "__main__":
    measure, default = MEASURES[sys.argv[1]]
    print(json.dumps(measure(int(sys.argv[2]) if len(sys.argv) > 2 else default)))
