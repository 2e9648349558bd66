"""The slow, obvious pattern: float64, one text at a time, torch's own gradient of the stored weight."""

import copy

import torch

from tenfold.nn.named_linears import named_linears


def patterns(model, ids, target):
    """name -> |w * dD/dw| as [outputs, inputs]."""
    model = copy.deepcopy(model).double().requires_grad_(True)
    logits = model(input_ids=torch.tensor([ids]), use_cache=False).logits
    target(logits, torch.tensor([ids]), torch.tensor([len(ids)])).sum().backward()
    found = {}
    for linear in named_linears(model):
        grad = linear.parameter.grad
        grad = torch.zeros_like(linear.parameter) if grad is None else grad
        found[linear.name] = linear.oriented((linear.parameter * grad).detach().abs())
    return found


class Keep:
    """A reducer that keeps everything."""

    def __init__(self):
        self.found = {}

    def add(self, linear, text, a_OI):
        self.found[text, linear.name] = a_OI.clone()
