"""The report of a load test: speeds side by side, and the siege."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.apps.loadtest.loadtest import SIEGE
from tenfold.core.records import Figure, Metrics, Page, Table

Row = Mapping[str, Any]


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run."""
    many, few = metrics["many_against_few"]["clients"]
    siege = next((row for row in rows if row["key"] == SIEGE), None)
    facts = {f"{many} clients against {few}": f"{metrics['many_against_few']['ratio']:.2f}×"}
    for name, ratios in metrics["against_peers"].items():
        facts |= {f"Against {name}, {count} clients": f"{ratio['ratio']:.2f}×" for count, ratio in ratios.items()}
    if siege:
        facts |= {"Streams mixed up": f"{siege['mixed_up']} of {siege['read']}", "Streams lost": str(siege["lost"])}
    return Page(
        title="Serve: load",
        verdict=_verdict(metrics, siege),
        story=[
            "Clients ask the server again and again and read the answers as streams. Tokens are counted in the text that"
            " they received, with the model's own tokenizer, for each server alike.",
            *(
                ["In the siege, clients also leave in the middle of an answer, or send what cannot be answered."]
                if siege
                else []
            ),
        ],
        facts=facts,
        exhibits=[_speeds(metrics), *([_table(siege), *_memory(siege)] if siege else [])],
    )


def _verdict(metrics: Metrics, siege: Row | None) -> str:
    many, _ = metrics["many_against_few"]["clients"]
    rate = metrics["tokens_per_second"]["tenfold"][str(many)]
    told = f"{many} clients together get {rate:.0f} tokens a second."
    if siege is None:
        return told
    if siege["mixed_up"] or siege["lost"]:
        return f"{told} Under siege {siege['mixed_up']} streams were mixed up and {siege['lost']} were lost."
    return f"{told} Under siege each of {siege['read']} streams was the text that a lone request gets, and none was lost."


def _speeds(metrics: Metrics) -> Figure:
    data = [
        {
            "type": "bar",
            "name": name,
            "x": [f"{count} clients" for count in rates],
            "y": list(rates.values()),
            "hovertemplate": f"{name}, %{{x}}: %{{y:.1f}} tokens/s",
        }
        for name, rates in metrics["tokens_per_second"].items()
    ]
    layout = {"height": 360, "barmode": "group", "yaxis": {"title": {"text": "tokens a second, all clients together"}}}
    return Figure("Tokens a second", "The mean of the repeats; the servers took turns.", {"data": data, "layout": layout})


def _table(siege: Row) -> Table:
    names = {
        "read": "streams read to their end",
        "left": "streams left in the middle",
        "malformed": "malformed bodies",
        "oversized": "oversized prompts",
        "mixed_up": "texts that were not those of a lone request",
        "badly_refused": "bad requests that got no clear refusal",
        "lost": "requests that got no answer",
    }
    rows = [[told, str(siege[name])] for name, told in names.items()]
    rows += [
        [f"{told}, {point}", "–" if (value := siege[f"{name}_{key}_s"]) is None else f"{value:.2f} s"]
        for name, told in (("first_token", "time to the first token"), ("answer", "time to the last token"))
        for key, point in (("p50", "half of the streams"), ("p95", "95 % of the streams"))
    ]
    return Table("The siege", f"What happened in {siege['seconds']:.0f} seconds.", ["what", "count"], rows)


def _memory(siege: Row) -> list[Figure]:
    if not siege["memory_mib"]:
        return []
    times, values = zip(*siege["memory_mib"], strict=True)
    line = {"type": "scatter", "mode": "lines", "x": times, "y": values, "hovertemplate": "%{x:.0f} s: %{y:.0f} MiB"}
    layout = {
        "height": 320,
        "xaxis": {"title": {"text": "seconds"}},
        "yaxis": {"title": {"text": "memory of the server (MiB)"}, "rangemode": "tozero"},
    }
    growth = siege["memory_growth"]
    caption = "Resident memory." + (
        "" if growth is None else f" From the second fifth of the siege to the last it changed by {growth:+.1%}."
    )
    return [Figure("Memory", caption, {"data": [line], "layout": layout})]
