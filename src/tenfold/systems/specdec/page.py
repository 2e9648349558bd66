"""A Spec-Bench run as a page of the report: rows and metrics come in; words, figures and a table go out.

Only what was measured is said: a baseline that did not run or an interval that was not computed is left out. A changed
text, a failed prompt and a busy machine are said in the verdict itself.
"""

from collections.abc import Sequence

from tenfold.core.records import Page
from tenfold.store.environment import is_contended
from tenfold.systems.specdec.exhibits import acceptance, drafted_text, drafter_table, seconds, speedups, task_table
from tenfold.systems.specdec.labels import (
    METHODS,
    PROMPTS_OF,
    Metrics,
    Row,
    count,
    has_interval,
    listed,
    num_identical,
    speedup_key,
    speedup_text,
    timed_baselines,
)

FEW_PROMPTS = 100
"""Below this many prompts the order of the tasks is not settled."""


def build(rows: Sequence[Row], metrics: Metrics) -> Page:
    """The page of a run; `rows` are those of results.jsonl, one per prompt, failed ones included."""
    answered = [row for row in rows if "failure" not in row]
    title = "Speed: speculative decoding"
    if not answered:
        return Page(title, "No prompt was answered, so there is nothing to say about speed.", [])
    figures = [seconds(answered), speedups(metrics), acceptance(metrics)]
    exhibits = [*figures, drafted_text(answered), drafter_table(metrics), task_table(answered, metrics)]
    return Page(
        title,
        verdict=_verdict(answered, metrics, num_failed=len(rows) - len(answered)),
        story=[
            _speculation(metrics),
            _comparison(answered, metrics),
            _identity(answered, metrics),
            _limits(answered, metrics),
        ],
        facts=_facts(answered, metrics),
        exhibits=[exhibit for exhibit in exhibits if exhibit is not None],
    )


def _verdict(rows: Sequence[Row], metrics: Metrics, *, num_failed: int) -> str:
    prompts = f"{len(rows)} of {len(rows) + num_failed} prompts" if num_failed else count(len(rows), "prompt")
    busy = (
        ", on a machine so busy with other programs that the times prove nothing"
        if is_contended(metrics.get("contention"))
        else ""
    )
    num_changed = len(rows) - num_identical(rows)
    changed = f"; but {count(num_changed, 'text')} came out different from plain decoding" if num_changed else ""
    return f"{metrics['model']} answered {prompts} {_speed(metrics)}{busy}{changed or ', and not one token changed'}."


def _speed(metrics: Metrics) -> str:
    if not (baselines := timed_baselines(metrics)):
        return "with no baseline to compare with"
    speedup, name = metrics[speedup_key(baselines[0])], METHODS[baselines[0]].name
    return f"{speedup:.1f} times as fast as {name}" if speedup >= 1 else f"at only {speedup:.2f} times the speed of {name}"


def _speculation(metrics: Metrics) -> str:
    ngram = (
        " The drafter here is a simple one: it looks for the last place in the prompt or the answer where the same few"
        " tokens stood, and proposes what followed them there."
    )
    return (
        "A language model writes one token, a word or a part of one, at a time, and each costs a pass through the whole"
        " model. Most of a pass goes into fetching the model's weights from memory, so checking several tokens at once"
        " costs little more than writing one. Speculative decoding uses this: a cheap drafter guesses the next few"
        " tokens, the model checks all guesses in one pass and keeps those that it would have written itself. At the"
        " first wrong guess its own token counts instead, and the round begins anew."
        f"{ngram if metrics.get('drafter') == 'ngram' else ''}"
    )


def _comparison(rows: Sequence[Row], metrics: Metrics) -> str:
    prompts = f"The model answered {count(len(rows), 'prompt')}{PROMPTS_OF.get(metrics.get('data', ''), '')}"
    if not (baselines := timed_baselines(metrics)):
        return f"{prompts} with Tenfold only; no other method was timed."
    methods = listed(["Tenfold", *(METHODS[method].name for method in baselines)])
    interval = "; the range behind it is its 95% confidence interval" if has_interval(metrics) else ""
    lookup = " Prompt lookup is Transformers' own form of guessing." if any("pld" in method for method in baselines) else ""
    return (
        f"{prompts} with each method in turn: {methods}.{lookup} The speed-up on a prompt is the baseline's time per token"
        " divided by ours, the reading of the prompt included; for several prompts we give the geometric mean"
        f"{interval}."
    )


def _identity(rows: Sequence[Row], metrics: Metrics) -> str:
    same = num_identical(rows)
    reason = (
        " This is by construction and not by luck: the engine adds up its numbers in the same order however many tokens a"
        " pass checks, so that even the last bit of every result is the same."
    )
    fault = " A text that differs is a fault until it is explained: do not rely on the speed-up before."
    explanation = fault if same < len(rows) else reason if metrics.get("exactness") == "bit" else ""
    return (
        "Identical means: the same tokens, from the first to the last, as the same engine writes to the same prompt when"
        f" nothing is guessed. Both were run and compared token by token; {same} of {len(rows)} agree."
        f"{explanation}{_agreement_with_transformers(rows)}"
    )


def _agreement_with_transformers(rows: Sequence[Row]) -> str:
    methods = [row["methods"] for row in rows if "transformers" in row["methods"]]
    if not methods:
        return ""
    same = sum(of["tenfold"]["text"] == of["transformers"]["text"] for of in methods)
    tie = "; where two tokens are nearly tied its rounding can tip the choice, and the texts part from there"
    return (
        f" Transformers, another program, wrote {same} of {len(methods)} texts the same{tie if same < len(methods) else ''}."
    )


def _limits(rows: Sequence[Row], metrics: Metrics) -> str:
    text = (
        "What this does not show: how good the answers are, for they are the model's own either way; nor what happens"
        " with other models, longer answers, random sampling, many requests at once, or on another machine. The gain"
        " depends on the text, too: answers that repeat their prompt gain most, free writing least."
    )
    if len(rows) < FEW_PROMPTS:
        text += f" This run is small ({count(len(rows), 'prompt')}): with more, the order of the tasks may change."
    if is_contended(metrics.get("contention")):
        share = f"{metrics['contention']:.0%}"
        text += f" Other programs took {share} of the machine, so measure the times again; identity stands as it is."
    return text


def _facts(rows: Sequence[Row], metrics: Metrics) -> dict[str, str]:
    facts = {f"Speed-up over {METHODS[method].name}": speedup_text(metrics, method) for method in timed_baselines(metrics)}
    facts["Texts identical to plain decoding"] = f"{num_identical(rows)} of {len(rows)}"
    if (accepted := metrics.get("mean_accepted_tokens")) is not None:
        facts["Tokens per pass of the model"] = f"{accepted:.2f}"
    if rate := metrics.get("tokens_per_second", {}).get("tenfold"):
        facts["Tokens per second"] = f"{rate:.0f}"
    if threads := metrics.get("threads"):
        facts["Processor threads"] = str(threads)
    if (contention := metrics.get("contention")) is not None:
        facts["Machine taken by other programs"] = f"{contention:.0%}"
    return facts
