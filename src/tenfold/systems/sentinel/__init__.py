"""Sentinel tokens (arXiv 2406.10985): a token `<SR>` closes each chunk of a text and sums it up for all later tokens.

Claim: a model trained this way predicts text better, and the same checkpoint can forget old text and keep the sums.

    ours              paper          meaning
    sentinel, `<SR>`  <SR>           the one new token, at the end of every chunk
    chunk, c          chunk          a sentence, or what another chunker cuts
    rule              modified mask  who sees whom, given each entry's (order, i, c, d, level)
    quality           (the method)   every original token stays visible: raw = all
    compact           -              old original tokens leave the cache, sentinels stay: raw = window
    i, W, B           -              number of original tokens so far, window, block in which the window moves
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tenfold.systems.sentinel.layout import insert as insert
    from tenfold.systems.sentinel.layout import strip as strip
    from tenfold.systems.sentinel.lm import SentinelLM as SentinelLM
    from tenfold.systems.sentinel.perplexity import perplexity as perplexity
    from tenfold.systems.sentinel.rules import build_mask as build_mask
    from tenfold.systems.sentinel.settings import SentinelConfig as SentinelConfig
    from tenfold.systems.sentinel.wrapping import load as load
    from tenfold.systems.sentinel.wrapping import wrap as wrap

_HOMES = {
    "SentinelConfig": "settings",
    "SentinelLM": "lm",
    "build_mask": "rules",
    "insert": "layout",
    "load": "wrapping",
    "perplexity": "perplexity",
    "strip": "layout",
    "wrap": "wrapping",
}

__all__ = ["SentinelConfig", "SentinelLM", "build_mask", "insert", "load", "perplexity", "strip", "wrap"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"tenfold.systems.sentinel.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
