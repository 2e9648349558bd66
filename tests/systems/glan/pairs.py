"""Pairs for tests."""

from tenfold.systems.glan.tree import Pair

GOOD_QUESTION = "How does the boiling point of water change with height above the sea, and why?"
GOOD_ANSWER = (
    "It falls, because the pressure of the air falls with height, so that the vapour reaches it at a lower temperature."
)


def make_pair(instruction=GOOD_QUESTION, answer=GOOD_ANSWER, *, id="a", truncated=False, **changes):
    values = {
        "field": "Physical and earth sciences",
        "branch": "Physics",
        "discipline": "Thermodynamics",
        "subject": "Phase changes",
        "level": "beginner",
        "sessions": ("Boiling",),
        "concepts": ("vapour pressure",),
        "strategy": "one session",
        "draw": 0,
        "split": "train",
        "lineage": ("1", "2", "3", "4"),
    }
    return Pair(id=id, instruction=instruction, answer=answer, truncated=truncated, **values | changes)
