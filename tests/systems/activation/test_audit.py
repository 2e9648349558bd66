"""A batch of ablations equals writing a zero into one weight after the other; the estimate is near both."""

import pytest
import torch
from scipy.stats import spearmanr
from transformers import GPT2Config, LlamaConfig, MixtralConfig

from tenfold.core.errors import UserError
from tenfold.systems.activation import audit, targets

IDS = [5, 9, 3, 44, 7, 80]


def zeroed_by_hand(model, target, pick):
    def value():
        logits = model(input_ids=torch.tensor([IDS]), use_cache=False).logits
        return float(target(logits, torch.tensor([IDS]), torch.tensor([len(IDS)])))

    weight_OI = pick.linear.weight_OI
    with torch.no_grad():
        before, kept = value(), float(weight_OI[pick.row, pick.column])
        weight_OI[pick.row, pick.column] = 0
        after = value()
        weight_OI[pick.row, pick.column] = kept
    return abs(before - after)


@pytest.mark.parametrize("config_type", [LlamaConfig, GPT2Config])
@pytest.mark.parametrize("target", targets.TARGETS)
def test_batched_ablations_equal_zeroing_by_hand(new_tiny_model, config_type, target):
    model = new_tiny_model(config_type).double()
    picks = audit.sample(model, IDS, targets.TARGETS[target], 60)
    for layer in range(2):
        mine = [pick for pick in picks if pick.linear.layer == layer]
        changes = audit.exact_changes(model, IDS, targets.TARGETS[target], mine, batch_size=7)
        assert changes == pytest.approx([zeroed_by_hand(model, targets.TARGETS[target], pick) for pick in mine], abs=1e-10)


def test_estimate_ranks_as_zeroing_does(new_tiny_model):
    model = new_tiny_model().double()
    picks = audit.sample(model, IDS, targets.mean_max, 300)
    assert len(picks) >= 300
    exact = [zeroed_by_hand(model, targets.mean_max, pick) for pick in picks]
    rho, _ = spearmanr([pick.estimate for pick in picks], exact)
    assert rho > 0.9  # pyright: ignore[reportOperatorIssue]


def test_sample_is_even_over_matrices_and_the_same_from_one_seed(tiny_llama):
    model = tiny_llama
    first, again = (audit.sample(model, IDS, targets.last_max, 28, seed=3) for _ in range(2))
    assert [(p.linear.name, p.row, p.column) for p in first] == [(p.linear.name, p.row, p.column) for p in again]
    assert {sum(p.linear.name == q.linear.name for p in first) for q in first} == {2}


def test_experts_are_refused(new_tiny_model):
    with pytest.raises(UserError, match="experts"):
        audit.sample(new_tiny_model(MixtralConfig, num_local_experts=2), IDS, targets.last_max, 10)
