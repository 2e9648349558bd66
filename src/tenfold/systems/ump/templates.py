"""The prompts: what the model is told before it sees a problem. Their texts are the files under `prompts/`.

direct    the problem, and how to end
cot       the same with "step by step"
hint      the same with one warning that a problem may be flawed
padding   neutral advice, as long as CCC: what sheer length does
ccc       Critical Calculation and Conclusion, in any non-empty subset of its three stages

The wording is ours; the paper's is not known to us. Instructions come first and the problem last, so that a local model
computes what all problems share only once.
"""

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Literal

from tenfold.core.config import canonical_json
from tenfold.core.errors import ConfigError, UnknownNameError

TEMPLATES = ("direct", "cot", "hint", "padding", "ccc")
STAGES = ("critical", "calculation", "conclusion")
ALL_STAGES = ",".join(STAGES)
Mode = Literal["one", "turns", "gate"]
MODES: tuple[Mode, ...] = ("one", "turns", "gate")
CCC = "ccc"
GATE = re.compile(r"\b(UNSOUND|SOUND)\b")
FIELD = re.compile(r"\{(\w+)\}")


def check_template(name: str) -> str:
    """The name, or UnknownNameError with those we know."""
    if name not in TEMPLATES:
        raise UnknownNameError("template", name, TEMPLATES)
    return name


def parse_stages(text: str) -> tuple[str, ...]:
    """A comma list of stages, in the order in which they are asked.

    Raises:
        UnknownNameError: a stage that we do not know.
        ConfigError: none is named.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in STAGES:
            raise UnknownNameError("stage", name, STAGES)
    if not names:
        raise ConfigError(f"stages is {text!r}, which names none; give one or more of {ALL_STAGES}")
    return tuple(stage for stage in STAGES if stage in names)


def parse_mode(name: str, stages: tuple[str, ...] = STAGES) -> Mode:
    """The mode, or an error that names what is accepted.

    Raises:
        UnknownNameError: a mode that we do not know.
        ConfigError: `gate` without the stage whose outcome it waits for.
    """
    mode: Mode | None = next((each for each in MODES if each == name), None)
    if mode is None:
        raise UnknownNameError("mode", name, MODES)
    if mode == "gate" and "critical" not in stages:
        raise ConfigError(f"mode is gate, but the stages are {','.join(stages)}; gate needs the stage critical")
    return mode


@cache
def prompt(name: str) -> str:
    """The text of a prompt file, without the last line break."""
    return (files("tenfold.systems.ump") / "prompts" / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n")


def fill(name: str, **fields: str) -> str:
    """The prompt with its {fields} replaced, once and literally; braces inside the values stay."""
    return FIELD.sub(lambda match: fields[match.group(1)], prompt(name))


def in_one(template: str, question: str, stages: tuple[str, ...] = STAGES) -> str:
    """The whole prompt as one message."""
    if template == CCC:
        return fill(CCC, stages="\n\n".join(_numbered(stages)), question=question)
    return fill(template, closing=prompt("closing"), question=question)


def in_turns(question: str, stages: tuple[str, ...], *, gate: bool = False) -> dict[str, str]:
    """The user's message of each stage of CCC, in order; the first brings the problem."""
    texts = {stage: prompt(stage) for stage in stages}
    if gate:
        texts["critical"] += " " + prompt("gate")
    if stages[-1] != "conclusion":
        texts[stages[-1]] += " " + prompt("closing")
    texts[stages[0]] = fill("turn", stages=texts[stages[0]], question=question)
    return texts


def is_passed(critical: str) -> bool:
    """Whether the critical stage ends on SOUND; the last such word counts, and without one the problem is not passed."""
    found = GATE.findall(critical)
    return bool(found) and found[-1] == "SOUND"


def letter_question(template: str, question: str, stages: tuple[str, ...], *, flawed_first: bool) -> str:
    """The question between two letters; the template's advice stands before it, without its ending."""
    flawed, sound = prompt("options").splitlines()
    first, second = (flawed, sound) if flawed_first else (sound, flawed)
    return fill("letters", guidance=_guidance(template, stages), question=question, first=first, second=second)


def sha256(template: str, stages: tuple[str, ...], mode: Mode) -> str:
    """Names every word that a template may send."""
    texts = {name: prompt(name) for name in (*STAGES, "gate", "turn", "closing", "letters", "options", template)}
    return hashlib.sha256(canonical_json([texts, template, stages, mode]).encode()).hexdigest()


def _numbered(stages: tuple[str, ...]) -> list[str]:
    texts = [f"{number}. {prompt(stage)}" for number, stage in enumerate(stages, start=1)]
    return texts if stages[-1] == "conclusion" else [*texts, prompt("closing")]


def _guidance(template: str, stages: tuple[str, ...]) -> str:
    """What stands before the problem: the advice without what says how to end, which leaves nothing of `direct`."""
    if template == "direct":
        return ""
    if template == CCC:
        return "".join(f"{prompt(stage)}\n\n" for stage in stages if stage != "conclusion")
    advice = fill(template, closing="", question="").removesuffix("Problem: ").rstrip()
    return (advice.partition("\n\nPresentation.")[0] if template == "padding" else advice) + "\n\n"
