"""Tenfold: ten published methods for language models, each with the proof that it did what it claims.

The layers, and the only direction in which they import one another, are in docs/architecture.md.
"""

__version__ = "0.1.0"
