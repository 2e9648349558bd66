"""`generate`: speculative decoding in the place of Transformers' `model.generate`, with its settings and its answer.

Greedy texts are those of plain greedy decoding. When sampling, tokens are drawn with noise that belongs to (seed, position),
so a text follows from its prompt, the settings and its seed alone: neither the drafter nor the rows beside it matter.
"""

# N texts (prompts times num_return_sequences), T width, S new tokens
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteria
from transformers.generation.streamers import BaseStreamer

from tenfold.core.errors import UserError
from tenfold.nn import models
from tenfold.nn.causal_lm import CausalLM
from tenfold.nn.drafting import Drafter
from tenfold.nn.logit_rules import AllowedTokens
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.transformers_lm import TransformersLM
from tenfold.systems.specdec.asked_texts import Extras, Order, SpeculativeOutput, answer
from tenfold.systems.specdec.draft_length import AUTO, DraftLength, NumDraft, draft_length_for
from tenfold.systems.specdec.drafters import making
from tenfold.systems.specdec.drafters.in_step import InStep
from tenfold.systems.specdec.drafters.model import ModelDraftConfig, ModelDrafter
from tenfold.systems.specdec.generation_keywords import merged, token_ids
from tenfold.systems.specdec.prompt_batch import read_prompts
from tenfold.systems.specdec.speculate import Silent, speculate_many
from tenfold.systems.specdec.verifiers import VERIFIERS
from tenfold.systems.specdec.verifiers.coupled import Coupled
from tenfold.systems.specdec.verifiers.evidence import Verifier
from tenfold.systems.specdec.verifiers.greedy import Greedy

AnyModel = str | LoadedModel | PreTrainedModel | CausalLM
AnyDrafter = str | Drafter | PreTrainedModel | Callable[[int], Drafter] | None

DEFAULT_DRAFTER = "ngram"
UNMEASURED_LENGTH = 5
"""Most drafted tokens a pass where no cost model is measured: for models that were not loaded by name."""


def generate(
    model: AnyModel,
    tokenizer: PreTrainedTokenizerBase | None,
    inputs: Any,
    *,
    generation_config: GenerationConfig | None = None,
    attention_mask: Tensor | None = None,
    drafter: AnyDrafter = "auto",
    drafter_options: Sequence[str] = (),
    num_draft: NumDraft | DraftLength | None = None,
    verifier: str = "auto",
    allow_lossy: bool = False,
    seed: int | Sequence[int] = 0,
    batch_size: int = 1,
    logits_processor: Sequence[LogitsProcessor] = (),
    stopping_criteria: Sequence[StoppingCriteria] = (),
    prefix_allowed_tokens_fn: AllowedTokens | None = None,
    streamer: BaseStreamer | None = None,
    **settings: Any,
) -> Tensor | SpeculativeOutput:
    """Continues prompts; every setting of Transformers' `GenerationConfig` is a keyword, and is honoured or refused.

    Args:
        model: a name, a LoadedModel, an engine, or any causal LM of Transformers. Prompts are decoded together if the
            engine has several rows, else one after the other.
        tokenizer: None if the inputs are ids, or to take the one of a model given by name.
        inputs: token ids (a tensor, padded on the left with `attention_mask`, or lists), strings, conversations, or what a
            tokenizer returns.
        drafter: `auto`, a name of `tenfold specdec`, a draft model, a Drafter (for engines of one row), a function from row
            to Drafter, or None for plain decoding.
        num_draft: most drafted tokens a pass, or `auto`; by default `auto` for models by name, and 5 for others.
        seed: of the draws. Of several texts, text number i > 0 gets a seed derived from it; or give one seed for each text.
        batch_size: rows of the engine, for a model given by name.

    Returns:
        Ids [N, T + S]: the padded prompts and their continuations, padded on the right; or a SpeculativeOutput with
        return_dict_in_generate. Rows of scores after a text's end are -inf.

    Raises:
        UserError: an unknown setting (the nearest name is given), one that cannot be honoured, or unusable inputs.
    """
    loaded = _loaded(model, tokenizer, batch_size)
    config = merged(settings, generation_config, _own_config(model, loaded))
    judge = _verifier(verifier, config)
    eos_ids = token_ids(config.eos_token_id)
    pad_id = (token_ids(config.pad_token_id) or eos_ids[:1] or [0])[0]
    is_padding = config.pad_token_id is not None and pad_id not in eos_ids
    batch = read_prompts(inputs, loaded.tokenizer, attention_mask=attention_mask, pad_id=pad_id, pad_is_padding=is_padding)
    extras = Extras(logits_processor, stopping_criteria, prefix_allowed_tokens_fn, streamer)
    texts = Order(batch, config, loaded.tokenizer, extras, _device(loaded)).texts(seed)
    drafters = _drafters(drafter, drafter_options, loaded, texts[0].request.settings)
    lengths = _lengths(num_draft, loaded)
    if streamer is not None:
        streamer.put(batch.padded_NT.cpu())
    requests = [text.request for text in texts]
    written = speculate_many(
        loaded.engine, requests, drafters=drafters, num_draft=lengths, verifier=judge, allow_lossy=allow_lossy
    )
    if streamer is not None:
        streamer.end()
    return answer(batch, texts, written, config, pad_id)


