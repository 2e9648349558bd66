"""The data card of a set of one's own: what is in it, how it was made, how blind rules do on it, and what to mind."""

from collections.abc import Mapping, Sequence
from typing import Any

from tenfold.systems.deepeval.items import Task
from tenfold.systems.deepeval.quads import QuadSet


def data_card(
    *,
    name: str,
    num_pictures: int,
    num_files: int,
    sets: Mapping[Task, QuadSet],
    probes: Mapping[Task, Mapping[str, float]],
    files: Mapping[str, str],
    licence: str,
    seed: int,
) -> str:
    """The card as Markdown."""
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Questions about {num_pictures} pictures, in blocks of four. The four pictures of a block share the same"
            " four options in the same order, and each option is right for one of them. So an answerer that is"
            " deterministic and does not look at the picture scores exactly 25 %.",
            "",
            *_numbers(sets, probes),
            "",
            "## Files",
            "",
            *[f"- `{file}`, sha256 `{digest}`" for file, digest in files.items()],
            f"- `manifest.jsonl` and `pictures/`: {num_files} picture files. Questions without one drop out of all arms.",
            "",
            "## How it was made",
            "",
            f"`tenfold deepeval build`, seed {seed}: texts that are alike but not equivalent were brought into one block by"
            " seeded swaps. Texts that are equal are never in one block; above a cosine of .6 they are kept apart as far as"
            " possible.",
            "",
            "## What to mind",
            "",
            *[f"- {note}" for note in _notes(sets, licence)],
            "",
        ]
    )


def _numbers(sets: Mapping[Task, QuadSet], probes: Mapping[Task, Mapping[str, float]]) -> list[str]:
    head = ["| task | blocks | questions | left out | strongest blind rule | mean cosine | highest cosine |"]
    rule = ["|---|---|---|---|---|---|---|"]
    rows = [
        f"| {task} | {quads.num_blocks} | {len(quads.items)} | {len(quads.left_out)} | {max(probes[task].values()):.1%} of"
        f" {len(probes[task])} rules | {quads.mean_cosine:.3f} | {quads.max_cosine:.2f} |"
        for task, quads in sets.items()
    ]
    return [*head, *rule, *rows]


def _notes(sets: Mapping[Task, QuadSet], licence: str) -> Sequence[str]:
    left_out = [f"{task}: {', '.join(quads.left_out)}" for task, quads in sets.items() if quads.left_out]
    alike = [task for task, quads in sets.items() if quads.max_cosine > 0.6]
    notes: list[Any] = [f"Licence of the pictures and texts, as given: {licence}."]
    if left_out:
        notes.append(f"Left out, because blocks take four different texts: {'; '.join(left_out)}.")
    if alike:
        notes.append(
            f"Some options of {' and '.join(alike)} are much alike (cosine above .6): check that only one is right."
        )
    return [*notes, "Distractors are other pictures' texts: whether one of them fits as well must be judged by a person."]
