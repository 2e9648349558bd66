"""The verb `audit`: our own blocks are clean, a set whose wording tells is found out, and unpaired sets are refused."""

import json

import pytest

from tenfold.core.config import parse
from tenfold.core.errors import UserError
from tenfold.store import runs
from tenfold.systems.ump.audit import AuditConfig, audit, build_page, describe_audit


def audited(tmp_path, **settings):
    config = parse(AuditConfig, settings)
    opened = runs.start(tmp_path, "ump-audit", config)
    return audit(config, opened), opened


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def pairs_that_tell(number):
    """Flawed problems end with two full stops and speak of several things."""
    for pair in range(number):
        text = f"Ann has {pair + 3} apples and eats {pair % 3 + 1} of them."
        yield {"id": f"{pair}s", "pair_id": str(pair), "question": f"{text} How many are left?", "answer": "2"}
        told = f"{text} Several are green.. How many are left?"
        yield {"id": f"{pair}f", "pair_id": str(pair), "question": told, "flaw": {"kind": "undefined"}}


def test_additive_probes_are_blind_on_our_blocks(tmp_path):
    metrics, opened = audited(tmp_path)
    assert metrics["count_bag_pairwise"] == 0.5
    assert metrics["best_pairwise"] <= 0.55 and metrics["verdict"] == "clean"
    assert metrics["per_category"] and len(metrics["probes"]) >= 8
    assert audit(opened.config, opened) == metrics, "a second call reads its rows"
    page = build_page(list(opened.rows.values()), metrics)
    assert "clean" in page.verdict and len(page.exhibits[0].rows) == len(metrics["probes"])
    assert "pairs are the same text twice" in describe_audit(metrics)


def test_a_telling_wording_is_found(tmp_path):
    metrics, _ = audited(tmp_path, data=write(tmp_path / "telling.jsonl", pairs_that_tell(30)))
    assert metrics["pairs"] == 30 and metrics["pairwise"] >= 0.95 and metrics["answerability"] >= 0.95
    assert metrics["marks"]["two full stops"] == {"sound": 0, "flawed": 30}
    assert "gives the label away" in metrics["verdict"]


def test_problems_without_pairs_are_refused(tmp_path):
    rows = [{"id": str(n), "question": f"What is {n} and 1?", "answer": str(n + 1)} for n in range(9)]
    with pytest.raises(UserError, match="same pair_id"):
        audited(tmp_path, data=write(tmp_path / "single.jsonl", rows))
