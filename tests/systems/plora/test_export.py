"""What leaves a run computes what the run computed: as an adapter in plain PEFT, merged, compressed, or in part."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from plora_run import Run
from tenfold.core.errors import ConfigError
from tenfold.systems.plora.data import arithmetic, final_number
from tenfold.systems.plora.deltas import DeltaLedger
from tenfold.systems.plora.export import compressed, live_pieces, merge_into, save_adapter, total_pieces
from tenfold.systems.plora.pairs import names
from tenfold.systems.plora.unload import UnloadConfig
from tenfold.train.adapters import LoraSettings, add_lora
from tiny_chat import tiny_chat_model, tiny_tokenizer

IDS = torch.arange(3, 40)[None]


@pytest.fixture
def trained(tmp_path):
    """Two stages and a live pair on a tiny model, with its base on disk."""
    tiny_chat_model(tiny_tokenizer()).save_pretrained(tmp_path / "base")
    model = add_lora(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), LoraSettings(rank=2), seed=0)
    adam = lambda parameters: torch.optim.AdamW(parameters, lr=1e-2)  # noqa: E731
    run = Run(model, UnloadConfig(interval=3), tmp_path / "run", total=9, optimizer=adam)
    for _ in range(8):
        run.step(lambda m: m(input_ids=IDS, labels=IDS).loss)
    return run


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_adapter_loads_in_plain_peft_with_the_sum_of_the_ranks(trained, tmp_path):
    total = total_pieces(trained.callback.ledger, live_pieces(trained.pairs), names(trained.pairs))
    save_adapter(total, tmp_path / "adapter", str(tmp_path / "base"))
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(tmp_path / "base"), tmp_path / "adapter")
    assert {len(a) for a, _ in total.values()} == {6}
    torch.testing.assert_close(logits(loaded), logits(trained.model), atol=1e-4, rtol=0)


def test_merged_weights_need_no_adapter(trained, tmp_path):
    expected = logits(trained.model)
    merge_into(trained.pairs, trained.callback.ledger, trained.callback.base, live_pieces(trained.pairs))
    with trained.model.disable_adapter():
        torch.testing.assert_close(logits(trained.model), expected, atol=1e-5, rtol=0)


def test_stages_can_be_left_out(trained, tmp_path):
    first_only = DeltaLedger(trained.callback.ledger.folder, dropped=frozenset({2}))
    pieces = total_pieces(first_only, {}, names(trained.pairs))
    assert {len(a) for a, _ in pieces.values()} == {2}
    with pytest.raises(ConfigError, match="nothing to export"):
        total_pieces(DeltaLedger(trained.callback.ledger.folder, dropped=frozenset({1, 2})), {}, names(trained.pairs))


def test_compression_keeps_what_it_says():
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randn(6, 20, generator=generator),
        torch.randn(30, 6, generator=generator) * torch.tensor([9.0, 5, 1, 0.1, 0.1, 0.01]),
    )
    (small_a, small_b), kept = compressed((a, b), 0.99)
    whole = b @ a
    assert len(small_a) < 6 and kept >= 0.99
    assert 1 - float(((small_b @ small_a - whole).norm() / whole.norm()) ** 2) == pytest.approx(kept, abs=1e-4)
    (all_a, all_b), kept = compressed((a, b), 1.0)
    torch.testing.assert_close(all_b @ all_a, whole, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match="energy is 0"):
        compressed((a, b), 0)


def test_own_arithmetic_is_right():
    rows = arithmetic(50, seed=3)
    assert rows == arithmetic(50, seed=3) != arithmetic(50, seed=4)
    for row in rows:
        start, more, times = (int(word) for word in row.prompt[0]["content"].split() if word.isdigit())
        assert final_number(row.completion) == str((start + more) * times)
    assert final_number("so #### 1,250") == "1250" and final_number("none") is None
