"""Passes whose masks and positions the caller gives equal Transformers' own forward pass, on every engine and kernel."""

import pytest
import torch

from conftest import build_tiny_model
from tenfold.nn import rows_library
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.masked_lm import TransformersRows

KERNELS = [
    "native",
    "packed",
    pytest.param("compiled", marks=pytest.mark.skipif(bool(rows_library.why_not()), reason="no rows.c")),
]
LENGTH = 40


def random_case(seed: int, num_rows: int = 2):
    """Ids, positions, and a mask in which every token sees itself and some earlier ones."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 97, (num_rows, LENGTH), generator=generator)
    positions = torch.randint(0, 200, (num_rows, LENGTH), generator=generator)
    seen = (torch.rand(num_rows, LENGTH, LENGTH, generator=generator) < 0.6).tril() | torch.eye(LENGTH, dtype=torch.bool)
    return ids, positions, seen


def whole(model, ids, positions, seen):
    with torch.no_grad():
        return model(ids, position_ids=positions, attention_mask=seen[:, None], use_cache=False).logits


def in_pieces(engine, ids, positions, seen, sizes=(13, 1, 19, 7)):
    parts, start = [], 0
    for size in sizes:
        end = start + size
        wanted = torch.ones(len(ids), size, dtype=torch.bool)
        counts = [size] * len(ids)
        logits = engine.forward_masked(ids[:, start:end], counts, positions[:, start:end], seen[:, start:end, :end], wanted)
        parts.append(logits.view(len(ids), size, -1))
        start = end
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_lean_equals_transformers(kernel):
    model = build_tiny_model(attn_implementation="sdpa")
    case = random_case(0)
    state = {name: weight.bfloat16() for name, weight in model.state_dict().items()}
    engine = LeanLlama(model.config, state if kernel == "compiled" else model.state_dict(), batch_size=2, kernel=kernel)
    tolerance = 1e-4 if kernel == "native" else 0.1  # the others round activations
    assert (in_pieces(engine, *case) - whole(model, *case)).abs().max() < tolerance


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_rows_equal_transformers(attention):
    model = build_tiny_model(attn_implementation=attention)
    case = random_case(1)
    expected = whole(build_tiny_model(attn_implementation="sdpa"), *case)
    assert (in_pieces(TransformersRows(model, batch_size=2), *case) - expected).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["lean", "rows"])
def test_dropped_and_rolled_back_tokens_are_gone(kind):
    """Keeping some slots, taking others back, rows that advance by different counts: as if only the kept ones had come."""
    model = build_tiny_model(attn_implementation="sdpa")
    engine = (
        LeanLlama(model.config, model.state_dict(), batch_size=2, kernel="native")
        if kind == "lean"
        else TransformersRows(model, batch_size=2)
    )
    ids, positions, _ = random_case(2)
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(2, -1, -1)
    none = torch.zeros(2, 12, dtype=torch.bool)
    engine.forward_masked(ids[:, :12], [12, 9], positions[:, :12], causal[:, :12, :12], none)
    engine.rollback([2, 0])
    engine.keep(0, 4, [6, 7, 9])
    assert list(engine.lengths) == [7, 9]
    kept = [[0, 1, 2, 3, 6, 7, 9, 12], [*range(9), 12]]
    seen = torch.zeros(2, 1, 10, dtype=torch.bool)
    seen[0, 0, :8], seen[1, 0, :10] = True, True
    found = engine.forward_masked(ids[:, 12:13], [1, 1], positions[:, 12:13], seen, torch.ones(2, 1, dtype=torch.bool))
    for row, places in enumerate(kept):
        mask = torch.ones(13, 13, dtype=torch.bool).tril()
        mask[12] = False
        mask[12, places] = True
        expected = whole(model, ids[row : row + 1, :13], positions[row : row + 1, :13], mask[None])[0, -1]
        assert (found[row] - expected).abs().max() < 1e-4


def test_keys_turn_back_to_earlier_positions():
    model = build_tiny_model()
    engine = LeanLlama(model.config, model.state_dict(), kernel="native")
    ids, wanted = torch.tensor([[5, 6, 7]]), torch.zeros(1, 3, dtype=torch.bool)
    seen = torch.ones(1, 3, 3, dtype=torch.bool).tril()
    engine.forward_masked(ids, [3], torch.tensor([[20, 31, 42]]), seen, wanted)
    engine.turn_back(0, 1, [7, 30])
    turned = engine.cache.buffer[0, 0, :, :3].clone()
    engine.reset()
    engine.forward_masked(ids, [3], torch.tensor([[20, 24, 12]]), seen, wanted)
    assert torch.allclose(turned, engine.cache.buffer[0, 0, :, :3], atol=1e-4)


def test_attention_is_summed_by_slot():
    engine = TransformersRows(build_tiny_model(attn_implementation="eager"))
    engine.watches = True
    ids, positions, seen = random_case(3, 1)
    engine.forward_masked(ids, [LENGTH], positions, seen, torch.zeros(1, LENGTH, dtype=torch.bool))
    layers_times_heads = 2 * 4
    assert engine.attention[0].sum() == pytest.approx(LENGTH * layers_times_heads, rel=1e-4)
