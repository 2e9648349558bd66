"""Teachers by name: `openai:NAME`, a local model such as `smollm2`, and `scripted`, which needs no model.

The scripted teacher answers from the request alone, by templates over the names in it. It is for tests, dry runs and
demonstrations; nothing is learnt from its texts. `scripted:defects` also cuts off, echoes and refuses now and then.
"""

import json
import random
import re
from collections.abc import Sequence

from tenfold.core.registry import load_target
from tenfold.core.seeds import derive
from tenfold.llm.chat import ChatModel, ChatReply, ChatRequest
from tenfold.llm.opening import PREFIX
from tenfold.llm.scripted import Scripted

SCRIPTED = "scripted"
WITH_DEFECTS = "scripted:defects"
DEFECT_SHARE = 0.15
THEMES = (
    "Foundations",
    "Methods",
    "History",
    "Practice",
    "Models",
    "Measurement",
    "Ethics",
    "Applications",
    "Systems",
    "Cases",
)
LEVELS = ("beginner", "intermediate", "advanced")
FACETS = ("terms", "a first model", "a worked example", "limits", "tools", "common errors", "open questions", "a case study")


def open_teacher(name: str, *, concurrency: int = 16) -> ChatModel:
    """The teacher of this name.

    Raises:
        MissingArtifactError: there is no such model here.
        UserError: an endpoint without a key.
    """
    if name in (SCRIPTED, WITH_DEFECTS):
        return scripted_teacher(defects=DEFECT_SHARE if name == WITH_DEFECTS else 0.0)
    if name.startswith(PREFIX):
        return load_target("tenfold.llm.opening:open_endpoint")(name, concurrency=concurrency)
    return load_target("tenfold.nn.vision:open_model")(name)


def is_local(name: str) -> bool:
    """Whether the teacher runs in this process, where a grammar holds it to a schema."""
    return name not in (SCRIPTED, WITH_DEFECTS) and not name.startswith(PREFIX)


def scripted_teacher(*, defects: float = 0.0, latency_s: float = 0.0) -> Scripted:
    """A teacher whose reply depends on the request only; a share of questions' answers is defective."""
    name = SCRIPTED if not defects else f"{SCRIPTED} with {defects:g} defects"
    return Scripted(name, lambda request: scripted_reply(request, defects), latency_s=latency_s)


def scripted_reply(request: ChatRequest, defects: float = 0.0) -> ChatReply | str:
    """What the scripted teacher says, from the request alone."""
    last = request.messages[-1].text
    rng = random.Random(derive(request.seed or 0, last))
    if len(request.messages) > 1:
        return _as_json_lines(request.messages[1].text)
    if found := re.search(r"student of (.+?) (?:take|should take)", last):
        return _subjects(found[1], rng, as_json=request.json_schema is not None)
    if found := re.search(r"(?:teach the|The) subject (.+?) of ", last):
        return _syllabus(found[1], rng, as_json=request.json_schema is not None)
    if found := re.search(r"key concepts of the lessons: (.+?)\. ", last):
        return _question(found[1].split("; "), rng)
    return _reply_to(last, rng, defects)


def _subjects(discipline: str, rng: random.Random, *, as_json: bool) -> str:
    chosen = [f"{theme} of {discipline}" for theme in rng.sample(THEMES, 6)]
    rows = [{"subject_name": name, "level": rng.choice(LEVELS), "subtopics": rng.sample(FACETS, 3)} for name in chosen]
    if as_json:
        return json.dumps({"subjects": rows})
    return "\n".join(f"- {row['subject_name']} ({row['level']}): {', '.join(row['subtopics'])}" for row in rows)


def _syllabus(subject: str, rng: random.Random, *, as_json: bool) -> str:
    rows = []
    for number in range(1, rng.randint(3, 5) + 1):
        concepts = [f"{facet} {number} of {subject}" for facet in rng.sample(FACETS, rng.randint(3, 5))]
        rows.append({"session": f"Lesson {number} of {subject}", "key_concepts": concepts})
    if as_json:
        return json.dumps({"sessions": rows})
    return "\n".join(f"Session: {row['session']}: {'; '.join(row['key_concepts'])}" for row in rows)


def _as_json_lines(text: str) -> str:
    rows = [_row(line) for line in text.splitlines() if ": " in line]
    return "```\n" + "\n".join(json.dumps(row) for row in rows) + "\n```"


def _row(line: str) -> dict[str, object]:
    if line.startswith("Session: "):
        name, _, concepts = line.removeprefix("Session: ").partition(": ")
        return {"session": name, "key_concepts": concepts.split("; ")}
    head, _, subtopics = line.removeprefix("- ").partition(": ")
    name, _, level = head.partition(" (")
    return {"subject_name": name, "level": level.rstrip(")"), "subtopics": subtopics.split(", ")}


def _question(concepts: Sequence[str], rng: random.Random) -> str:
    figure = rng.randint(12, 9999)
    return (
        f"A class of {figure} students compares {' with '.join(concepts)}. What does each of them explain that the others "
        f"leave open, and what would you tell student number {rng.randint(1, figure)}?"
    )


def _reply_to(question: str, rng: random.Random, defects: float) -> ChatReply | str:
    words = re.findall(r"[A-Za-z]{5,}", question)
    rng.shuffle(words)
    body = (
        f"Begin with {' and '.join(words[:2]) or 'the terms'}, because the rest of the lesson builds on it. Then use "
        f"{rng.choice(FACETS)} to check it on {rng.randint(2, 99)} examples. The result holds where the conditions of the "
        f"lesson hold, and it fails where they do not."
    )
    if rng.random() >= defects:
        return body
    defective = (
        ChatReply(body[:-40], "length"),
        f"{question} {body[:30]}",
        "I am sorry, but I cannot help with that request.",
    )
    return rng.choice(defective)
