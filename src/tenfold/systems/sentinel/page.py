"""Runs as pages of the report: rows and metrics come in; words, figures and tables go out."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import ColouredText, Metrics, Page, Span, Table
from tenfold.systems.sentinel import charts
from tenfold.systems.sentinel.words import METHOD, TITLE, interval, size

Row = Mapping[str, Any]


def build_comparison(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `compare`."""
    arms = metrics["arms"]
    curves = {row["key"].removeprefix("trained/"): row["losses"] for row in rows if row["key"].startswith("trained/")}
    exhibits = [
        charts.gains(arms),
        charts.positions(arms),
        *([charts.losses(curves)] if curves else []),
        _arms_table(metrics),
    ]
    gain = metrics["gain"]
    return Page(
        TITLE,
        verdict=_gain_verdict(metrics),
        story=[METHOD, _fairness(metrics), _limits(metrics)],
        facts={
            "Perplexity with sentinels": f"{arms['sr']['ppl']:.2f}",
            "Perplexity of plain LoRA": f"{arms['lora']['ppl']:.2f}",
            "Gain over plain LoRA": f"{gain:+.2%}",
            "Tokens per sentinel": f"{metrics['tokens_per_sentinel']:.0f}",
            "Tokens of training": f"{metrics['train_tokens']:,}",
            "Seeds": str(len(metrics["seeds"])),
        },
        exhibits=exhibits,
    )


