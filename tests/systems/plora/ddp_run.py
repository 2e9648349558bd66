"""One process of `test_processes`: trains, and prints losses, unloads and a checksum of the bits."""

import json
import os
import sys
from pathlib import Path

from tenfold.systems.plora.unload import PeriodicUnload, UnloadConfig, digest
from tenfold.train.adapters import LoraSettings, add_lora
from tenfold.train.encoding import encode_all
from tenfold.train.finetune import FinetuneConfig, finetune
from tenfold.train.rows import Row, ask
from tiny_chat import tiny_chat_model, tiny_tokenizer

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    tokenizer = tiny_tokenizer()
    rows = [Row(str(n), ask(f"what follows {n} ?"), f"{n + 1} follows") for n in range(16)]
    model = add_lora(tiny_chat_model(tokenizer), LoraSettings(rank=2), seed=0)
    batch = 4 // int(os.environ.get("WORLD_SIZE", "1"))
    config = FinetuneConfig(epochs=2, batch_size=batch, learning_rate=1e-2)
    unload = PeriodicUnload(UnloadConfig(interval=2), folder)
    steps = finetune(model, tokenizer, encode_all(rows, tokenizer, 64), config, folder, callbacks=[unload])
    print(json.dumps({"losses": [step["loss"] for step in steps], "unloads": unload.unloads, "digest": digest(model)}))
