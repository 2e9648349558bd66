"""The tests themselves: six errors that are easily made are planted, and each is caught by a test of this folder."""

from dataclasses import replace

import pytest
import torch

from systems.sentinel import test_lm, test_rules, test_training
from tenfold.systems.sentinel import collate, eviction, layout, lm, rules


def cache_test() -> None:
    test_lm.test_cache_equals_the_masked_forward("few sentinels", 7)


def mask_test() -> None:
    test_rules.test_windows_count_original_tokens()


def evicts_a_block_early(monkeypatch):
    original = eviction.survivors
    monkeypatch.setattr(lm, "survivors", lambda entries, state, rule: original(entries, replace(state, i=state.i + 4), rule))
    return cache_test


def positions_are_off_by_one_after_compaction(monkeypatch):
    original = lm.SentinelLM._positions

    def shifted(self, row, piece):
        is_compacted = bool(piece) and piece[0].order > self.engine.lengths[row]
        return [position + is_compacted for position in original(self, row, piece)]

    monkeypatch.setattr(lm.SentinelLM, "_positions", shifted)
    return cache_test


def old_sentinels_come_back(monkeypatch):
    monkeypatch.setattr(lm.SentinelLM, "_spend", lambda self, row, piece: None)
    return cache_test


def window_counts_entries(monkeypatch):
    original = rules._raw

    def by_entries(q, k, rule):
        return original(replace(q, i=q.order + 1), replace(k, i=k.order + 1), rule)

    monkeypatch.setattr(rules, "_raw", by_entries)
    return mask_test


def sentinel_is_in_the_softmax(monkeypatch):
    monkeypatch.setattr(collate, "_only", lambda sentinels, logits: torch.zeros(1, logits.shape[-1], dtype=torch.bool))
    return test_training.test_loss_equals_a_slow_one


def labels_are_shifted_over_the_sentinel(monkeypatch):
    original = layout._layout

    def shifted(groups, ids):
        found = original(groups, ids)
        return replace(found, labels=(*found.ids[1:], layout.NO_LABEL))

    monkeypatch.setattr(layout, "_layout", shifted)
    return test_training.test_labels_are_the_next_original_tokens


MUTANTS = [
    evicts_a_block_early,
    positions_are_off_by_one_after_compaction,
    old_sentinels_come_back,
    window_counts_entries,
    sentinel_is_in_the_softmax,
    labels_are_shifted_over_the_sentinel,
]


@pytest.mark.parametrize("plant", MUTANTS, ids=lambda plant: plant.__name__)
def test_planted_errors_are_caught(plant, monkeypatch):
    test = plant(monkeypatch)
    with pytest.raises(AssertionError):
        test()
