"""What this home's pages share: the title, the method in plain words, and forms of numbers."""

from collections.abc import Sequence

TITLE = "Build: sentinel tokens"
METHOD = (
    "A sentinel is one new token that closes every chunk of a text, here mostly a sentence. It may look at its own chunk and"
    " nothing else, so what it holds is a summary. All later tokens may look at every sentinel. With everything visible"
    " (quality) the sentinels are extra help. With old text dropped from the cache (compact) they are what is left of it."
)


def size(num_bytes: float) -> str:
    """Bytes as a reader likes them."""
    return f"{num_bytes / 2**20:.0f} MiB" if num_bytes >= 10 * 2**20 else f"{num_bytes / 2**10:.0f} KiB"


def interval(ci: Sequence[float], form: str = ".2f") -> str:
    """An interval in words."""
    return f"{ci[0]:{form}} to {ci[1]:{form}}"
