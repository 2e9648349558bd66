"""One of the processes of `test_parallel`: a share of every batch; prints losses and the sums of some weights afterwards."""

import json
import os
import sys

import torch
from torch import distributed
from torch.distributed.tensor import DTensor
from transformers.distributed import DistributedConfig

from tenfold.systems.moe.losses import BalanceLoss, BalanceSettings
from tenfold.systems.moe.modeling import SORTED, DeepseekForCausalLM

STEPS, BATCH = 4, 4
SETTINGS = BalanceSettings(expert=0.5, device=0.1, num_devices=2, scope="global")


def train(model: DeepseekForCausalLM, rank: int, count: int) -> dict:
    """A few steps of SGD with momentum; `count` processes share each batch."""
    model.set_experts_implementation(SORTED)
    model.train()
    balance = BalanceLoss.attach(model, SETTINGS)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.5)
    share = BATCH // count
    found: dict = {"losses": [], "balance": []}
    for step in range(STEPS):
        ids = (torch.arange(BATCH * 16).view(BATCH, 16) * (7 + step) + step) % 61
        own = ids[rank * share : (rank + 1) * share]
        loss = model(own, labels=own, use_cache=False).loss
        extra = balance.collect(own.shape)
        (loss + extra).backward()
        optimizer.step()
        optimizer.zero_grad()
        found["losses"].append(loss.item())
        found["balance"].append(extra.item())
    for name in ("experts.down_proj", "gate.weight", "shared_experts.up_proj.weight"):
        found[name] = whole(model.get_parameter(f"model.layers.1.mlp.{name}"))
    return found


def whole(weight: torch.Tensor) -> list[float]:
    """Sum and sum of squares over all processes."""
    full = weight.full_tensor() if isinstance(weight, DTensor) else weight
    return [full.sum().item(), full.square().sum().item()]


if __name__ == "__main__":
    folder, mode = sys.argv[1], sys.argv[2]
    distributed.init_process_group("gloo")
    rank, count = distributed.get_rank(), distributed.get_world_size()
    torch.set_num_threads(1)
    config = DistributedConfig(fsdp_size=count, ep_size=count if mode == "experts" else 1)
    model = DeepseekForCausalLM.from_pretrained(folder, distributed_config=config, dtype=torch.float32)
    print(json.dumps(train(model, rank, count)))
    distributed.destroy_process_group()
    sys.stdout.flush()
    os._exit(0)
