"""The generator's laws: labels are f XOR g, words cannot tell them apart, the same seed gives the same bytes."""

import json
import random
from collections import Counter

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.store import runs
from tenfold.systems.ump import problems
from tenfold.systems.ump.building import (
    BuildConfig,
    CheckConfig,
    build,
    build_problems,
    check_file,
    describe_build,
    describe_check,
)
from tenfold.systems.ump.checker import check_block, words_in
from tenfold.systems.ump.measures import Answered, measure
from tenfold.systems.ump.problems import CATEGORIES, by_block

BUILT = build_problems("builtin")
BLOCKS = by_block(BUILT.problems)


def test_every_block_is_accepted_and_every_category_is_there():
    assert {cells["c1"].category for cells in BLOCKS.values()} == set(CATEGORIES)
    assert [check_block(cells) for cells in BLOCKS.values()] == [None] * len(BLOCKS)


def test_labels_are_the_exclusive_or_of_the_factors():
    for cells in BLOCKS.values():
        assert {name: cell.sound for name, cell in cells.items()} == {"c1": True, "c2": True, "u1": False, "u2": False}
        assert all((cell.answer is None) == (not cell.sound) for cell in cells.values())


def test_sound_and_flawed_texts_hold_the_same_words():
    for cells in BLOCKS.values():
        words = {name: words_in(cell.question) for name, cell in cells.items()}
        assert words["c1"] + words["c2"] == words["u1"] + words["u2"]


@pytest.mark.parametrize("seed", range(5))
def test_additive_scorers_of_words_are_blind(seed):
    """Any weight for any word orders exactly half of a block's comparisons."""
    draw = random.Random(seed)
    weights: Counter[str] = Counter()
    for problem in BUILT.problems:
        for word in words_in(problem.question):
            weights.setdefault(word, draw.randint(-9, 9))
    scores = {
        problem.id: sum(weights[word] * n for word, n in words_in(problem.question).items()) for problem in BUILT.problems
    }
    highest = max(map(abs, scores.values()))
    answers = [
        Answered(problem, "", "ok", 0.5 + scores[problem.id] / (2 * highest + 1), 0.0, solved=False)
        for problem in BUILT.problems
    ]
    assert measure(answers)["pair_sep"]["value"] == 0.5


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    first, second = tmp_path / "1.jsonl", tmp_path / "2.jsonl"
    problems.write(first, BUILT.problems)
    build_problems.cache_clear()
    problems.write(second, build_problems("builtin").problems)
    assert first.read_bytes() == second.read_bytes()
    assert problems.read(first) == BUILT.problems


def test_the_verb_build_writes_what_the_verb_check_accepts(tmp_path):
    out = tmp_path / "mine.jsonl"
    run = runs.start(tmp_path, "ump-build", parse(BuildConfig, {"out": str(out)}))
    metrics = build(run.config, run)
    assert metrics["pairs"] == 2 * len(BLOCKS) and metrics["checker_accepts"] == 1.0 and metrics["placebos_per_block"] == 2
    assert "left out" in describe_build(metrics)
    opened = runs.start(tmp_path, "ump-check", parse(CheckConfig, {"data": str(out)}))
    checked = check_file(opened.config, opened)
    assert checked["accepted"] == checked["problems"] == len(BUILT.problems) and not checked["broken_blocks"]


def test_a_spoilt_line_is_found_with_its_number(tmp_path):
    path = tmp_path / "mine.jsonl"
    rows = [problem.model_dump(mode="json") for problem in BUILT.problems[:4]]
    sound = next(place for place, row in enumerate(rows) if row["answer"])
    rows[sound]["answer"] = str(int(rows[sound]["answer"].split("/")[0]) + 1)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    opened = runs.start(tmp_path, "ump-check", parse(CheckConfig, {"data": str(path)}))
    metrics = check_file(opened.config, opened)
    assert [row["line"] for row in metrics["rejections"]] == [sound + 1]
    assert f"line {sound + 1}" in describe_check(metrics)


def test_a_malformed_line_stops_everything(tmp_path):
    path = tmp_path / "mine.jsonl"
    path.write_text('{"id": "a", "question": "?"}\n{"id": "b"}\n')
    opened = runs.start(tmp_path, "ump-check", parse(CheckConfig, {"data": str(path)}))
    with pytest.raises(UserError, match=r"line 2.*question"):
        check_file(opened.config, opened)


def test_gsm8k_gives_what_the_specification_asks_for(data_folder):
    built = build_problems("gsm8k")
    pairs = Counter(problem.category for problem in built.problems if not problem.sound)
    assert sum(pairs.values()) >= 3000 and min(pairs.values()) >= 150
    assert sum(not problem.sound and problem.split == "test" for problem in built.problems) >= 1200
