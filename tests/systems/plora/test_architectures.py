"""Layers that keep their weights otherwise: GPT-2's transposed ones, and ones that cannot be written; and accumulation."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from plora_run import Run
from tenfold.core.errors import ConfigError
from tenfold.systems.plora.export import live_pieces, merge_into, save_adapter, total_pieces
from tenfold.systems.plora.pairs import names
from tenfold.systems.plora.unload import PeriodicUnload, UnloadConfig
from tenfold.train.adapters import LoraSettings, add_lora
from tenfold.train.encoding import encode_all
from tenfold.train.finetune import FinetuneConfig, finetune
from tenfold.train.rows import Row, ask
from tiny_chat import tiny_chat_model, tiny_tokenizer

IDS = torch.arange(3, 40)[None]


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0)


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


@pytest.mark.filterwarnings("ignore:fan_in_fan_out is set to False")
def test_transposed_weights_of_gpt2(tmp_path):
    torch.manual_seed(0)
    plain = GPT2LMHeadModel(GPT2Config(vocab_size=48, n_positions=64, n_embd=32, n_layer=2, n_head=2))
    plain.save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    model = add_lora(base, LoraSettings(rank=2, targets=("c_attn", "c_fc")), seed=0)
    run = Run(model, UnloadConfig(interval=3), tmp_path / "run", total=9, optimizer=adam)
    assert not run.callback.base.copies, "the transposed weights are read from the file"
    for number in range(8):
        before = logits(model) if number == 3 else None
        run.step(lambda m: m(input_ids=IDS, labels=IDS).loss)
        if number == 2:
            at_unload = logits(model)
        elif before is not None:
            torch.testing.assert_close(before, at_unload)
    assert run.pairs[0].shape == (96, 32) and len(run.callback.ledger) == 2
    expected = logits(model)
    live = live_pieces(run.pairs)
    save_adapter(total_pieces(run.callback.ledger, live, names(run.pairs)), tmp_path / "adapter", "base")
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), expected, atol=1e-4, rtol=0)
    merge_into(run.pairs, run.callback.ledger, run.callback.base, live)
    with model.disable_adapter():
        torch.testing.assert_close(logits(model), expected, atol=1e-4, rtol=0)


class Locked(nn.Linear):
    """Stands for a quantised layer: its weight must never be written."""


def locked_model(layer: type[nn.Linear]) -> nn.Module:
    torch.manual_seed(3)
    layers = nn.Sequential(layer(6, 8), nn.Tanh(), layer(8, 4))
    return get_peft_model(layers, LoraConfig(r=2, lora_alpha=4, target_modules=["0", "2"]))  # pyright: ignore


def test_weights_that_cannot_be_written_are_left_alone(tmp_path):
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))

    def trained(layer, storage):
        model = locked_model(layer)
        run = Run(model, UnloadConfig(interval=3, storage=storage), tmp_path / storage, total=12, optimizer=adam)
        first = [pair.weight().clone() for pair in run.pairs]
        losses = [run.step(lambda m: (m(inputs) - 1).square().mean()) for _ in range(11)]
        return run, first, losses

    run, first, losses = trained(Locked, "live")
    assert all(torch.equal(pair.weight(), weight) for pair, weight in zip(run.pairs, first, strict=True))
    assert losses == pytest.approx(trained(nn.Linear, "fold")[2], abs=1e-5)
    assert not run.callback.base.copies and len(run.callback.ledger) == 3
    with pytest.raises(ConfigError, match="cannot be written without quantising them again; use storage live"):
        Run(locked_model(Locked), UnloadConfig(interval=3), tmp_path / "refused", total=12)


def test_a_live_run_goes_on_where_it_was(tmp_path):
    inputs = torch.randn(16, 6, generator=torch.Generator().manual_seed(0))
    model = locked_model(Locked)
    run = Run(model, UnloadConfig(interval=3, storage="live"), tmp_path, total=12, optimizer=adam)
    for _ in range(6):
        run.step(lambda m: (m(inputs) - 1).square().mean())
    again = locked_model(Locked)
    again.load_state_dict(model.state_dict())
    callback = PeriodicUnload(run.callback.config, tmp_path)
    run.state.stateful_callbacks = {"PeriodicUnload": run.callback.state()}
    callback.on_train_begin(run.args, run.state, None, model=again)
    torch.testing.assert_close(again(inputs), model(inputs))


def test_accumulated_batches_count_as_one_step(tmp_path):
    tokenizer = tiny_tokenizer()
    rows = [Row(str(n), ask(f"what follows {n} ?"), f"{n + 1} follows") for n in range(16)]

    def trained(batch: int, accumulate: int) -> tuple[list[float], PeriodicUnload]:
        model = add_lora(tiny_chat_model(tokenizer), LoraSettings(rank=2), seed=0)
        config = FinetuneConfig(epochs=2, batch_size=batch, accumulate=accumulate, learning_rate=1e-2)
        folder = tmp_path / f"{batch}"
        unload = PeriodicUnload(UnloadConfig(interval=2), folder)
        steps = finetune(model, tokenizer, encode_all(rows, tokenizer, 64), config, folder, callbacks=[unload])
        return [step["loss"] for step in steps], unload

    losses, whole = trained(4, 1)
    accumulated, parts = trained(2, 2)
    assert whole.unloads == parts.unloads == [2, 4, 6]
    assert accumulated == pytest.approx(losses, abs=1e-4)
    for name in whole.ledger.matrices():
        (ours_a, ours_b), (a, b) = parts.ledger.stacked(name), whole.ledger.stacked(name)
        torch.testing.assert_close(ours_b @ ours_a, b @ a, atol=1e-3, rtol=0)
