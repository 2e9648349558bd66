"""One process of `test_processes`: trains as under `accelerate launch --use_fsdp --fsdp_version 2`, by the Trainer itself.

Accelerate turns FSDP on by the variables that its launcher sets, but for devices only; so its record of the machine is
set to several devices. Everything else is the Trainer's own way.
"""

import json
import os
import sys
from pathlib import Path

VARIABLES = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "LlamaDecoderLayer",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
    "FSDP_CPU_RAM_EFFICIENT_LOADING": "false",
    "FSDP_STATE_DICT_TYPE": "FULL_STATE_DICT",
}


def count_processors_as_devices() -> None:
    """Whenever Accelerate notes that there are several processors, it shall say devices."""
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    begin = PartialState.__init__

    def noted(self, *args, **kwargs):
        begin(self, *args, **kwargs)
        if self.distributed_type == DistributedType.MULTI_CPU:
            self.distributed_type = DistributedType.MULTI_GPU

    PartialState.__init__ = noted


def train(folder: Path, batch: int) -> dict:
    from tenfold.systems.plora.unload import PeriodicUnload, UnloadConfig, digest
    from tenfold.train.adapters import LoraSettings, add_lora
    from tenfold.train.encoding import encode_all
    from tenfold.train.finetune import FinetuneConfig, finetune
    from tenfold.train.rows import Row, ask
    from tiny_chat import tiny_chat_model, tiny_tokenizer

    tokenizer = tiny_tokenizer()
    rows = [Row(str(n), ask(f"what follows {n} ?"), f"{n + 1} follows") for n in range(16)]
    model = add_lora(tiny_chat_model(tokenizer), LoraSettings(rank=2), seed=0)
    config = FinetuneConfig(epochs=2, batch_size=batch, learning_rate=1e-2, save_every=100)
    unload = PeriodicUnload(UnloadConfig(interval=2), folder)
    steps = finetune(model, tokenizer, encode_all(rows, tokenizer, 64), config, folder, callbacks=[unload])
    sharded = type(unload.pairs[0].parameters[0]).__name__
    return {
        "losses": [step["loss"] for step in steps],
        "unloads": unload.unloads,
        "digest": digest(model),
        "sharded": sharded,
    }


if __name__ == "__main__":
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count > 1:
        os.environ |= VARIABLES
        count_processors_as_devices()
    print(json.dumps(train(Path(sys.argv[1]), 4 // count)))
    sys.stdout.flush()
    os._exit(0)
