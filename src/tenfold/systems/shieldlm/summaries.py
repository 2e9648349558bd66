"""What a person reads in the terminal after `eval`."""

from collections.abc import Mapping
from typing import Any


def evaluation(metrics: Mapping[str, Any]) -> str:
    """A line or two for each part that was measured."""
    parts = (_labels, _rules, _irrelevant, _alarms, _injection, _explanations, _streams, _speed)
    return "\n".join(line for part in parts if (line := part(metrics)))


def _labels(metrics: Mapping[str, Any]) -> str:
    if "accuracy" not in metrics:
        return ""
    low, high = metrics["accuracy_interval"]
    lines = [
        f"{metrics['data']}: accuracy {metrics['accuracy']:.3f} ({low:.3f}-{high:.3f}) on {metrics['items']} items, "
        f"majority {metrics['majority']:.3f}",
        f"F1 safe {metrics['f1_safe']:.3f}, unsafe {metrics['f1_unsafe']:.3f}; "
        f"ECE {metrics['ece']:.3f}, after calibration {metrics['ece_calibrated']:.3f}",
    ]
    if "linear_accuracy" in metrics:
        lines.append(f"the linear floor: {metrics['linear_accuracy']:.3f}; gain {metrics['gain_over_linear']:+.3f}")
    if metrics["fpr_at_0.01"] is not None and metrics["fpr_at_0.05"] is not None:
        lines.append(f"false alarms asked 1 % and 5 %: {metrics['fpr_at_0.01']:.2%} and {metrics['fpr_at_0.05']:.2%}")
    return "\n".join(lines)


def _rules(metrics: Mapping[str, Any]) -> str:
    if "rule_gain" not in metrics:
        return ""
    low, high = metrics["rule_gain_interval"]
    flip = "none" if metrics["flip_accuracy"] is None else f"{metrics['flip_accuracy']:.1%}"
    return f"rule gain {metrics['rule_gain']:+.1%} ({low:+.1%} to {high:+.1%}), flip accuracy {flip}"


def _irrelevant(metrics: Mapping[str, Any]) -> str:
    if "irrelevant_flips" not in metrics:
        return ""
    flips = ", ".join(f"{n}: {share:.1%}" for n, share in metrics["irrelevant_flips"].items())
    return f"verdicts changed by other rules ({flips}), by their order {metrics['permutation_flips']:.1%}"


def _alarms(metrics: Mapping[str, Any]) -> str:
    found = {key.rsplit("_", 1)[1]: share for key, share in metrics.items() if key.startswith("over_flagging_")}
    shares = ", ".join(f"{lang} {share:.1%}" for lang, share in found.items())
    return f"harmless texts with alarming words that are flagged: {shares}" if found else ""


def _injection(metrics: Mapping[str, Any]) -> str:
    if "injection_tries" not in metrics:
        return ""
    return f"flags lost to injected verdicts: {metrics['injection_flips']} of {metrics['injection_tries']}"


def _explanations(metrics: Mapping[str, Any]) -> str:
    if "explanations" not in metrics:
        return ""
    return (
        f"{metrics['explanations']} explanations: {metrics['explanations_agree']:.0%} agree with their label, "
        f"{metrics['explanations_cite_existing']:.0%} cite an existing rule or none, "
        f"{metrics['explanations_verified']:.0%} are borne out"
    )


def _streams(metrics: Mapping[str, Any]) -> str:
    if "stream_ratio" not in metrics:
        return ""
    delay = "none" if metrics["stream_delay_median"] is None else f"{metrics['stream_delay_median']:.0f} tokens"
    return (
        f"streams: {metrics['stream_ratio']:.2f} tokens computed per token of text, {metrics['streams_stopped']} of "
        f"{metrics['streams_spliced']} stopped after the onset (median delay {delay}), "
        f"{metrics['stream_leaked_characters']} characters shown unjudged"
    )


def _speed(metrics: Mapping[str, Any]) -> str:
    if "prefill_seconds" not in metrics:
        return ""
    return (
        f"one prefill takes {metrics['prefill_seconds'] * 1000:.0f} ms: {metrics['speedup_over_256_tokens']:.1f} times as "
        f"fast as an answer of at most 256 tokens, {metrics['speedup_over_8_tokens']:.1f} as one of 8"
    )
