"""What shared words alone achieve: the option whose words are most like the description's, without any model.

A model that reads a description must beat this before its score means understanding. Equal options share the point.
"""

from collections.abc import Mapping, Sequence

from tenfold.systems.deepeval.items import Annotation, Item
from tenfold.systems.deepeval.likeness import Weights


def overlap_scores(items: Sequence[Item], annotations: Mapping[str, Annotation]) -> dict[str, float]:
    """The baseline's score on each question, by its id; words are weighted over all descriptions and right answers."""
    task = items[0].task
    texts = [text for annotation in annotations.values() for text in (annotation.description, annotation.text(task))]
    weights = Weights.of(texts)
    return {item.id: _score(item, annotations[item.image_id].description, weights) for item in items}


def _score(item: Item, description: str, weights: Weights) -> float:
    likeness = [weights.cosine(option, description) for option in item.options]
    best = max(likeness)
    return (likeness[item.gold] == best) / likeness.count(best)
