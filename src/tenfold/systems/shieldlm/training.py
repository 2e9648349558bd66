"""The verb `train`: a detector from a causal LM, by LoRA or PeriodicLoRA, with the loss on the verdict alone.

Items of one or several sets become rows prompt + verdict + end; a share of those whose category the pack covers is put under
rules (`ruleflip`). Batches hold rows of like length. The run's folder holds `adapter/` and `guard.json`, which names the
base, the prompt and what the thresholds are bound to; a killed run goes on with --resume.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

from pydantic import Field
from transformers import PreTrainedTokenizerBase

from tenfold.core.config import Config, Names, parse
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.store import atomic
from tenfold.store.runs import Run
from tenfold.systems.shieldlm.data import train_items
from tenfold.systems.shieldlm.items import Item
from tenfold.systems.shieldlm.prompting import CATEGORY, Prompt, Style, build_prompt, encode, fingerprint, wrapper_of
from tenfold.systems.shieldlm.ruleflip import Ruled, training_mix
from tenfold.systems.shieldlm.rules import RulePack, read_pack
from tenfold.train.encoding import EncodedRow
from tenfold.train.tuning import TuneConfig, tune

SHORTEST = 8
"""Characters that always remain of a response."""
COVERED = {
    "diasafety": {"hate": "Biased Opinion", "harassment": "Offending User"},
    "gptfuzz": {"illicit": "jailbreak"},
    "coldataset": {"hate": "race"},
}
"""By set: OpenAI's category, and the name that the set gives to the same."""
GUARD = "guard.json"
ADAPTER = "adapter"
DEFAULT_TUNING = {
    "lora": {"rank": 16, "alpha": 32.0},
    "training": {
        "epochs": 1,
        "batch_size": 16,
        "learning_rate": 5e-4,
        "schedule": "linear",
        "warmup_steps": 20,
        "order": "length",
        "save_every": 25,
    },
}


class TrainConfig(Config):
    """Train a detector from a causal LM."""

    model: str = "smollm2"
    """Model to start from: an alias, a folder, a .gguf file or a hub id."""
    data: Names = ("diasafety",)
    """Sets whose training parts are learnt: diasafety, gptfuzz (first fold), coldataset, invented; or JSONL files."""
    limit: int | None = Field(None, ge=8)
    """Items of each set, drawn at random; all if left out."""
    style: Style = "short"
    """Prompt: short, tenfold or official."""
    wrapper: str = "none"
    """What stands around the prompt: none, chat, or a family's name."""
    packs: Names = ("base-en", "base-zh")
    """Rule packs, by language; items meet the rules of their language's pack."""
    rule_share: float = Field(0.4, ge=0, le=1)
    """Share of the items with a rule of their own that are learnt under rules."""
    most_rules: int = Field(3, ge=1)
    """Other rules beside an item's own, at most."""
    learn_category: bool = False
    """Also learn to name the category of unsafe items, for the moderation endpoint's scores and for explanations."""
    max_length: int = Field(160, ge=32)
    """Longest row in tokens; of longer items the query loses its beginning, then the response its end; rules stay whole."""
    dtype: models.Dtype = "bf16"
    """Type of the frozen weights while training."""
    tune: TuneConfig = parse(TuneConfig, DEFAULT_TUNING)
    """Method (lora or plora), adapter and training."""
    seed: int = 0
    """Of the choice of items and of their rules."""


