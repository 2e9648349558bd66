"""Which rows of a cache take part in a pass, and with how many tokens each."""

# A rows that take part, K tokens of one of them, N tokens of all
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate


@dataclass(frozen=True)
class PassRows:
    """The tokens of a pass stand row by row, those of `rows[a]` from `starts[a]` on; padding stands behind a row's own."""

    rows: Sequence[int]
    """Rows of the cache, ascending."""
    counts: Sequence[int]
    """Tokens of each that the cache will count."""
    padded: Sequence[int]
    """Tokens of each that are computed."""

    @cached_property
    def starts(self) -> list[int]:
        """Where each row's tokens begin, and the number of all tokens at the end."""
        return [0, *accumulate(self.padded)]

    @property
    def num_tokens(self) -> int:
        return self.starts[-1]

    @property
    def width(self) -> int:
        """Computed tokens of the row that has most."""
        return max(self.padded)

    def runs(self) -> list[tuple[slice, slice]]:
        """Rows that lie side by side in the cache, as (which of `rows`, which rows of the cache)."""
        borders = [place for place in range(1, len(self.rows)) if self.rows[place] != self.rows[place - 1] + 1]
        edges = zip([0, *borders], [*borders, len(self.rows)], strict=True)
        return [(slice(start, end), slice(self.rows[start], self.rows[end - 1] + 1)) for start, end in edges]


def one_row(num_tokens: int, row: int = 0) -> PassRows:
    """A single row with tokens of its own and no padding."""
    return PassRows([row], [num_tokens], [num_tokens])
