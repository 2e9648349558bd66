"""Every mask equals a double loop over the method's definition, on every backend, over random chunkings and switches."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention.flex_attention import create_mask
from transformers import GPT2Config, LlamaConfig, Qwen2Config

from conftest import build_tiny_model
from systems.sentinel.reference import PARAGRAPH, SENTINEL, VOCAB, ToyCodec, oracle
from tenfold.core.errors import ConfigError
from tenfold.systems.sentinel.layout import insert, pack, plain, strip
from tenfold.systems.sentinel.rules import Meta, Rule, backend_of, build_mask, mask_function, visible
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

CODEC = ToyCodec()
GPT2 = {"n_positions": 512, "n_embd": 32, "n_layer": 2, "n_head": 4}
FAMILIES = {"llama": (LlamaConfig, {}), "qwen2": (Qwen2Config, {}), "gpt2": (GPT2Config, GPT2)}


def texts(most: int = 40):
    return st.lists(st.integers(0, 68), min_size=1, max_size=most)


@st.composite
def configs(draw) -> SentinelConfig:
    mode = draw(st.sampled_from(["memory", "inline"]))
    chunkers = ["fixed:3", "fixed:5", "punct", "paragraph", "random:4"] + ["sentence"] * 2 * (mode == "memory")
    return SentinelConfig(
        chunker=draw(st.sampled_from(chunkers)),
        mode=mode,
        scope=draw(st.sampled_from(["chunk", "chunk+sr", "causal"])),
        raw=draw(st.sampled_from(["all", "window", "sr_only"])),
        position=draw(st.sampled_from(["auto", "shared", "own", "reset"])),
        n_sr=draw(st.integers(1, 3)),
        hierarchy=draw(st.booleans()),
        min_chunk=draw(st.integers(1, 3)),
        max_chunk=draw(st.integers(3, 8)),
        window=draw(st.integers(8, 16)),
        n_sink=draw(st.integers(0, 3)),
        block=draw(st.integers(1, 5)),
    )


def segmenter(config: SentinelConfig) -> Segmenter:
    return Segmenter(config, CODEC.pieces, (SENTINEL, PARAGRAPH))


@given(config=configs(), ids=texts(), other=texts(), blind=st.booleans(), side=st.sampled_from(["left", "right"]))
def test_dense_mask_equals_the_definition(config, ids, other, blind, side):
    rule = Rule(**{**Rule.of(config).__dict__, "blind": blind})
    cut = segmenter(config)
    layouts = [pack([insert(ids, cut), insert(other, cut)]), insert(other, cut)]  # packed, and shorter: padded
    meta = Meta.of(layouts, side=side)
    found = visible(meta, meta, rule)
    width = len(layouts[0])
    for row, layout in enumerate(layouts):
        place = slice(width - len(layout), width) if side == "left" else slice(0, len(layout))
        assert torch.equal(found[row, place, place], oracle(layout, rule))
        padding = ~meta.real[row]
        assert torch.equal(found[row][padding], torch.eye(width, dtype=torch.bool)[padding])
        assert not found[row][~padding][:, padding].any()


@given(config=configs(), ids=texts())
def test_backends_show_the_same(config, ids):
    rule, layout = Rule.of(config), insert(ids, segmenter(config))
    meta = Meta.of([layout], width=len(layout) + 2)
    dense = visible(meta, meta, rule)
    sdpa, eager = (build_mask(meta, meta, rule, backend) for backend in ("sdpa", "eager"))
    assert sdpa.dtype == torch.bool and torch.equal(sdpa[:, 0], dense)
    assert (
        eager.dtype == torch.float32
        and torch.equal(eager[:, 0] == 0, dense)
        and bool((eager[:, 0][~dense] == -torch.inf).all())
    )
    size = dense.shape[-1]
    assert torch.equal(create_mask(mask_function(meta, meta, rule), 1, 1, size, size, device="cpu")[0], dense)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("raw", ["all", "window", "sr_only"])
def test_backends_give_the_same_logits(family, raw):
    config_type, changes = FAMILIES[family]
    config = SentinelConfig(chunker="fixed:4", raw=raw, window=8, max_chunk=8, block=2, n_sink=2)
    layouts = [insert(range(first, first + 30), segmenter(config)) for first in (0, 20)]
    layouts.append(insert(range(9), segmenter(config)))
    meta = Meta.of(layouts)
    rows = [list(layout.ids) + [0] * (meta.i.shape[1] - len(layout)) for layout in layouts]
    positions = [list(layout.pos) + [0] * (meta.i.shape[1] - len(layout)) for layout in layouts]
    logits = {}
    for backend in ("eager", "sdpa"):
        model = build_tiny_model(config_type, attn_implementation=backend, **changes)
        mask = build_mask(meta, meta, Rule.of(config), backend)
        with torch.no_grad():
            out = model(torch.tensor(rows), attention_mask=mask, position_ids=torch.tensor(positions), use_cache=False)
        logits[backend] = out.logits[meta.real]
        assert torch.isfinite(out.logits).all()
    assert (logits["eager"] - logits["sdpa"]).abs().max() < 1e-5


@given(ids=texts(), chunker=st.sampled_from(["sentence", "fixed:3", "punct"]))
def test_stripping_undoes_inserting(ids, chunker):
    config = SentinelConfig(chunker=chunker, hierarchy=True, n_sr=2, min_chunk=1)
    layout = insert(ids, segmenter(config))
    assert strip(layout) == ids
    assert [label for label in layout.labels if label >= 0] == ids[1:]
    assert all(layout.labels[place] >= 0 for place in layout.predictors)


def test_causal_scope_is_the_stock_mask():
    layout = insert(range(40), segmenter(SentinelConfig(chunker="fixed:5", scope="causal")))
    meta = Meta.of([layout])
    assert torch.equal(visible(meta, meta, Rule(scope="causal"))[0], torch.ones(len(layout), len(layout)).tril().bool())


@pytest.mark.parametrize("family", FAMILIES)
def test_blind_sentinels_with_shared_positions_change_nothing(family):
    config_type, changes = FAMILIES[family]
    model = build_tiny_model(config_type, attn_implementation="sdpa", **changes)
    ids = list(range(50))
    layout = insert(ids, segmenter(SentinelConfig(chunker="fixed:7", max_chunk=9)))
    meta = Meta.of([layout])
    with torch.no_grad():
        mask = build_mask(meta, meta, Rule(blind=True), "sdpa")
        with_sentinels = model(
            torch.tensor([layout.ids]), attention_mask=mask, position_ids=torch.tensor([layout.pos])
        ).logits
        without = model(torch.tensor([ids])).logits
    assert (with_sentinels[0, [level == 0 for level in layout.level]] - without[0]).abs().max() < 1e-5


def test_wide_window_is_quality():
    layout = insert(range(60), segmenter(SentinelConfig(chunker="fixed:5")))
    meta = Meta.of([layout])
    assert torch.equal(visible(meta, meta, Rule(raw="window", window=60)), visible(meta, meta, Rule(raw="all")))


def test_packed_equals_separate():
    cut = segmenter(SentinelConfig(chunker="fixed:5"))
    first, second = insert(range(30), cut), insert(range(20, 44), cut)
    model = build_tiny_model(attn_implementation="sdpa")
    packed, meta = pack([first, second]), Meta.of([pack([first, second])])
    with torch.no_grad():
        mask = build_mask(meta, meta, Rule(), "sdpa")
        joint = model(torch.tensor([packed.ids]), attention_mask=mask, position_ids=torch.tensor([packed.pos])).logits[0]
        alone = Meta.of([second])
        mask = build_mask(alone, alone, Rule(), "sdpa")
        separate = model(torch.tensor([second.ids]), attention_mask=mask, position_ids=torch.tensor([second.pos])).logits[0]
    assert (joint[len(first) :] - separate).abs().max() < 1e-5


def test_a_bool_mask_to_eager_attention_would_be_silently_wrong():
    """The reason for `build_mask`'s conversion; if Transformers ever refuses or converts, it may go."""
    layout = insert(range(30), segmenter(SentinelConfig(chunker="fixed:5")))
    meta = Meta.of([layout])
    model = build_tiny_model(attn_implementation="eager")
    given = {"position_ids": torch.tensor([layout.pos]), "use_cache": False}
    with torch.no_grad():
        right = model(torch.tensor([layout.ids]), attention_mask=build_mask(meta, meta, Rule(), "eager"), **given).logits
        wrong = model(torch.tensor([layout.ids]), attention_mask=visible(meta, meta, Rule())[:, None], **given).logits
    assert (right - wrong).abs().max() > 1e-3


