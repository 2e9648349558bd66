"""What a run of `generate` has made and cost, as metrics, and in words for the terminal."""

import time
from collections import Counter
from collections.abc import Mapping

from tenfold.core.records import Metrics
from tenfold.store.artifacts import sha256
from tenfold.store.ledger import Ledger
from tenfold.store.runs import Run
from tenfold.systems.glan.asking import KINDS
from tenfold.systems.glan.budget import BudgetConfig, owed_in, spent_in
from tenfold.systems.glan.reading import Tally


def totals(tallies: Mapping[str, Tally]) -> Metrics:
    """Sums over disciplines; coverage is None where there is nothing to cover."""
    names = ("subjects", "syllabi", "sessions", "concepts", "sessions_used", "concepts_used", "wanted", "short", "replaced")
    sums = {name: sum(getattr(tally, name) for tally in tallies.values()) for name in names}
    missing = sum((tally.missing for tally in tallies.values()), Counter())
    unread = sum((tally.unread for tally in tallies.values()), Counter())
    return sums | {
        "disciplines": len(tallies),
        "session_coverage": sums["sessions_used"] / sums["sessions"] if sums["sessions"] else None,
        "concept_coverage": sums["concepts_used"] / sums["concepts"] if sums["concepts"] else None,
        "missing": dict(sorted(missing.items())),
        "unread": dict(sorted(unread.items())),
    }


def costs(ledger: Ledger, config: BudgetConfig) -> Metrics:
    """What the whole ledger has cost; `lost_tokens` are those of attempts without a reply, at their bound."""
    spent, lost = spent_in(ledger, KINDS), owed_in(ledger)
    return {
        "calls": spent.calls,
        "prompt_tokens": spent.prompt_tokens,
        "completion_tokens": spent.completion_tokens,
        "lost_tokens": lost.tokens,
        "usd": (spent + lost).usd(config),
    }


def ending(run: Run, started: float) -> Metrics:
    """How long it took, and the checksum of the data."""
    return {"seconds": round(time.monotonic() - started, 2), "sha256": sha256(run.folder / "pairs.jsonl")}


def describe(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    if "batch" in metrics:
        kinds = ", ".join(f"{kind} {number}" for kind, number in metrics["kinds"].items()) or "nothing: the tree is complete"
        known = f"{metrics['replies_in']} replies taken in, {metrics['failures_in']} failed"
        return f"{known}; {metrics['batch']} calls in {metrics['batch_file']} ({kinds})"
    money = f", {metrics['usd']:.2f} dollars" if metrics["usd"] is not None else ""
    tokens = f"{metrics['prompt_tokens'] + metrics['completion_tokens']:,} tokens{money}"
    if metrics.get("dry_run"):
        return f"{metrics['calls']:,} calls and about {tokens} are still to be asked"
    short = (
        [f"{metrics['short']} more could not be asked: their syllabi have no combination left"]
        if metrics.get("short")
        else []
    )
    replaced = f", {metrics['replaced']} asked to replace others" if metrics.get("replaced") else ""
    lines = [
        f"{metrics['accepted']} of {metrics['pairs']} pairs pass the gates; {metrics['wanted']} were wanted{replaced}",
        f"{metrics['asked']} calls in {metrics['seconds']:.0f} s; the ledger holds {metrics['calls']} calls, {tokens}",
    ]
    lines += short
    for name in ("gates", "unread", "missing", "failed"):
        if metrics[name]:
            lines.append(f"{name}: " + ", ".join(f"{key} {number}" for key, number in metrics[name].items()))
    return "\n".join([*lines, *([f"stopped: {metrics['stopped']}"] if metrics["stopped"] else [])])
