"""A seeded small mixture as a GGUF file with our logits beside it, for `llama_cpp.py`: write_gguf.py FOLDER [TYPE]."""

import json
import sys
from pathlib import Path

import torch

from tenfold.systems.moe.configuration import DeepseekConfig
from tenfold.systems.moe.export import export
from tenfold.systems.moe.modeling import DeepseekForCausalLM
from tenfold.train.packed_corpus import train_tokenizer

SHAPE = {
    "vocab_size": 320,
    "hidden_size": 64,
    "intermediate_size": 160,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "n_routed_experts": 16,
    "n_shared_experts": 2,
    "num_experts_per_tok": 6,
    "initializer_range": 0.15,
    "max_position_embeddings": 128,
    "bos_token_id": 0,
    "eos_token_id": 0,
}

if __name__ == "__main__":
    folder, dtype = Path(sys.argv[1]), (sys.argv[2:] or ["f32"])[0]
    torch.manual_seed(0)
    model = DeepseekForCausalLM(DeepseekConfig(**SHAPE)).eval()
    export(model, train_tokenizer(["some words of text, and other words"], 320), "gguf", folder, dtype=dtype)
    ids = [(7 * place + 3) % 320 for place in range(24)]
    with torch.no_grad():
        logits = model(torch.tensor([ids])).logits[0]
    (folder / "logits.json").write_text(json.dumps({"ids": ids, "logits": logits.tolist()}))
