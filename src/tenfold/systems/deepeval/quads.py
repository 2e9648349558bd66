"""Blocks of four pictures that share four options: questions that cannot be answered without looking.

In a block every picture is asked with the same options in the same order, and each option is right once. An answerer that
is deterministic and does not see the picture reads the same prompt four times, picks the same option four times, and is
right once: exactly 25 %, however it was trained (deepeval.md section 4).

Alike but not equivalent texts come together: cost(i, j) = 1e6 if equal ignoring case, 50 if the cosine is above .6, else
-2 cos + .8 |ln(1 + words_i) - ln(1 + words_j)|. A seeded shuffle is improved by swaps that lower the cost.
"""

# N texts
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from tenfold.core.errors import UserError
from tenfold.core.seeds import derive
from tenfold.systems.deepeval.items import Annotation, Item, Task
from tenfold.systems.deepeval.likeness import WORD, cosine_matrix

SIZE = 4
NUM_PROPOSALS = 250_000
MOST_ALIKE = 0.6
"""Above this cosine two texts may both be right."""
EQUAL, AMBIGUOUS, ALIKE, UNEVEN = 1e6, 50.0, -2.0, 0.8
UNIT = 1e-9
"""Costs are summed as whole numbers of this unit, so that a swap is judged the same on every machine."""

Block = tuple[int, ...]


@dataclass(frozen=True)
class Partition:
    """Blocks of four indices, and the indices in no block."""

    blocks: tuple[Block, ...]
    left_out: tuple[int, ...]


@dataclass(frozen=True)
class QuadSet:
    """The questions of one task, and the pictures that are in none of them."""

    items: tuple[Item, ...]
    left_out: tuple[str, ...]
    mean_cosine: float
    """Of the right option with its three distractors, over all questions."""
    max_cosine: float

    @property
    def num_blocks(self) -> int:
        return len(self.items) // SIZE


def collapse(text: str) -> str:
    """A text with each run of white space turned into one space, and none at its ends."""
    return " ".join(text.split())


def build_quads(
    annotations: Sequence[Annotation],
    task: Task,
    *,
    prompts: tuple[str, ...] = (),
    seed: int = 0,
    num_proposals: int = NUM_PROPOSALS,
) -> QuadSet:
    """Turns annotations into blocks of four questions; equal arguments give equal questions.

    Raises:
        UserError: there are fewer than four texts that differ.
    """
    texts = [collapse(annotation.text(task)) for annotation in annotations]
    cosines = cosine_matrix(texts)
    found = partition(cost_matrix(texts, cosines), _generator(seed, task), num_proposals=num_proposals)
    usable, repeated = _without_repeats(found.blocks, texts)
    if not usable:
        raise UserError(f"the {len(texts)} texts for {task!r} make no block of four different ones; give more annotations")
    pairs = [float(cosines[i, j]) for block in usable for i, j in combinations(block, 2)]
    left_out = sorted([*found.left_out, *(index for block in repeated for index in block)])
    return QuadSet(
        items=tuple(_items(usable, annotations, texts, task, prompts)),
        left_out=tuple(annotations[index].image_id for index in left_out),
        mean_cosine=float(np.mean(pairs)),
        max_cosine=max(pairs),
    )


def cost_matrix(texts: Sequence[str], cosines: NDArray[np.float64]) -> NDArray[np.int64]:
    """What it costs to have two texts in one block, in whole units; 0 on the diagonal."""
    log_lengths = np.log1p([len(WORD.findall(text.lower())) for text in texts])
    costs = ALIKE * cosines + UNEVEN * np.abs(log_lengths[:, None] - log_lengths[None, :])
    costs[cosines > MOST_ALIKE] = AMBIGUOUS
    _, kinds = np.unique([text.casefold() for text in texts], return_inverse=True)
    costs[kinds[:, None] == kinds[None, :]] = EQUAL
    np.fill_diagonal(costs, 0.0)
    return np.rint(costs / UNIT).astype(np.int64)


def partition(
    costs: NDArray[np.int64], generator: np.random.RandomState, *, num_proposals: int = NUM_PROPOSALS
) -> Partition:
    """Shuffles, cuts into fours, and swaps two places of two blocks wherever their summed cost falls strictly."""
    order = generator.permutation(len(costs)).tolist()
    num_blocks = len(order) // SIZE
    blocks = [order[SIZE * place : SIZE * (place + 1)] for place in range(num_blocks)]
    if num_blocks > 1:
        _improve(blocks, costs.tolist(), _proposals(num_blocks, generator, num_proposals))
    mixed = [tuple(block[place] for place in generator.permutation(SIZE)) for block in blocks]
    return Partition(tuple(mixed), tuple(order[SIZE * num_blocks :]))


def _proposals(num_blocks: int, generator: np.random.RandomState, count: int) -> list[tuple[int, int, int, int]]:
    """Two different blocks and a place in each, `count` times."""
    first = generator.randint(num_blocks, size=count)
    second = (first + generator.randint(1, num_blocks, size=count)) % num_blocks
    places = generator.randint(SIZE, size=(2, count))
    return list(zip(first.tolist(), second.tolist(), places[0].tolist(), places[1].tolist(), strict=True))


def _improve(blocks: list[list[int]], costs: list[list[int]], proposals: list[tuple[int, int, int, int]]) -> None:
    for first, second, place, other_place in proposals:
        ours, theirs = blocks[first], blocks[second]
        i, j = ours[place], theirs[other_place]
        row_i, row_j = costs[i], costs[j]
        change = -2 * row_i[j]  # the sums below count i beside j once on each side, yet they only change places
        for k in ours:
            change += row_j[k] - row_i[k]
        for k in theirs:
            change += row_i[k] - row_j[k]
        if change < 0:
            ours[place], theirs[other_place] = j, i


def _generator(seed: int, task: str) -> np.random.RandomState:
    """RandomState, because numpy promises never to change its stream."""
    return np.random.RandomState(derive(seed, "quads", task) % 2**32)


def _without_repeats(blocks: Sequence[Block], texts: Sequence[str]) -> tuple[list[Block], list[Block]]:
    """Blocks of four different texts, and the others."""
    differ = [len({texts[index].casefold() for index in block}) == SIZE for block in blocks]
    usable = [block for block, fine in zip(blocks, differ, strict=True) if fine]
    return usable, [block for block, fine in zip(blocks, differ, strict=True) if not fine]


def _items(
    blocks: Sequence[Block], annotations: Sequence[Annotation], texts: Sequence[str], task: Task, prompts: tuple[str, ...]
) -> list[Item]:
    """The questions block by block, within a block in the order of the right letters."""
    return [
        Item(
            id=f"{task}-{annotations[index].image_id}",
            image_id=annotations[index].image_id,
            task=task,
            options=(texts[block[0]], texts[block[1]], texts[block[2]], texts[block[3]]),
            gold=gold,
            block=f"{task}-{number:03d}",
            facets=annotations[index].facets,
            prompts=prompts,
        )
        for number, block in enumerate(blocks)
        for gold, index in enumerate(block)
    ]
