"""Planted items of GSM8K and MMLU are found, as they are and with changed case, punctuation, spacing and words."""

import random
import re

import pytest

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.glan.benchmarks import load_benchmarks
from tenfold.systems.glan.decontaminate import BenchmarkItem, Decontaminator

LONG = "A farmer has seventeen sheep and sells all but nine of them at the market; how many sheep are left with him?"
ITEMS = [
    BenchmarkItem("own", "long", LONG),
    BenchmarkItem("own", "middle", "Which of these laws describes the pressure of gases?"),
    BenchmarkItem("own", "short", "Which is true?", ("All swans are white", "Some swans are black")),
]
SMALL = Decontaminator(ITEMS)


@pytest.mark.parametrize(
    ("text", "item", "rule"),
    [
        (LONG, "long", "exact"),
        (f"Solve this. {LONG.upper()} Explain.", "long", "exact"),
        (LONG.replace(" ", "   ").replace(";", " --"), "long", "exact"),
        (LONG.split(";")[0] + "?", "long", "13-gram"),
        (LONG.replace("seventeen", "18").replace("market", "fair"), "long", "overlap"),
        ("Tell me: which of these laws describes the pressure of gases?", "middle", "exact"),
        ("Which is true? A. All swans are white B. Some swans are black", "short", "exact"),
        ("which is true: all swans are white, some swans are black", "short", "exact"),
    ],
)
def test_finds_what_is_planted(text, item, rule):
    hit = SMALL.check(text)
    assert hit is not None and (hit.item, hit.rule) == (item, rule)


@pytest.mark.parametrize(
    "text",
    ["", "Which is true?", "Which of these laws describes the motion of planets?", "How many sheep are left with him?"],
)
def test_leaves_what_only_sounds_alike(text):
    assert SMALL.check(text) is None


def test_finds_nothing_without_items():
    assert Decontaminator([]).check(LONG) is None and Decontaminator([]).check_all([LONG, ""]) == [None, None]


def test_many_texts_together_are_judged_as_one_by_one():
    rng = random.Random(3)
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "omicron",
        "pi",
        "rho",
        "sigma",
        "tau",
    ]
    items = [BenchmarkItem("own", str(n), " ".join(rng.choices(words, k=rng.randint(4, 30)))) for n in range(60)]
    table = Decontaminator(items)
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 40))) for _ in range(200)]
    texts += [f"{texts[n]} {items[n % 60].text} {texts[-n]}" for n in range(60)]
    texts += [" ".join(items[n].text.split()[n % 4 :: 1 + n % 2]) for n in range(60)]
    rng.shuffle(texts)
    one_by_one = [table.check(text) for text in texts]
    assert table.check_all(texts) == one_by_one and 60 < sum(hit is not None for hit in one_by_one) < len(texts)
    assert table.check_all([]) == []


def test_reads_a_file_of_questions(tmp_path):
    (tmp_path / "own.jsonl").write_text('{"question": "What is it?", "choices": ["this", "that"]}\n')
    (item,) = load_benchmarks([str(tmp_path / "own.jsonl")])
    assert (item.benchmark, item.id, item.choices) == ("own", f"{tmp_path.name}/own:1", ("this", "that"))
    (tmp_path / "bad.jsonl").write_text('{"text": 1}\n')
    with pytest.raises(ConfigError, match="line 1 has no question"):
        load_benchmarks([str(tmp_path / "bad.jsonl")])
    with pytest.raises(MissingArtifactError, match="benchmark 'none'"):
        load_benchmarks(["none"])


def perturbed(rng, text):
    """Another case, other punctuation, other spacing."""
    text = rng.choice([str.upper, str.lower, str.title])(text)
    return re.sub(r"[,.;:?!]", lambda _: rng.choice(["", " ", "; ", " -- "]), text).replace(" ", "  ")


def reworded(rng, text):
    """One word in twenty is another one."""
    return " ".join("other" if rng.random() < 0.05 else word for word in text.split())


def test_planted_benchmark_items_are_found_and_textbook_windows_are_not(data_folder, monkeypatch):
    monkeypatch.setenv("TENFOLD_DATA", str(data_folder))
    try:
        items = load_benchmarks(["gsm8k", "mmlu"])
    except MissingArtifactError as error:
        pytest.skip(str(error))
    table, rng = Decontaminator(items), random.Random(0)
    planted = rng.sample(items, 300)
    texts = [planted_text(item) for item in planted]
    assert all(table.check(f"Here is a task. {text}" if len(text.split()) > 12 else text) for text in texts)
    assert sum(table.check(perturbed(rng, text)) is not None for text in texts) >= 0.95 * len(texts)
    long = [item.text for item in planted if len(item.text.split()) >= 25]
    assert sum(table.check(reworded(rng, text)) is not None for text in long) >= 0.95 * len(long)


def planted_text(item):
    """As a prompt shows it."""
    return "\n".join([item.text, *(f"{letter}. {choice}" for letter, choice in zip("ABCD", item.choices, strict=False))])
