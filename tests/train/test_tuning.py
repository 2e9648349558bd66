"""`tune` by the name of a method: both leave all that they learned; wrong names and settings are refused."""

import shutil

import pytest
import torch
from peft import PeftModel

from tenfold.apps import wiring  # noqa: F401  makes plora known, as the command line does
from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, UnknownNameError
from tenfold.train import methods
from tenfold.train.encoding import encode_all
from tenfold.train.rows import Row, ask
from tenfold.train.tuning import TuneConfig, tune
from tiny_chat import tiny_chat_model, tiny_tokenizer

TRAINING = {"max_steps": 12, "batch_size": 2, "learning_rate": 1e-2, "save_every": 5}
SETTINGS = {"lora": {}, "plora": {"interval": 4}}


def tuned(method: str, folder, **settings):
    tokenizer = tiny_tokenizer()
    rows = [Row(str(n), ask(f"what follows {n} ?"), f"{n + 1} follows") for n in range(8)]
    table = {"method": method, "settings": SETTINGS[method] | settings, "lora": {"rank": 2}, "training": TRAINING}
    return tune(tiny_chat_model(tokenizer), tokenizer, encode_all(rows, tokenizer, 64), parse(TuneConfig, table), folder)


def logits(model) -> torch.Tensor:
    ids = torch.tensor([tiny_tokenizer()("what follows 3 ?")["input_ids"]])
    with torch.no_grad():
        return model.eval()(input_ids=ids).logits


@pytest.mark.parametrize("method", ["lora", "plora"])
def test_adapter_and_merged_model_hold_the_whole_update(method, tmp_path):
    result = tuned(method, tmp_path / "run")
    learned = logits(result.model)
    untrained = tiny_chat_model(tiny_tokenizer())
    assert (logits(untrained) - learned).abs().max() > 1e-2
    result.save_adapter(tmp_path / "adapter", "the-base")
    assert (logits(PeftModel.from_pretrained(untrained, tmp_path / "adapter")) - learned).abs().max() < 1e-4
    merged = result.merged()
    assert (logits(merged) - learned).abs().max() < 1e-4
    assert not any("lora" in name for name, _ in merged.named_parameters())


def test_periodic_and_plain_lora_part_after_the_first_unload(tmp_path):
    plain, periodic = ([step["loss"] for step in tuned(method, tmp_path / method).steps] for method in ("lora", "plora"))
    assert plain[:4] == periodic[:4] and plain[5:] != periodic[5:]


def test_resumed_periodic_tuning_is_the_same_bits(tmp_path):
    whole = tuned("plora", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "checkpoint-12")  # as if killed after step 10 was saved
    resumed = tuned("plora", tmp_path / "run")
    assert [step["loss"] for step in resumed.steps] == [step["loss"] for step in whole.steps]
    assert torch.equal(logits(resumed.merged()), logits(whole.merged()))


def test_wrong_names_and_settings_are_refused(tmp_path):
    with pytest.raises(UnknownNameError, match="plora"):
        methods.method("plorra", {}, tmp_path)
    with pytest.raises(ConfigError, match="interval"):
        tuned("plora", tmp_path / "a", interval=0)
    with pytest.raises(ConfigError, match="intervall"):
        tuned("plora", tmp_path / "b", intervall=4)
    with pytest.raises(ConfigError, match="takes no settings"):
        tuned("lora", tmp_path / "c", interval=4)
