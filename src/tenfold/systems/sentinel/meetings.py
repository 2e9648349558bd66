"""QMSum: long meetings, questions and reference answers; a meeting is cut to what surrounds the place it was asked about."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tenfold.core import jsonl
from tenfold.systems.sentinel.data import read_place
from tenfold.systems.sentinel.pieces import Codec

PLACE = "text/qmsum/val.jsonl"
WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Question:
    """A cut meeting with its question."""

    id: str
    prompt: tuple[int, ...]
    answer: tuple[int, ...]
    reference: str


def questions(codec: Codec, *, length: int, most: int) -> list[Question]:
    """One question of each meeting, the first specific one, with `length` tokens of transcript around its gold spans."""
    found = []
    for number, meeting in enumerate(jsonl.read(read_place(PLACE))):
        asked = [each for each in meeting["specific_query_list"] if each.get("relevant_text_span")]
        if asked and len(found) < most:
            found.append(_question(f"meeting-{number}", meeting["meeting_transcripts"], asked[0], codec, length))
    return found


def rouge_l(found: str, reference: str) -> float:
    """F-measure of the longest common subsequence of words, lower case, 0 to 1 (Lin 2004)."""
    a, b = WORD.findall(found.lower()), WORD.findall(reference.lower())
    if not a or not b:
        return 0.0
    lengths = [0] * (len(b) + 1)
    for word in a:
        before = 0
        for k, other in enumerate(b, 1):
            before, lengths[k] = lengths[k], before + 1 if word == other else max(lengths[k], lengths[k - 1])
    common = lengths[-1]
    return 2 * common / (len(a) + len(b))


def _question(key: str, turns: Sequence[dict[str, str]], asked: dict, codec: Codec, length: int) -> Question:
    spans = [(int(first), int(last)) for first, last in asked["relevant_text_span"]]
    spoken = [codec.encode(f"{turn['speaker']}: {turn['content']}\n") for turn in turns]
    first, last = _around(min(a for a, _ in spans), max(b for _, b in spans), [len(turn) for turn in spoken], length)
    transcript = [token for turn in spoken[first : last + 1] for token in turn][:length]
    prompt = [*codec.beginning, *transcript, *codec.encode(f"\nQuestion: {asked['query']}\nAnswer:")]
    return Question(key, tuple(prompt), tuple(codec.encode(f" {asked['answer']}")), asked["answer"])


def _around(first: int, last: int, sizes: Sequence[int], length: int) -> tuple[int, int]:
    """The turns around `first` to `last` that fit into `length` tokens; spans that do not fit are cut at their end."""
    first, last = min(first, len(sizes) - 1), min(last, len(sizes) - 1)
    while sum(sizes[first : last + 1]) < length and (first > 0 or last < len(sizes) - 1):
        first, last = max(0, first - 1), min(len(sizes) - 1, last + 1)
    return first, last
