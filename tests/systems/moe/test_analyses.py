"""Interventions do what they say, on our family and on others; figures of specialisation find what was planted."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen2MoeConfig

from systems.moe.tiny import tiny_model
from tenfold.core.errors import ConfigError
from tenfold.systems.moe import specialisation
from tenfold.systems.moe.carrier import to_qwen2_moe
from tenfold.systems.moe.interventions import disabled_top, fewer_chosen, num_shared, without_routed, without_shared
from tenfold.systems.moe.taps import counted, tapped
from tenfold.systems.moe.trace import Trace, trace

IDS = torch.arange(2 * 17).view(2, 17) * 7 % 61


def test_disabling_takes_each_tokens_favourites() -> None:
    model = tiny_model()
    layer, x = model.model.layers[1].mlp, torch.randn(1, 9, 32, generator=torch.Generator().manual_seed(0))
    order = layer.gate(x[0])[0].softmax(-1).argsort(-1, descending=True)
    with disabled_top(model, 2 / 8):
        logits, weight, expert = layer.gate(x[0])
        assert torch.equal(expert, order[:, 2:5])
        torch.testing.assert_close(weight, logits.softmax(-1).gather(-1, expert))
    assert torch.equal(layer.gate(x[0])[2], order[:, :3])


def test_disabling_at_random_takes_as_many() -> None:
    model = tiny_model()
    with disabled_top(model, 2 / 8, at_random=torch.Generator().manual_seed(0)):
        _, _, expert = model.model.layers[1].mlp.gate(torch.randn(50, 32))
        assert expert.shape == (50, 3) and all(len(set(row)) == 3 for row in expert.tolist())
    with pytest.raises(ConfigError, match="leaves fewer than 3"), disabled_top(model, 6 / 8):
        model(IDS)


def test_nothing_disabled_is_the_model_itself() -> None:
    model = tiny_model()
    before = model(IDS).logits
    with disabled_top(model, 0.0):
        torch.testing.assert_close(model(IDS).logits, before)
    with fewer_chosen(model, 3):
        torch.testing.assert_close(model(IDS).logits, before)


def test_fewer_experts_and_no_shared_ones() -> None:
    model = tiny_model()
    layer, x = model.model.layers[1].mlp, torch.randn(1, 5, 32)
    _, weight, expert = layer.gate(x[0])
    with fewer_chosen(model, 1):
        torch.testing.assert_close(
            layer(x)[0], (layer.experts(x[0], expert[:, :1], weight[:, :1]) + layer.shared_experts(x[0]))
        )
    with without_shared(model):
        _, weight, expert = layer.gate(x[0])
        assert expert.shape == (5, 5)
        torch.testing.assert_close(layer(x)[0], layer.experts(x[0], expert, weight))
    with without_routed(model):
        torch.testing.assert_close(layer(x)[0], layer.shared_experts(x[0]))
    with pytest.raises(ConfigError, match="from 1 to 3"), fewer_chosen(model, 4):
        pass
    with pytest.raises(ConfigError, match="no shared experts"), without_shared(tiny_model(n_shared_experts=None)):
        pass


def test_other_families_are_analysed_too() -> None:
    ours = tiny_model()
    carrier = to_qwen2_moe(ours)
    assert num_shared(carrier) == num_shared(ours) == 2
    for context in (lambda model: disabled_top(model, 1 / 8), lambda model: fewer_chosen(model, 2), without_shared):
        with context(ours), context(carrier):
            torch.testing.assert_close(carrier(IDS).logits, ours(IDS).logits, atol=1e-5, rtol=1e-4)
    shape = {"vocab_size": 61, "hidden_size": 32, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
    mixtral = AutoModelForCausalLM.from_config(MixtralConfig(**shape, num_key_value_heads=2, num_local_experts=4)).eval()
    assert all(int(count.sum()) == 2 * 17 * 2 for count in counted(mixtral, IDS).values())
    with disabled_top(mixtral, 1 / 4):
        assert mixtral(IDS).logits.isfinite().all()
    assert Qwen2MoeConfig  # the carrier's class


def test_a_trace_is_kept_and_belongs_to_its_model(tmp_path: Path) -> None:
    model = tiny_model()
    found = trace(model, IDS, ["a", "b"], ["x", "y"], name="m")
    assert found.expert_LTK.shape == (2, 2 * 16, 3) and found.token_T[0] == IDS[0, 0] and found.next_T[0] == IDS[0, 1]
    with tapped(model) as last:
        model(IDS)
        expected = next(iter(last.values()))[1].view(2, 17, 3)[:, :-1].flatten(0, 1)
    assert np.array_equal(found.expert_LTK[0], expected.numpy())
    found.save(tmp_path / "trace.npz")
    again = Trace.load(tmp_path / "trace.npz", "m")
    assert np.array_equal(again.expert_LTK, found.expert_LTK) and list(again.documents) == ["a", "b"]
    with pytest.raises(ConfigError, match="trace of m, not of n"):
        Trace.load(tmp_path / "trace.npz", "n")


def planted(strength: float, seed: int = 0) -> Trace:
    """Tokens of domain d choose expert d with this probability, else any of 8."""
    generator = np.random.default_rng(seed)
    document_T = np.repeat(np.arange(24), 60)
    domain_T = document_T % 4
    drawn = generator.integers(8, size=len(document_T))
    expert_T = np.where(generator.random(len(document_T)) < strength, domain_T, drawn)
    token_T = generator.integers(5, size=len(document_T))
    expert_LTK = expert_T[None, :, None].astype(np.uint16)
    names, kinds = [str(each) for each in range(24)], list("abcd")
    scores = np.ones(expert_LTK.shape, np.float16)
    return Trace(expert_LTK, scores, token_T, token_T, document_T, names, domain_T, kinds, 8, "planted")


@pytest.mark.parametrize(("strength", "finds"), [(0.0, False), (0.6, True)])
def test_planted_specialisation_is_found_and_chance_is_not(strength: float, finds: bool) -> None:
    found = planted(strength)
    layers = specialisation.measured(found, found.domain_T, 4, by_document=True)
    assert (layers["nmi"][0] > 3 * layers["nmi_null"][0]) == finds
    estimate = specialisation.interval(found, found.domain_T, 4)
    assert (estimate.low > layers["specialisation_null"][0] + 0.5) == finds
    assert estimate.low <= estimate.value + 1e-9


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40))
def test_information_equals_the_slow_sum(pairs: list[tuple[int, int]]) -> None:
    class_T = np.array([pair[0] for pair in pairs])
    counts = specialisation.class_counts(np.array([[pair[1]] for pair in pairs], np.uint16), class_T, 3, 4)
    joint = counts / counts.sum()
    mutual, entropies = 0.0, 0.0
    for c in range(3):
        for e in range(4):
            if joint[c, e]:
                mutual += joint[c, e] * np.log(joint[c, e] / joint[c].sum() / joint[:, e].sum())
    for share in [*joint.sum(0), *joint.sum(1)]:
        entropies -= share * np.log(share) if share else 0
    expected = 2 * mutual / entropies if entropies else 0.0
    assert specialisation.nmi(counts) == pytest.approx(expected, abs=1e-9)
    assert counts.sum() == len(pairs)


def test_coactivation_and_saturation() -> None:
    expert_TK = np.array([[0, 1], [0, 1], [0, 2], [3, 1]], np.uint16)
    found = specialisation.coactivation(expert_TK, 4)
    assert (
        found[0].tolist() == pytest.approx([0, 2 / 3, 1 / 3, 0]) and found[3, 1] == 1 and found[1, 0] == pytest.approx(2 / 3)
    )
    one, two = planted(0.0, 0), planted(0.0, 1)
    same = np.array_equal(one.token_T, two.token_T)
    assert specialisation.saturation(one, one).tolist() == [1.0]
    if not same:
        with pytest.raises(ConfigError, match="not of the same text"):
            specialisation.saturation(one, two)


def test_rare_tokens_are_no_class() -> None:
    class_T, kept = specialisation.token_classes(np.array([7] * 16 + [9] * 3))
    assert kept.tolist() == [7] and class_T.tolist() == [0] * 16 + [-1] * 3
