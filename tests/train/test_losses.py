"""Losses in padded batches equal a slow pass over one row; the answer alone counts; adapters refuse what cannot work."""

import pytest
import torch

from tenfold.core.errors import ConfigError
from tenfold.train.adapters import LoraSettings, add_lora, linear_names, parameter_count, target_names
from tenfold.train.encoding import encode, encode_all
from tenfold.train.losses import mean_loss, perplexity, row_losses
from tenfold.train.rows import Row, ask
from tiny_chat import tiny_chat_model, tiny_tokenizer

ROWS = [Row(str(n), ask(" ".join(["what", "follows"] * n)), " ".join(map(str, range(n + 1)))) for n in range(1, 6)]


def test_batched_losses_equal_single_rows():
    tokenizer = tiny_tokenizer()
    model = tiny_chat_model(tokenizer).train()
    encoded = encode_all(ROWS, tokenizer, 64)
    losses = row_losses(model, encoded, batch_size=3)
    for row, loss in zip(encoded, losses, strict=True):
        ids = torch.tensor([row.ids])
        with torch.no_grad():
            logprobs = model(input_ids=ids).logits[0].log_softmax(-1)
        slow = -sum(float(logprobs[place - 1, row.ids[place]]) for place in range(row.num_prompt, len(row.ids)))
        assert loss.total == pytest.approx(slow, abs=1e-4)
        assert loss.num_tokens == row.num_learned
    assert model.training
    assert perplexity(losses) == pytest.approx(torch.tensor(mean_loss(losses)).exp().item())


def test_the_answer_ends_with_the_end_token():
    tokenizer = tiny_tokenizer()
    row = encode(Row("1", ask("what follows 1 ?"), "2 follows"), tokenizer, 64)
    assert tokenizer.decode(row.ids[: row.num_prompt]) == "<user> what follows 1 ? <end> <assistant>"
    assert tokenizer.decode(row.ids[row.num_prompt :]) == "2 follows <end>"


def test_without_a_template_the_answer_follows_the_text():
    tokenizer = tiny_tokenizer()
    tokenizer.chat_template = None
    row = encode(Row("1", ask("what follows 1 ?"), "2 follows"), tokenizer, 64)
    assert tokenizer.decode(row.ids) == "what follows 1 ? 2 follows <end>"


def test_a_prompt_that_fills_the_row_is_refused():
    with pytest.raises(ConfigError, match="its prompt has 7 tokens, max_length is 7"):
        encode(Row("1", ask("what follows 1 ?"), "2"), tiny_tokenizer(), 7)


def test_lora_touches_the_named_layers_only():
    model = tiny_chat_model(tiny_tokenizer())
    adapted = add_lora(model, LoraSettings(rank=2, targets="q_proj,v_proj"), seed=3)
    trained = {name.split(".lora_")[0].rsplit(".", 1)[-1] for name, p in adapted.named_parameters() if p.requires_grad}
    assert trained == {"q_proj", "v_proj"}
    assert parameter_count(adapted, trainable=True) == 2 * 2 * ((32 + 32) + (32 + 16))


def test_lora_depends_on_its_seed_alone():
    def first(seed: int) -> torch.Tensor:
        torch.rand(seed + 5)
        adapted = add_lora(tiny_chat_model(tiny_tokenizer()), LoraSettings(), seed=seed)
        return next(p for name, p in adapted.named_parameters() if "lora_A" in name)

    assert torch.equal(first(1), first(1)) and not torch.equal(first(1), first(2))


def test_all_linear_leaves_out_the_head():
    model = tiny_chat_model(tiny_tokenizer())
    assert target_names(model, LoraSettings()) == linear_names(model)
    assert len(linear_names(model)) == 14 and "lm_head" not in linear_names(model)


@pytest.mark.parametrize(
    ("targets", "words"), [("qproj", "no linear layer is called 'qproj'"), ("lm_head", "shares its weights")]
)
def test_bad_targets_are_refused(targets, words):
    with pytest.raises(ConfigError, match=words):
        target_names(tiny_chat_model(tiny_tokenizer(), tied=True), LoraSettings(targets=targets))


def test_a_second_adapter_is_refused():
    adapted = add_lora(tiny_chat_model(tiny_tokenizer()), LoraSettings(), seed=0)
    with pytest.raises(ConfigError, match="has an adapter already"):
        add_lora(adapted, LoraSettings(), seed=0)
