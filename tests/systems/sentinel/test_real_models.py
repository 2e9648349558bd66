"""Real models write with blind sentinels what they write without; the compacted cache equals the masked pass."""

import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from tenfold.nn.generation import generate
from tenfold.nn.masked_lm import TransformersRows
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.sentinel.bases import Base, open_base, sentinel_ids
from tenfold.systems.sentinel.data import documents, training_windows, windows
from tenfold.systems.sentinel.layout import insert
from tenfold.systems.sentinel.lm import SentinelLM
from tenfold.systems.sentinel.meetings import rouge_l
from tenfold.systems.sentinel.perplexity import token_losses
from tenfold.systems.sentinel.rules import Rule
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

COMPACT = SentinelConfig(raw="window", window=48, max_chunk=32, block=16)
GOLDEN = "Once upon a time, there was a little girl named Lily. She loved"


def largest_difference(base: Base, config: SentinelConfig, tokens: list[int]) -> float:
    """Between losses through the compacted cache, and from one pass under the mask."""
    ids = sentinel_ids(base, config)
    lm = SentinelLM(TransformersRows(base.model), config, base.codec.pieces, ids, prefill=64)
    layout = insert(tokens, Segmenter(config, base.codec.pieces, ids))
    found, expected = lm.losses(tokens), token_losses(base.model, layout, Rule.of(config), ids)
    assert lm.entries[0] < len(tokens) and layout.num_sentinels > 3
    return float((found - expected).abs().max())


def test_stories_go_on_as_ever_with_blind_sentinels(data_folder):
    base = open_base("stories260k")
    prompt = [*base.codec.beginning, *base.codec.encode(" Once upon a time,")]
    lm = SentinelLM(
        TransformersRows(base.model), SentinelConfig(min_chunk=1), base.codec.pieces, sentinel_ids(base, SentinelConfig())
    )
    lm.rule = replace(lm.rule, blind=True)
    text = base.codec.decode([*prompt, *generate(lm, prompt, GenerationSettings(), Stopper(max_new_tokens=40)).tokens])
    assert text.strip().startswith(GOLDEN)
    assert lm.states[0][-1].n > lm.lengths[0], "no sentinel was inserted"


def test_stories_read_through_a_small_cache(data_folder):
    base = open_base("stories260k")
    text = documents("sample", "train")[1].text[:260]
    assert largest_difference(base, COMPACT, [*base.codec.beginning, *base.codec.encode(f" {text}")]) < 1e-4


@pytest.mark.model
def test_smollm2_reads_through_a_small_cache(smollm2):
    base = open_base("smollm2", dtype="fp32")
    text = documents("sample", "train")[0].text[:480]
    assert largest_difference(base, COMPACT, base.codec.encode(text)) < 1e-4


@pytest.mark.model
def test_our_own_text_is_long_enough_for_the_main_recipe(smollm2):
    recipe = tomllib.loads((Path(__file__).parents[3] / "recipes" / "lifecycle.toml").read_text())
    (settings,) = (stage["settings"] for stage in recipe["stage"] if stage["verb"] == "sentinel.train")
    codec, length = open_base("smollm2").codec, settings["learn"]["length"]
    taken = training_windows(settings["train"], codec, length=length, tokens=settings["tokens"], seed=0)
    assert sum(len(window.ids) for window in taken) >= settings["tokens"]
    assert len(windows("sample", "dev", codec, length=length)) >= settings["dev_windows"]


def test_the_reference_scores_one_and_nothing_scores_zero():
    assert rouge_l("The road will have to bend.", "the road will have to bend") == 1
    assert rouge_l("", "the road") == 0
    assert rouge_l("a b c d", "a x c y") == pytest.approx(0.5)
