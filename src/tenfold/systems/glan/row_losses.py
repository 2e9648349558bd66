"""The loss of instruction rows under a model: the one place here that needs torch, loaded when it is asked for."""

from collections.abc import Iterator, Sequence

from tenfold.nn import models
from tenfold.train.encoding import encode
from tenfold.train.losses import RowLoss, row_losses
from tenfold.train.rows import Row

BATCH = 32


def measured(name: str, rows: Sequence[Row], max_length: int) -> Iterator[list[RowLoss]]:
    """Losses of the answers, some rows at a time, in order.

    Raises:
        MissingArtifactError: there is no such model here.
    """
    path = models.resolve(name)
    model, tokenizer = models.load_transformers(path, "fp32"), models.load_tokenizer(path)
    for start in range(0, len(rows), BATCH):
        yield row_losses(model, [encode(row, tokenizer, max_length) for row in rows[start : start + BATCH]])
