"""The verb `train` on a tiny chat model: it learns, leaves an adapter that plain PEFT loads, and goes on when cut off."""

import json

import pytest
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tenfold.core.config import parse
from tenfold.store import runs
from tenfold.systems.plora.training import TrainConfig, summary, train
from tiny_chat import tiny_chat_model, tiny_tokenizer


@pytest.fixture
def table(tmp_path):
    tokenizer = tiny_tokenizer()
    tiny_chat_model(tokenizer).save_pretrained(tmp_path / "model")
    tokenizer.save_pretrained(tmp_path / "model")
    rows = [{"prompt": f"what follows {n} ?", "completion": f"{n + 1} follows"} for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {
        "model": str(tmp_path / "model"),
        "data": str(tmp_path / "rows.jsonl"),
        "max_length": 64,
        "merge": True,
        "lora": {"rank": 2},
        "training": {"max_steps": 12, "learning_rate": 1e-2, "batch_size": 4, "save_every": 3},
        "unload": {"interval": 4},
    }


def test_trains_and_exports(table, tmp_path):
    config = parse(TrainConfig, table)
    run = runs.start(tmp_path / "runs", "plora-train", config)
    metrics = train(config, run)
    assert metrics["loss_after"] < metrics["loss_before"] - 0.1
    assert metrics["stages"] * 2 == metrics["total_rank"] > 2 and metrics["trainable_parameters"] > 0
    assert "rank 2" in summary(metrics)
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(table["model"]), run.folder / "adapter")
    merged = AutoModelForCausalLM.from_pretrained(run.folder / "merged")
    ids = tiny_tokenizer()("what follows 3 ?", return_tensors="pt")["input_ids"]
    assert (loaded.eval()(input_ids=ids).logits - merged.eval()(input_ids=ids).logits).abs().max() < 1e-4
    assert train(config, runs.resume(tmp_path / "runs", "plora-train", config)) == metrics, "a finished run repeats nothing"