def build_training(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `train`."""
    before, after = metrics["before"], metrics["after"]
    change = metrics["quality_vs_plain"]
    table = Table(
        title="Before and after",
        caption="Perplexity of the same texts, original tokens only.",
        columns=["read", "before", "after"],
        rows=[[name, f"{before[view]['ppl']:.2f}", f"{after[view]['ppl']:.2f}"] for view, name in _views(metrics).items()],
    )
    curve = next(row["losses"] for row in rows if row["key"] == "steps")
    return Page(
        TITLE,
        verdict=(
            f"{metrics['steps']} steps taught {metrics['model']} its sentinels: read with them, perplexity went from "
            f"{before['quality']['ppl']:.2f} to {after['quality']['ppl']:.2f}; without them it is now "
            f"{after['plain']['ppl']:.2f} ({_direction(change)})."
        ),
        story=[
            METHOD,
            "What this does not show: whether plain LoRA on the same text would have done as well. That is answered by"
            " `tenfold sentinel compare`.",
        ],
        facts={
            "With sentinels": f"{after['quality']['ppl']:.2f}",
            "Without": f"{after['plain']['ppl']:.2f}",
            f"In a window of {metrics['window']}": f"{after['compact']['ppl']:.2f}",
            "Steps": str(metrics["steps"]),
            "Tokens per sentinel": f"{metrics['tokens_per_sentinel']:.0f}",
        },
        exhibits=[charts.losses({"training": curve}), table],
    )


def build_needles(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `needle`."""
    readers = metrics["readers"]
    table = Table(
        title="Reader by reader",
        caption="Ranked first among ten numbers; chance is a tenth.",
        columns=["reader", "all", "outside of the window", "cases outside"],
        rows=[
            [name, _rate(found["accuracy"]), _rate(found["outside"]), _cases(found["outside"])]
            for name, found in readers.items()
        ],
    )
    outside = readers["compact"]["outside"]
    verdict = (
        f"With {metrics['fraction']:.0%} of the cache, {_rate(outside)} of the numbers outside of the window were found;"
        f" with the full cache {_rate(readers['full']['outside'])}, "
        f"with a bare window {_rate(readers['streaming']['outside'])}."
    )
    return Page(
        TITLE,
        verdict=verdict if outside else "No number lay outside of the window: take longer texts or a smaller cache.",
        story=[METHOD, "A number of five digits is hidden in a book and asked for at the end. Ten numbers are ranked."],
        facts={name: _rate(found["accuracy"]) for name, found in readers.items()},
        exhibits=[*[charts.grid(name, found["grid"]) for name, found in readers.items()], table],
    )


def build_show(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `show`."""
    row = next(row for row in rows if row["key"] == "layout")
    spans = [
        Span(f"{piece}", _source(level, c)) for piece, level, c in zip(row["pieces"], row["level"], row["c"], strict=True)
    ]
    legend = {"even chunk": "text", "odd chunk": "text of the next chunk", "sentinel": "closes the chunk before it"}
    text = ColouredText("Chunks and sentinels", "Colours change from chunk to chunk.", spans, legend)
    return Page(
        TITLE,
        verdict=f"{metrics['tokens']} tokens fall into {metrics['chunks']} chunks, with {metrics['sentinels']} sentinels.",
        story=[METHOD],
        facts={"Longer by": f"{metrics['longer_by']:.1%}", "Chunker": metrics["chunker"]},
        exhibits=[text, charts.mask(row["seen"], row["pieces"])],
    )


def build_evaluation(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `eval`."""
    if metrics["task"] == "book":
        return Page(
            TITLE,
            verdict=(
                f"{metrics['tokens']:,} tokens of {metrics['document']} were read through a cache of at most "
                f"{metrics['kv_fraction']:.1%} of them, at perplexity {metrics['ppl']:.2f}."
            ),
            story=[METHOD],
            facts={"Perplexity": f"{metrics['ppl']:.2f}", "Tokens": f"{metrics['tokens']:,}"},
            exhibits=[charts.course(metrics["course"], metrics["tokens"])],
        )
    if metrics["task"] == "qmsum":
        return _meetings_page(metrics)
    names = _views(metrics)
    table = Table(
        title="Three ways to read",
        caption="Perplexity of original tokens.",
        columns=["read", "perplexity", "95 %"],
        rows=[[names[view], f"{found['ppl']:.2f}", interval(found["ci"])] for view, found in metrics["views"].items()],
    )
    arms = {view: {"title": names[view], "by_position": found} for view, found in metrics["by_position"].items()}
    return Page(
        TITLE,
        verdict=f"With sentinels perplexity is {_direction(metrics['quality_vs_plain'])} than without.",
        story=[METHOD],
        facts={names[view]: f"{found['ppl']:.2f}" for view, found in metrics["views"].items()},
        exhibits=[charts.positions(arms), table],
    )


def build_text(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `generate`."""
    row = next(row for row in rows if row["key"] == "text")
    spans = [Span(row["prompt"], "prompt"), Span(row["text"], "written")]
    legend = {"prompt": "given", "written": "written by the model"}
    return Page(
        TITLE,
        verdict=(
            f"The cache holds {metrics['entries']:,} entries for {metrics['read']:,} tokens, {size(metrics['kv_bytes'])}."
        ),
        story=[METHOD],
        facts={"Sentinels inserted": str(metrics["sentinels"]), "Tokens written": str(metrics["tokens"])},
        exhibits=[ColouredText("The text", "The end of the prompt, and what follows.", spans, legend)],
    )


def _gain_verdict(metrics: Metrics) -> str:
    gain, (low, high) = metrics["gain"], metrics["gain_ci"]
    setting = f"{metrics['model']}, {metrics['train_tokens']:,} tokens of training"
    words = f"{abs(gain):.2%} {'lower' if gain > 0 else 'higher'} (95% interval of the gain {low:+.2%} to {high:+.2%})"
    if low > 0:
        return f"Sentinels help: with {setting}, perplexity is {words} than plain LoRA's on the same text."
    if high < 0:
        return f"Sentinels do not help here: with {setting}, perplexity is {words} than plain LoRA's on the same text."
    return f"Sentinels and plain LoRA cannot be told apart with {setting}: perplexity is {words}."


def _fairness(metrics: Metrics) -> str:
    return (
        f"All arms saw the same {metrics['train_tokens']:,} original tokens in the same order, {metrics['steps']} steps at"
        f" the rate {metrics['rate']:g}. Perplexity counts original tokens only, the same for every arm, and the sentinel"
        " itself is left out of every softmax."
    )


def _limits(metrics: Metrics) -> str:
    text = "What this does not show: larger models, longer training, or what is done with the text afterwards."
    if len(metrics["seeds"]) == 1:
        text += " There is one seed only: the interval knows the luck of the texts, not that of the training."
    if metrics["profile"] == "tiny":
        text += " The model is a random one of two layers: this run tests the machinery and says nothing of the method."
    return text


def _arms_table(metrics: Metrics) -> Table:
    texts = list(next(iter(metrics["arms"].values()))["texts"])
    rows = []
    for found in metrics["arms"].values():
        change = found["vs_lora"]
        words = f"{change['value']:+.2%} ({interval(change['ci'], '+.2%')})" if change else ""
        rows.append(
            [found["title"], *(f"{found['texts'][text]['ppl']:.2f}" for text in texts), f"{found['ppl']:.2f}", words]
        )
    return Table(
        title="Arm by arm",
        caption="Perplexity of each text and of all, and the change against plain LoRA with its 95% interval.",
        columns=["arm", *texts, "all", "against LoRA"],
        rows=rows,
    )


def _meetings_page(metrics: Metrics) -> Page:
    rise, drop = metrics["answer_nats_rise"], metrics["rouge_l_drop"]
    return Page(
        TITLE,
        verdict=(
            f"With {metrics['kv_fraction']:.1%} of the cache, reference answers to {metrics['meetings']} questions about "
            f"meetings cost {rise['value']:+.2%} nats, and ROUGE-L of written answers drops by {drop['value']:.3f}."
        ),
        story=[METHOD],
        facts={name: f"{value:.3f}" for name, value in metrics["rouge_l"].items()},
    )


def _views(metrics: Metrics) -> dict[str, str]:
    return {"plain": "without sentinels", "quality": "with sentinels", "compact": f"in a window of {metrics['window']}"}


def _direction(change: Row) -> str:
    return f"{abs(change['value']):.2%} {'lower' if change['value'] < 0 else 'higher'}"


def _rate(found: Row | None) -> str:
    return f"{found['value']:.0%}" if found else "none"


def _cases(found: Row | None) -> str:
    return str(found["cases"]) if found else "0"


def _source(level: int, chunk: int) -> str:
    return "sentinel" if level else ("odd chunk" if chunk % 2 else "even chunk")
