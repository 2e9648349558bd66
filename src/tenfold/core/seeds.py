"""Independent random streams from one seed: each purpose derives its own, so that adding one moves no other."""

import hashlib


def derive(seed: int, *labels: str | int) -> int:
    """A 63-bit seed that depends on `seed` and the labels alone, the same on every machine."""
    text = "/".join(str(part) for part in (seed, *labels))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
