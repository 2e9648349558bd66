"""A training run, or a comparison, as a page of the report: rows and metrics come in; words, figures and tables go out.

Only what was measured is said, and the verdict says so where PeriodicLoRA does not help.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.core.records import Metrics, Page, Table
from tenfold.store.environment import is_contended
from tenfold.systems.plora import charts

Row = Mapping[str, Any]
TITLE = "Tune: PeriodicLoRA"


def build_training(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `train`."""
    by_key = {row["key"]: row for row in rows}
    stages = by_key.get("stages", {}).get("stages", [])
    curves = {"loss": by_key["steps"]["losses"]} if "steps" in by_key else {}
    exhibits = [charts.losses(curves, [stage["step"] for stage in stages], {})] if curves else []
    if stages:
        exhibits += [charts.ranks(stages, metrics["live_rank"]), charts.telemetry(stages)]
    return Page(
        TITLE,
        verdict=_training_verdict(metrics),
        story=[_method(), _training_limits(metrics)],
        facts={
            "Held-out loss": f"{metrics['loss_before']:.3f} to {metrics['loss_after']:.3f}",
            "Rank of the whole update": str(metrics["total_rank"]),
            "Rank that was trained at a time": str(metrics["live_rank"]),
            "Stages": str(metrics["stages"]),
            "Numbers trained at a time": f"{metrics['trainable_parameters'] / 1e6:.2f} M",
            "Seconds spent on unloading": f"{metrics['unload_seconds']:.1f}",
        },
        exhibits=[*exhibits, *([_stages_table(stages)] if stages else [])],
    )


