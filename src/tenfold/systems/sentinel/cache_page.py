"""A run of `cache` as a page of the report."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Metrics, Page, Table
from tenfold.store.environment import is_contended
from tenfold.systems.sentinel import charts
from tenfold.systems.sentinel.words import METHOD, TITLE, interval, size

Row = Mapping[str, Any]


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `cache`."""
    exhibits: list[Any] = []
    facts: dict[str, str] = {}
    if metrics["contenders"]:
        exhibits += [charts.rises(metrics["contenders"], metrics["fractions"]), _cache_table(metrics), _far_table(metrics)]
        facts |= {
            "Entries kept": f"{metrics['kv_fraction']:.1%}",
            "Cache": f"{size(metrics['kv_bytes'])} of {size(metrics['kv_bytes_full'])}",
            "Rise in perplexity": f"{metrics['ppl_rise']:+.2%}",
        }
    if "speed" in metrics:
        exhibits.append(charts.steps(metrics["speed"]))
        facts["Against Transformers' full cache"] = f"{metrics['decode_speedup']:.2f} times as fast"
    return Page(
        TITLE,
        verdict=_cache_verdict(metrics),
        story=[METHOD, _cache_limits(metrics)],
        facts=facts,
        exhibits=exhibits,
    )


def _cache_table(metrics: Metrics) -> Table:
    rows = []
    for name, line in metrics["contenders"].items():
        for fraction, rise in line["rise"].items():
            cells = [f"{line['held'][fraction]:,}", f"{line['full']['ppl']:.2f}", f"{line['compact'][fraction]['ppl']:.2f}"]
            rows.append([f"{name}, {float(fraction):.0%}", *cells, f"{rise['value']:+.2%}", interval(rise["ci"], "+.2%")])
    return Table(
        title="Cache by cache",
        caption="Perplexity with everything visible, and with so many entries.",
        columns=["cache", "entries", "full", "compact", "rise", "95 %"],
        rows=rows,
    )


def _far_table(metrics: Metrics) -> Table:
    found = metrics["far"]
    return Table(
        title="Tokens that need what is far away",
        caption=f"Perplexity of the {found['tokens']:,} tokens that lose most when the untrained base sees a bare window.",
        columns=["cache", "full", "compact"],
        rows=[[name, f"{each['full']:.1f}", f"{each['compact']:.1f}"] for name, each in found["perplexity"].items()],
    )


def _cache_verdict(metrics: Metrics) -> str:
    parts = []
    if "kv_fraction" in metrics:
        parts.append(
            f"With {metrics['kv_fraction']:.1%} of the entries perplexity is {metrics['ppl_rise']:+.2%} against the full"
            f" cache of the same weights; {_gap_words(metrics['gap_vs_streaming'], 'a bare window')}, "
            f"{_gap_words(metrics['gap_vs_separators'], 'kept separators')}"
        )
    if "speed" in metrics:
        parts.append(f"a decoding step is {metrics['decode_speedup']:.2f} times as fast as Transformers' with a full cache")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _gap_words(gap: Row, peer: str) -> str:
    if gap["value"] is None:
        return f"{peer} lost nothing here"
    return f"{gap['value']:.0%} of what {peer} loses"


def _cache_limits(metrics: Metrics) -> str:
    text = "All caches hold the same number of entries. The rise is against the same weights with everything visible."
    if any("untrained" in name for name in metrics["contenders"]):
        text += " What is called untrained was not trained for its cache."
    if is_contended(metrics.get("speed", {}).get("contention")):
        share = metrics["speed"]["contention"]
        text += f" Other programs took {share:.0%} of the machine while steps were timed: the times prove nothing."
    return text
