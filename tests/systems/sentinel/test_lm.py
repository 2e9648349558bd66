"""Reading through the compacted cache equals one pass of the whole text under its mask, whatever the split into passes."""

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from transformers import GPT2Config, LlamaConfig, PreTrainedModel, Qwen2Config

from conftest import build_tiny_model
from systems.moe.tiny import tiny_model as tiny_deepseek
from systems.sentinel.reference import PARAGRAPH, SENTINEL, VOCAB, ToyCodec
from tenfold.core.errors import UserError
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.masked_lm import TransformersRows
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.sentinel.budget import Budget, drop_list
from tenfold.systems.sentinel.layout import Layout, insert
from tenfold.systems.sentinel.lm import Keeping, SentinelLM
from tenfold.systems.sentinel.perplexity import masked_logits
from tenfold.systems.sentinel.rules import Rule
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.specdec.drafters.ngram import NgramDrafter
from tenfold.systems.specdec.speculate import speculate

CODEC = ToyCodec()
IDS = (SENTINEL, PARAGRAPH)
GPT2 = {"n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 4}
FAMILIES = {"llama": (LlamaConfig, {}), "qwen2": (Qwen2Config, {}), "gpt2": (GPT2Config, GPT2)}
WINDOW = {"raw": "window", "window": 12, "n_sink": 2, "block": 4, "max_chunk": 8, "min_chunk": 2}
SETTINGS = {
    "window": SentinelConfig(chunker="sentence", **WINDOW),
    "quality": SentinelConfig(chunker="sentence", max_chunk=8, min_chunk=2),
    "inline": SentinelConfig(chunker="punct", mode="inline", **WINDOW),
    "own positions": SentinelConfig(chunker="fixed:4", position="own", **WINDOW),
    "sees sentinels": SentinelConfig(chunker="fixed:4", scope="chunk+sr", n_sr=2, **WINDOW),
    "causal": SentinelConfig(chunker="fixed:4", scope="causal", **WINDOW),
    "own chunk only": SentinelConfig(chunker="fixed:4", raw="sr_only", max_chunk=8),
    "hierarchy": SentinelConfig(chunker="sentence", hierarchy=True, **WINDOW),
    "few sentinels": SentinelConfig(chunker="fixed:4", budget=2 + 12 + 4 + 3, **WINDOW),
    "hierarchy, few": SentinelConfig(chunker="fixed:4", hierarchy=True, policy="hierarchy", budget=22, **WINDOW),
}


def text(seed: int, length: int = 90) -> list[int]:
    return torch.randint(0, 69, (length,), generator=torch.Generator().manual_seed(seed)).tolist()


def layout_of(config: SentinelConfig, ids: list[int]) -> Layout:
    return insert(ids, Segmenter(config, CODEC.pieces, IDS))


def whole(model: PreTrainedModel, config: SentinelConfig, ids: list[int]) -> torch.Tensor:
    """Logits of every token but the last, from one pass over the whole text."""
    layout = layout_of(config, ids)
    until = torch.tensor(drop_list(layout, Budget(config.most_sentinels, config.policy)))
    kept = torch.tensor(layout.level) > 0
    with torch.no_grad():
        parts = [logits for logits, _ in masked_logits(model, layout, Rule.of(config), kept=kept, until=until, block=1000)]
    logits = torch.cat(parts)
    logits[:, list(IDS)] = -torch.inf
    return logits


def engine(kind: str, model: PreTrainedModel, batch_size: int = 1):
    if kind == "lean":
        return LeanLlama(model.config, model.state_dict(), batch_size=batch_size, kernel="native")
    return TransformersRows(model, batch_size=batch_size)


def difference(found: torch.Tensor, expected: torch.Tensor) -> float:
    seen = expected > -torch.inf
    assert torch.equal(seen, found > -torch.inf)
    return float((found[seen] - expected[seen]).abs().max())


def model_of(family: str) -> PreTrainedModel:
    config_type, changes = FAMILIES[family]
    return build_tiny_model(config_type, attn_implementation="sdpa", **changes)


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("prefill", [1, 7, 64, 512])
def test_cache_equals_the_masked_forward(name, prefill):
    model, config = model_of("llama"), SETTINGS[name]
    ids = text(1)
    for kind in ("transformers", "lean") if prefill in (7, 512) else ("transformers",):
        lm = SentinelLM(engine(kind, model), config, CODEC.pieces, IDS, prefill=prefill)
        found = torch.cat([lm._advance([ids[:50]], "all")[0], *[lm._advance([[token]], "all")[0] for token in ids[50:]]])
        assert difference(found[:-1], whole(model, config, ids)) < 1e-4


@pytest.mark.parametrize("family", FAMILIES)
def test_families_decode_as_they_read(family):
    model, config = model_of(family), SETTINGS["few sentinels"]
    ids = text(2)
    lm = SentinelLM(engine("transformers", model), config, CODEC.pieces, IDS, prefill=16)
    found = torch.cat(
        [lm.prefill([ids[:40]]), lm.forward(torch.tensor([ids[40:60]]))[0], lm.forward(torch.tensor([ids[60:]]))[0]]
    )
    assert difference(found[:-1], whole(model, config, ids)[39:]) < 1e-4


@pytest.mark.parametrize("kind", ["transformers", "lean"])
def test_rows_of_unequal_length_decode_as_if_alone(kind):
    model, config = model_of("llama"), SETTINGS["window"]
    texts = [text(3, 80), text(4, 33), text(5, 61)]
    lm = SentinelLM(engine(kind, model, 3), config, CODEC.pieces, IDS, prefill=16)
    starts = [len(ids) - 20 for ids in texts]
    found = [lm.prefill([ids[:start] for ids, start in zip(texts, starts, strict=True)])[:, None]]
    for step in range(20):
        found.append(lm.forward(torch.tensor([[ids[start + step]] for ids, start in zip(texts, starts, strict=True)])))
    logits = torch.cat(found, dim=1)
    for row, (ids, start) in enumerate(zip(texts, starts, strict=True)):
        assert difference(logits[row, :-1], whole(model, config, ids)[start - 1 :]) < 1e-4


TINY = model_of("llama")


@given(
    name=st.sampled_from(sorted(SETTINGS)),
    moves=st.lists(st.tuples(st.integers(1, 9), st.integers(0, 8)), min_size=3, max_size=9),
    seed=st.integers(0, 99),
)
@settings(max_examples=12, phases=[Phase.generate])
def test_going_back_leaves_no_trace(name, moves, seed):
    model, config = TINY, SETTINGS[name]
    ids, place = text(seed, 160), 20
    lm = SentinelLM(engine("transformers", model), config, CODEC.pieces, IDS, slack=8, prefill=16)
    lm.prefill([ids[:place]])
    for ahead, back in moves:
        wrong = text(seed + 1, ahead)
        lm.forward(torch.tensor([wrong]))
        lm.rollback([ahead if ahead <= 8 else 0])
        if ahead > 8:
            ids = [*ids[:place], *wrong, *ids[place:]]
            place += ahead
        lm.forward(torch.tensor([ids[place : place + back + 1]]))
        place += back + 1
    last = lm.forward(torch.tensor([ids[place : place + 2]]))[0]
    assert difference(last, whole(model, config, ids[: place + 3])[-2:]) < 1e-4


def test_the_cache_really_shrinks():
    model, config = model_of("llama"), SETTINGS["few sentinels"]
    rows = engine("transformers", model)
    lm = SentinelLM(rows, config, CODEC.pieces, IDS, prefill=8)
    lm.prefill([text(6, 200)])
    assert max(lm.entries) <= config.budget and rows.num_columns == lm.entries[0]
    assert lm.peak <= config.budget + 8
    assert rows.cache.layers[0].keys.shape[2] == lm.entries[0]


def test_attention_policy_keeps_what_was_looked_at():
    model = build_tiny_model(attn_implementation="eager")
    config = SETTINGS["few sentinels"].changed(policy="attention")
    lm = SentinelLM(engine("transformers", model), config, CODEC.pieces, IDS, prefill=8)
    ids = text(7)
    found = torch.cat([lm._advance([ids[start : start + 5]], "all")[0] for start in range(0, len(ids), 5)])
    layout = layout_of(config, ids)
    until = torch.tensor([lm.budgets[0].until(order) for order in range(len(layout))])
    assert until.min() < len(layout)
    parts = masked_logits(model, layout, Rule.of(config), kept=torch.tensor(layout.level) > 0, until=until, block=1000)
    expected = torch.cat([logits for logits, _ in parts])
    expected[:, list(IDS)] = -torch.inf
    assert difference(found[:-1], expected.detach()) < 1e-4


def test_score_policy_keeps_the_best():
    budget = Budget(2, "score", {0: 5.0, 1: 1.0, 2: 3.0})
    assert [budget.add(order, 1, 0) for order in (10, 20, 30, 40)] == [[], [], [20], [30]]
    assert budget.undo(35) == [30] and [held.order for held in budget.held] == [10, 30]


def test_separators_stay_without_sentinels():
    """The peers' caches: no sentinels, first tokens and a window, and tokens that are marked."""
    model = model_of("llama")
    config = SentinelConfig(**WINDOW)
    ids = text(8)
    marked = {50, 53}
    lm = SentinelLM(
        engine("transformers", model), config, CODEC.pieces, (), keeping=Keeping(most=4, marks=lambda t: t in marked)
    )
    lm.prefill([ids])
    held = lm.table.row(0)
    outside = [int(i) for i in held.i if 2 < i <= 76]
    assert outside and len(outside) <= 4 and all(ids[i - 1] in marked for i in outside)


@pytest.mark.parametrize("name", ["window", "hierarchy", "few sentinels", "inline"])
def test_speculation_is_lossless(name):
    model, prompt = model_of("llama"), text(9, 40)
    plain, fast = (
        SentinelLM(engine("transformers", model), SETTINGS[name], CODEC.pieces, IDS, slack=slack, prefill=16)
        for slack in (0, 8)
    )
    expected = generate(plain, prompt, GenerationSettings(), Stopper(max_new_tokens=60)).tokens
    drafter = NgramDrafter()
    found = speculate(fast, prompt, GenerationSettings(), Stopper(max_new_tokens=60), drafter=drafter, num_draft=4)
    assert list(found.tokens) == list(expected)
    assert not set(found.tokens) & set(IDS)


def test_the_family_deepseek_takes_sentinels():
    model = tiny_deepseek(vocab_size=VOCAB, max_position_embeddings=512)
    model.set_attn_implementation("sdpa")
    ids, config = text(10), SETTINGS["few sentinels"]
    lm = SentinelLM(TransformersRows(model), config, CODEC.pieces, IDS, prefill=16)
    found = torch.cat([lm._advance([ids[start : start + 9]], "all")[0] for start in range(0, len(ids), 9)])
    assert difference(found[:-1], whole(model, config, ids)) < 1e-4


def test_refusals_say_what_to_do():
    model = model_of("llama")
    lm = SentinelLM(engine("transformers", model), SETTINGS["window"], CODEC.pieces, IDS, slack=2)
    lm.prefill([text(11)])
    with pytest.raises(UserError, match="raise slack"):
        lm.rollback([9])
    with pytest.raises(UserError, match="draft chains"):
        lm.forward(torch.tensor([[1, 2]]), depths_K=torch.tensor([0, 0]))
    with pytest.raises(UserError, match="engine transformers"):
        SentinelLM(engine("lean", model), SETTINGS["few sentinels"].changed(policy="attention"), CODEC.pieces, IDS)
    far = SentinelLM(engine("transformers", model), SETTINGS["own positions"], CODEC.pieces, IDS)
    with pytest.raises(UserError, match="reaches position"):
        far.prefill([text(12, 500)])


def test_positions_as_ranks_let_a_text_grow_without_end():
    """600 tokens in a model of 512 positions; the first layer's keys are those of the kept tokens at their ranks."""
    model, config = model_of("llama"), SETTINGS["few sentinels"]
    lm = SentinelLM(engine("lean", model), config, CODEC.pieces, IDS, reposition=True, prefill=16)
    lm.prefill([text(13, 600)])
    assert lm.lengths[0] == 600 and lm.entries[0] <= config.budget
    orders = lm.table.orders(0).tolist()
    layout = layout_of(config, text(13, 600))
    kept = torch.tensor([[layout.ids[order] for order in orders]])
    fresh, width = engine("lean", model), len(orders)
    seen = torch.ones(1, width, width, dtype=torch.bool).tril()
    fresh.forward_masked(kept, [width], torch.arange(width)[None], seen, torch.zeros(1, width, dtype=torch.bool))
    assert torch.allclose(fresh.cache.buffer[0, 0, :, :width], lm.engine.cache.buffer[0, 0, :, :width], atol=1e-3)
    with pytest.raises(UserError, match="engine lean"):
        SentinelLM(engine("transformers", model), config, CODEC.pieces, IDS, reposition=True)


def test_surprise_is_cut_alike_in_reading_and_at_once():
    """The chunker `surprisal` reads token by token; with the same nats the whole text is cut at the same places."""
    model, config = model_of("llama"), SentinelConfig(chunker="surprisal:6", **WINDOW)
    ids = text(14, 60)
    lm = SentinelLM(engine("transformers", model), config, CODEC.pieces, IDS)
    found = lm._advance([ids], "all")[0]
    nats = [0.0, *torch.nn.functional.cross_entropy(found[:-1], torch.tensor(ids[1:]), reduction="none").tolist()]
    layout = insert(ids, Segmenter(config, CODEC.pieces, IDS), nats=nats)
    assert layout.num_sentinels == lm.states[0][-1].n - len(ids) > 3