def train(config: TrainConfig, run: Run) -> Metrics:
    """Trains, and leaves an adapter with what is needed to use it."""
    path = models.resolve(config.model)
    tokenizer = models.load_tokenizer(path)
    packs = {pack.lang: pack for pack in map(read_pack, config.packs)}
    rows = encoded_rows(config, tokenizer, packs)
    model = models.load_transformers(path, config.dtype)
    tuned = tune(model, tokenizer, rows, config.tune, run.folder)
    tuned.save_adapter(run.folder / ADAPTER, config.model)
    wrapper = wrapper_of(tokenizer, config.wrapper)
    atomic.write_json(
        run.folder / GUARD,
        {
            "model": config.model,
            "adapter": ADAPTER,
            "style": config.style,
            "wrapper": config.wrapper,
            "prompts": {lang: fingerprint(config.style, lang, "label-first", wrapper) for lang in ("en", "zh")},
            "packs": {
                lang: {"id": pack.id, "version": pack.version, "hash": pack.fingerprint} for lang, pack in packs.items()
            },
            "trained_on": list(config.data),
            "covered": _covered(config),
        },
    )
    losses = [step["loss"] for step in tuned.steps]
    if "steps" not in run.rows:
        run.add("steps", {"losses": losses})
    return {
        "model": config.model,
        "data": list(config.data),
        "method": config.tune.method,
        "rows": len(rows),
        "tokens": sum(len(row.ids) for row in rows),
        "steps": len(losses),
        "loss_first": _mean(losses[: _some(losses)]),
        "loss_last": _mean(losses[-_some(losses) :]),
        "adapter": ADAPTER,
    }


def encoded_rows(config: TrainConfig, tokenizer: PreTrainedTokenizerBase, packs: dict[str, RulePack]) -> list[EncodedRow]:
    """All rows as token ids."""
    wrapper = wrapper_of(tokenizer, config.wrapper)
    rows = []
    for name in config.data:
        items = chosen_items(train_items(name), config.limit, config.seed)
        pack = packs.get(items[0].lang)
        ruled = (
            training_mix(items, pack, config.rule_share, config.seed, most=config.most_rules)
            if pack
            else (Ruled(item, "none", (), item.label) for item in items)
        )
        rows += [encode_row(each, tokenizer, config, wrapper) for each in ruled]
    return rows


def chosen_items(items: Sequence[Item], limit: int | None, seed: int) -> list[Item]:
    """A random `limit` of the items, in their order."""
    if limit is None or limit >= len(items):
        return list(items)
    places = sorted(Random(f"{seed}/items").sample(range(len(items)), limit))
    return [items[place] for place in places]


def encode_row(
    ruled: Ruled, tokenizer: PreTrainedTokenizerBase, config: TrainConfig, wrapper: tuple[str, str]
) -> EncodedRow:
    """One row: the prompt, the verdict and the end of the text; the prompt does not count in the loss."""
    query, response = ruled.item.query, ruled.item.response
    while True:
        prompt = build_prompt(query, response, ruled.rules, lang=ruled.item.lang, style=config.style, wrapper=wrapper)
        start = encode(tokenizer, prompt)
        ids = [*encode(tokenizer, prompt, _completion(ruled, prompt, config)), *_end(tokenizer)]
        excess = len(ids) - config.max_length
        if excess <= 0 or len(response) <= SHORTEST:
            return EncodedRow(ruled.item.key, tuple(ids), len(start))
        query, response = _shortened(query, response, excess)


def _completion(ruled: Ruled, prompt: Prompt, config: TrainConfig) -> str:
    verdict = prompt.verdicts[ruled.label]
    named = config.learn_category and ruled.label == "unsafe" and ruled.item.category
    return verdict + CATEGORY.format(ruled.item.category) if named else verdict


def _covered(config: TrainConfig) -> dict[str, str]:
    """OpenAI's categories that the sets' own stand for, if their names are learnt."""
    return (
        {key: name for data in config.data for key, name in COVERED.get(data, {}).items()} if config.learn_category else {}
    )


def _shortened(query: str, response: str, excess: int) -> tuple[str, str]:
    """About `excess` tokens less, at least one character."""
    if query:
        return query[max(1, 2 * excess) :], response
    return query, response[: max(SHORTEST, len(response) - max(1, 2 * excess))]


def _end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    end: Any = tokenizer.eos_token_id
    return [] if end is None else [end]


def _some(losses: Sequence[float]) -> int:
    """How many steps at either end are averaged: a quarter, at most 20."""
    return max(1, min(20, len(losses) // 4))


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    return (
        f"{metrics['rows']} rows, {metrics['tokens']} tokens, {metrics['steps']} steps by {metrics['method']}: "
        f"loss {metrics['loss_first']:.3f} -> {metrics['loss_last']:.3f}\n"
        "the run's folder is a guard: give it to `check`, `score`, `calibrate`, `eval` as --guard"
    )
