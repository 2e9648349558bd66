"""Weights that are spread over processes (FSDP2's DTensors): gathered one matrix at a time, written back piece by piece.

Every process takes part in a gather, and writes only its own shard of what all of them computed alike.
"""

from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def gathered(tensor: Tensor) -> Tensor:
    """The whole tensor on this process; itself where it is not spread."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def assign(target: Tensor, whole: Tensor) -> None:
    """Overwrites `target` in place with a tensor that every process holds whole."""
    if isinstance(target, DTensor):
        spread = distribute_tensor(
            whole.to(target.device, target.dtype), target.device_mesh, target.placements, src_data_rank=None
        )
        target.to_local().copy_(spread.to_local())
    else:
        target.copy_(whole)