def build_comparison(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run of `compare`."""
    lines = metrics["methods"]
    curves, unloads = _curves(rows, metrics)
    colours = {line["title"]: charts.COLOURS[line["method"]] for line in lines}
    found = [charts.abilities(lines), charts.losses(curves, unloads, colours), _table(metrics)]
    return Page(
        TITLE,
        verdict=_verdict(metrics),
        story=[_method(), _fairness(metrics), _reading(metrics), _limits(metrics)],
        facts=_facts(metrics),
        exhibits=[exhibit for exhibit in found if exhibit is not None],
    )


def _training_verdict(metrics: Metrics) -> str:
    before, after = metrics["loss_before"], metrics["loss_after"]
    learned = f"brought the loss on held-out rows from {before:.3f} to {after:.3f}"
    if after >= before:
        learned = f"did not help: the loss on held-out rows went from {before:.3f} to {after:.3f}"
    return (
        f"{metrics['steps']} steps in {metrics['stages']} short stages of rank {metrics['live_rank']} left "
        f"{metrics['model']} with an update of rank {metrics['total_rank']}, which {learned}."
    )


def _training_limits(metrics: Metrics) -> str:
    return (
        f"The model was trained on {metrics['rows']} rows of {metrics['data']} and measured on rows it was not trained on."
        " A lower loss there says that such answers surprise it less, and no more: whether they are right, whether plain"
        " LoRA would have done as well, and what was forgotten, is for `tenfold plora compare` to say."
    )


def _verdict(metrics: Metrics) -> str:
    line = next((line for line in metrics["methods"] if line["method"] == "plora"), None)
    setting = f"on {metrics['rows']} rows of {metrics['data']} with {metrics['model']}"
    if line is None:
        return f"LoRA was compared {setting}, without PeriodicLoRA."
    ability = line["learning_ability"]["dev"]
    if ability is None:
        return f"Nothing can be said {setting}: LoRA itself gained nothing on held-out rows that is clear of chance."
    low, high = ability["interval"]
    words = f"{ability['value']:.2f} times LoRA's gain on held-out rows ({low:.2f} to {high:.2f})"
    memory, time = _times(metrics["peak_memory_vs_lora"]["plora"]), _times(metrics["time_vs_lora"]["plora"])
    time = "its time unknown because the machine was busy" if is_contended(metrics["contention"]) else f"in {time} its time"
    cost = f"at {memory} its memory, {time}"
    if low > 1:
        return f"PeriodicLoRA learned more than LoRA {setting}: {words}, {cost}."
    if high < 1:
        return f"PeriodicLoRA learned less than LoRA {setting}: {words}, {cost}."
    return f"PeriodicLoRA and LoRA cannot be told apart {setting}: {words}, {cost}."


def _method() -> str:
    return (
        "Fine-tuning changes a model's weights. LoRA trains only a small correction to each weight matrix, of low rank, so"
        " it needs little memory, and its low rank limits what it can learn. PeriodicLoRA trains in short stages: at the end"
        " of each it adds the small correction to the weights and starts a new one. The sum of many small corrections has"
        " a high rank, while only one small correction is trained at a time. The corrections are kept one by one, so the"
        " original weights are never lost, and any stage can be taken back."
    )


def _fairness(metrics: Metrics) -> str:
    order = (
        "The first batch gave every method the same loss, as it must."
        if metrics["same_first_batch"]
        else "The first batch did not give every method the same loss: do not trust it."
    )
    tried = max(len(rates) for rates in metrics["dev_loss_by_rate"].values())
    rates = (
        f"Each method took the best of {tried} learning rates, as measured on the held-out rows."
        if tried > 1
        else "Learning rates were fixed beforehand: one for all methods with adapters, one for full fine-tuning."
    )
    return (
        f"All methods saw the same rows in the same order, {metrics['steps']} steps and {metrics['tokens']:,} tokens,"
        f" each in a process of its own. {order} {rates}"
    )


def _reading(metrics: Metrics) -> str:
    return (
        "Gain means: by how much the loss is lower than that of the untrained model"
        f" ({metrics['base']['train_probe']:.3f} on training rows, {metrics['base']['dev']:.3f} on held-out rows). LoRA's"
        " gain counts as 1. The intervals come from drawing rows and seeds anew, the same for both methods. Forgetting is by"
        " how much the loss on a fixed text rose that has nothing to do with the rows."
    )


def _limits(metrics: Metrics) -> str:
    text = "What this does not show: other models, other data, longer training, or answers instead of losses."
    if len(metrics["seeds"]) == 1:
        text += (
            " There is one seed only, so the intervals know nothing of the luck of a start: treat small differences as none."
        )
    if is_contended(metrics["contention"]):
        text += (
            f" Other programs took {metrics['contention']:.0%} of the machine, so the times prove nothing; the losses stand."
        )
    if metrics["profile"] == "tiny":
        text += " The model is a random one of two layers: this run tests the machinery and says nothing of the methods."
    return text


def _facts(metrics: Metrics) -> dict[str, str]:
    facts = {}
    for line in metrics["methods"]:
        ability = line["learning_ability"]["dev"]
        if line["method"] != "lora" and ability is not None:
            low, high = ability["interval"]
            facts[f"{line['title']}: gain beside LoRA's"] = f"{ability['value']:.2f} ({low:.2f} to {high:.2f})"
    if (memory := metrics["peak_memory_vs_lora"].get("plora")) is not None:
        facts["PeriodicLoRA's peak memory beside LoRA's"] = f"{memory:.3f}"
    if (time := metrics["time_vs_lora"].get("plora")) is not None:
        facts["PeriodicLoRA's time for a step beside LoRA's"] = f"{time:.3f}"
    return facts


def _curves(rows: Sequence[Row], metrics: Metrics) -> tuple[dict[str, Sequence[float]], Sequence[int]]:
    """The losses of each method under the first seed at its rate, and the unloads of PeriodicLoRA."""
    curves: dict[str, Sequence[float]] = {}
    unloads: Sequence[int] = []
    for line in metrics["methods"]:
        for row in rows:
            if (row["method"], row["rate"], row["seed"]) == (line["method"], line["rate"], metrics["seeds"][0]):
                curves[line["title"]] = row["losses"]
                unloads = row["unloads"] or unloads
    return curves, unloads


def _table(metrics: Metrics) -> Table:
    columns = [
        "Method",
        "Trained, M",
        "Loss, training rows",
        "Loss, held out",
        "Gain, training rows",
        "Gain, held out",
        *(["Answers right"] if "exact_match" in metrics["methods"][0] else []),
        "Forgetting",
        "Rank",
        "Memory, MB",
        "Seconds",
        "Tokens per second",
        "Unloading, s",
    ]
    caption = "Means over the seeds. Gain: LoRA's is 1; a dash where LoRA's own gain is not clear of chance."
    return Table("All methods in numbers", caption, columns, [_cells(line) for line in metrics["methods"]])


def _cells(line: Row) -> list[str]:
    memory = line["peak_device_bytes"] or line["peak_anonymous_bytes"]
    return [
        line["title"],
        f"{line['trainable'] / 1e6:.2f}",
        f"{line['train_probe_loss']:.4f}",
        f"{line['dev_loss']:.4f}",
        *(_ability(line["learning_ability"][measure]) for measure in charts.MEASURES),
        *([f"{line['exact_match']:.1%}"] if "exact_match" in line else []),
        f"{line['forgetting']:+.4f}",
        f"{line['rank']:.1f}",
        "–" if memory is None else f"{memory / 1e6:.0f}",
        f"{line['seconds']:.0f}",
        f"{line['tokens_per_second']:.0f}",
        f"{line['unload_seconds']:.1f}",
    ]


def _stages_table(stages: Sequence[Row]) -> Table:
    columns = [
        "Stage",
        "After step",
        "Why",
        "Size beside the weights",
        "Rank so far",
        "Overlap",
        "Loss before",
        "Loss after",
    ]
    return Table(
        "The stages in numbers",
        "A dash marks what was not measured.",
        columns,
        [_stage(*row) for row in enumerate(stages, 1)],
    )


def _stage(number: int, stage: Row) -> list[str]:
    loss = ["–" if stage[key] is None else f"{stage[key]:.4f}" for key in ("loss_before", "loss_after")]
    numbers = [f"{stage['relative_norm']:.3%}", f"{stage['total_rank']:.1f}", f"{stage['overlap']:.2f}"]
    return [str(number), str(stage["step"]), stage["trigger"], *numbers, *loss]


def _ability(ability: Mapping[str, Any] | None) -> str:
    return "–" if ability is None else f"{ability['value']:.2f}"


def _times(ratio: float | None) -> str:
    return "an unknown part of" if ratio is None else f"{ratio:.2f} times"