def _loaded(model: AnyModel, tokenizer: PreTrainedTokenizerBase | None, batch_size: int) -> LoadedModel:
    """The engine under the name of what was given."""
    if isinstance(model, str):
        return _with_tokenizer(models.load(model, batch_size=batch_size), tokenizer)
    if batch_size != 1:
        raise UserError("batch_size is for models given by name; load yours with models.load(name, batch_size=...)")
    if isinstance(model, LoadedModel):
        return _with_tokenizer(model, tokenizer)
    engine = TransformersLM(model) if isinstance(model, PreTrainedModel) else model
    name = type(model).__name__
    return LoadedModel(name, "", "auto", engine, tokenizer, frozenset())  # pyright: ignore[reportArgumentType]


def _with_tokenizer(loaded: LoadedModel, tokenizer: PreTrainedTokenizerBase | None) -> LoadedModel:
    given = loaded.tokenizer if tokenizer is None else tokenizer
    return LoadedModel(loaded.name, loaded.path, loaded.dtype, loaded.engine, given, loaded.eos_ids)


def _own_config(model: AnyModel, loaded: LoadedModel) -> GenerationConfig | None:
    """The generation settings that belong to the model."""
    if isinstance(model, PreTrainedModel):
        return model.generation_config
    if not loaded.path:
        return None
    try:
        return GenerationConfig.from_pretrained(loaded.path)
    except OSError:  # no generation settings there
        return GenerationConfig(eos_token_id=sorted(loaded.eos_ids) or None)


def _device(loaded: LoadedModel) -> torch.device:
    """Where the engine leaves its logits."""
    model = getattr(loaded.engine, "model", loaded.engine)
    return torch.device(getattr(model, "device", "cpu"))


def _verifier(name: str, config: GenerationConfig) -> Verifier:
    if name != "auto":
        return VERIFIERS.load(name)()
    return Coupled() if config.do_sample else Greedy()


def _drafters(
    drafter: AnyDrafter, options: Sequence[str], loaded: LoadedModel, settings: GenerationSettings
) -> list[Drafter]:
    """One for each row of the engine."""
    num_rows = loaded.engine.batch_size
    if isinstance(drafter, PreTrainedModel):
        engine = TransformersLM(drafter)
        if engine.vocab_size != loaded.engine.vocab_size:
            raise UserError(
                f"the draft model has {engine.vocab_size} tokens, the target {loaded.engine.vocab_size}; save it and give "
                "drafter='model', drafter_options=['model=FOLDER'], which maps between tokenizers"
            )
        draft_config = ModelDraftConfig(coupled=settings.do_sample)
        return [ModelDrafter(InStep(TransformersLM(drafter)), settings, draft_config) for _ in range(num_rows)]
    if drafter == "auto":
        drafter = None if getattr(loaded.engine, "feeds_one_by_one", False) else DEFAULT_DRAFTER
    if drafter is None:
        return [Silent() for _ in range(num_rows)]
    if isinstance(drafter, str):
        return [making.make(drafter, options, loaded, settings) for _ in range(num_rows)]
    if not isinstance(drafter, Drafter):
        return [drafter(row) for row in range(num_rows)]
    if num_rows > 1:
        raise UserError(f"one drafter for {num_rows} rows; give its name, or a function from row to Drafter")
    return [drafter]


def _lengths(num_draft: NumDraft | DraftLength | None, loaded: LoadedModel) -> int | Sequence[DraftLength]:
    """By default measured for models loaded by name, whose measurements are kept, and fixed for others."""
    if num_draft is None:
        num_draft = AUTO if loaded.path else UNMEASURED_LENGTH
    if isinstance(num_draft, int):
        return num_draft
    rows = range(loaded.engine.batch_size)
    return [draft_length_for(AUTO, loaded) if num_draft == AUTO else num_draft for _ in rows]
