"""Logits of llama.cpp for a GGUF file beside those in a JSON file; run it where the package cyllama is installed.

python tests/systems/moe/write_gguf.py FOLDER      here: writes model-f32.gguf and logits.json
python tests/systems/moe/llama_cpp.py FOLDER       in an environment of its own: compares
"""

import json
import sys
from pathlib import Path
from statistics import pstdev

import cyllama.llama.llama_cpp as native  # pyright: ignore[reportMissingImports]


class Model(native.LlamaModel):
    """With the number of tokens, which the package asks its model for and has elsewhere."""

    @property
    def n_vocab(self) -> int:
        size = self.get_vocab().n_vocab
        return size() if callable(size) else size


def logits(path: Path, ids: list[int]) -> list[list[float]]:
    """One row of logits for each token, each from a context of its own."""
    model = Model(str(path), native.LlamaModelParams(), False)
    rows = []
    for count in range(1, len(ids) + 1):
        parameters = native.LlamaContextParams()
        parameters.n_ctx, parameters.n_batch, parameters.n_ubatch = 64, 64, 64
        parameters.n_threads = parameters.n_threads_batch = 1
        context = native.LlamaContext(model, parameters, False)
        batch = native.llama_batch_get_one(ids[:count])
        assert context.decode(batch) == 0
        rows.append(list(context.get_logits()))
        context.close()
    return rows


def compare(ours: list[list[float]], theirs: list[list[float]]) -> dict:
    """Largest difference, standard deviation of our logits, and how often the likeliest token is the same."""
    flat = [value for row in ours for value in row]
    pairs = [*zip(ours, theirs, strict=True)]
    return {
        "largest": max(abs(a - b) for mine, other in pairs for a, b in zip(mine, other, strict=True)),
        "deviation": pstdev(flat),
        "same_argmax": f"{sum(mine.index(max(mine)) == other.index(max(other)) for mine, other in pairs)}/{len(pairs)}",
    }


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    expected = json.loads((folder / "logits.json").read_text())
    path = next(folder.glob("*.gguf"))
    print(json.dumps({"file": path.name, **compare(expected["logits"], logits(path, expected["ids"]))}))
