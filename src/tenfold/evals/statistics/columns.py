"""Numbers of items as an array, checked before anything is computed from them.

A missing value (None or NaN) would pass through a mean unseen, and through a comparison as "no": it is refused here, so
that whoever leaves items out does so in the open.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def column(values: ArrayLike, name: str, *, length: int | None = None) -> Floats:
    """(N,) the values as finite numbers.

    Args:
        name: what they are, for the error.
        length: how many there must be; None takes any number but 0.

    Raises:
        ValueError: no values, too few or too many, not one per item, or one that is missing or infinite.
    """
    values_N = np.asarray(values, dtype=np.float64)
    if values_N.shape == (0,) and not length:
        raise ValueError(f"there are no {name}; give at least one")
    if values_N.ndim != 1 or (length is not None and len(values_N) != length):
        items = "" if length is None else f" for {length} items"
        raise ValueError(f"got {name} of shape {values_N.shape}{items}; give one of each per item")
    num_missing = int(np.sum(~np.isfinite(values_N)))
    if num_missing:
        raise ValueError(
            f"{num_missing} of {len(values_N)} {name} are missing or infinite; leave these items out and report how many"
        )
    return values_N