def test_windows_count_original_tokens():
    """30 tokens in 10 chunks: a window counted in expanded entries would hide tokens too early."""
    layout = insert(range(30), segmenter(SentinelConfig(chunker="fixed:3", min_chunk=3)))
    meta, rule = Meta.of([layout]), Rule(raw="window", window=10, n_sink=0, block=1)
    last = visible(meta, meta, rule)[0, -1]
    assert [layout.i[k] for k in range(len(layout)) if last[k] and not layout.level[k]] == list(range(21, 31))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"raw": "window", "window": 64, "max_chunk": 128}, "lower max_chunk or raise window"),
        ({"window": 0}, "greater than 0"),
        ({"raw": "window", "window": 256, "budget": 260}, "raise budget or lower window"),
        ({"min_chunk": 9, "max_chunk": 8}, "lower it"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        SentinelConfig(**changes)


@pytest.mark.parametrize(
    ("config", "ids", "words"),
    [
        (SentinelConfig(mode="inline"), [1], "looks at the coming token"),
        (SentinelConfig(), [], "text is empty"),
        (SentinelConfig(), [3, SENTINEL], "stands in the text already"),
        (SentinelConfig(chunker="fixed:no"), [3], "needs a number"),
        (SentinelConfig(chunker="sentences"), [3], "unknown chunker"),
        (SentinelConfig(chunker="surprisal:2"), [3], "give `nats`"),
    ],
)
def test_texts_that_cannot_be_cut_are_refused(config, ids, words):
    with pytest.raises(ConfigError, match=words):
        insert(ids, segmenter(config))


def test_changed_settings_are_checked_in_one_line():
    with pytest.raises(ConfigError, match="lower max_chunk or raise window") as caught:
        SentinelConfig().changed(raw="window", window=32)
    assert "\n" not in str(caught.value)


def test_plain_layouts_have_no_sentinels():
    layout = plain([5, 6, 7])
    assert layout.labels == (6, 7, -100) and layout.pos == (0, 1, 2) and not layout.num_sentinels
    assert len(CODEC.pieces) == VOCAB


def test_other_backends_are_refused():
    model = type("Model", (), {"config": type("Config", (), {"_attn_implementation": "flash_attention_2"})})
    with pytest.raises(ConfigError, match="set_attn_implementation"):
        backend_of(model)
