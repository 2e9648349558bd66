"""Scripted models that look at scenes, or do not, and the questions they are asked."""

from collections import defaultdict
from dataclasses import replace
from functools import cache

from tenfold.llm.chat import ChatReply, ChatRequest
from tenfold.llm.scripted import Scripted
from tenfold.systems.deepeval.data import load
from tenfold.systems.deepeval.items import LETTERS, Item

SCENES = load("scenes")
SCENES = replace(SCENES, picture=cache(SCENES.picture))  # drawing takes longer than all that the tests do with the pictures


def shown_place(request: ChatRequest, option: str, item: Item) -> int:
    """At which place of the list the request shows an option."""
    text = request.messages[-1].text
    ordered = sorted(item.options, key=lambda each: text.index(f" {each}\n"))
    return ordered.index(option)


@cache
def items_by_picture() -> dict[str, list[Item]]:
    """The questions about each picture, by the checksum of its bytes."""
    found: dict[str, list[Item]] = defaultdict(list)
    checksums = {image_id: SCENES.picture(image_id) for image_id in SCENES.annotations}
    for item in SCENES.items:
        picture = checksums[item.image_id]
        assert picture
        found[picture.sha256].append(item)
    return found


def right_place(request: ChatRequest) -> int | None:
    """The place of the right option for the picture in the request; None where no picture or question fits."""
    if not request.images:
        return None
    text = request.messages[-1].text
    for item in items_by_picture().get(request.images[-1].sha256, ()):
        if all(f" {option}\n" in text for option in item.options):
            return shown_place(request, item.answer, item)
    return None


def ranks(place: int) -> ChatReply:
    return ChatReply(
        "", candidate_logprobs=tuple(0.0 if place == it else -9.0 for it in range(4)), candidate_tokens=(1,) * 4
    )


def answer(request: ChatRequest, place: int) -> ChatReply:
    return ranks(place) if request.candidates else ChatReply(f"The answer is ({LETTERS[place]}).")


def seeing(name: str = "seer") -> Scripted:
    """Always right when it is shown the true picture; else it takes the first option."""
    return Scripted(name, lambda request: answer(request, right_place(request) or 0), takes_images=True)


def blind(name: str = "blind") -> Scripted:
    """Takes pictures and never looks: its choice depends on the text alone."""
    return Scripted(name, lambda request: answer(request, len(request.messages[-1].text) % 4), takes_images=True)
