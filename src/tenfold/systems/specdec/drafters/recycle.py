"""Token recycling: the likeliest successors that the target itself last saw for a token, also on paths it rejected.

Luo et al., "Turning Trash into Treasure", arXiv 2408.08696; survey, section 4.2. Each target pass yields logits for
every query row; the best `num_successors` of a row are kept under the row's token (the matrix A of the paper, of which
we hold only the rows seen so far) and, in a second matrix, under that token and the one before it. A draft starts at the
last token and looks successors up in turn, first by two tokens, then by one. The paper's tree is fixed beforehand; ours
puts its nodes where the recorded probabilities are highest, which accepts more from the same number of nodes.
"""

# K query rows of a pass, S successors kept per row, V vocabulary
from collections.abc import Sequence

from torch import Tensor

from tenfold.nn.drafting import Draft, StateScope
from tenfold.systems.specdec.drafters.continuations import Candidate, Limits, Shape, followed, grow

Place = tuple[int, ...]
"""The last two tokens, or the last one if there is only one."""
TRUST = {1: 0.4, 2: 0.85}
"""How far a probability holds in another context that shares this many last tokens; measured with smollm2, which is right
about 4 times of 5 where two tokens made it sure, and 1 time of 3 where one did."""
NO_CANDIDATES: Sequence[Candidate] = ()


class RecycleDrafter:
    """Draws at most `max_nodes` tokens; with `cold`, the matrix is emptied for each new prompt."""

    name = "recycle"

    def __init__(
        self,
        *,
        shape: Shape = "chain",
        num_successors: int = 8,
        max_nodes: int = 16,
        max_depth: int = 6,
        cold: bool = False,
        max_rows: int = 50_000,
    ) -> None:
        if min(num_successors, max_nodes, max_depth, max_rows) < 1:
            raise ValueError(
                f"num_successors is {num_successors}, max_nodes {max_nodes}, max_depth {max_depth}, max_rows {max_rows}; "
                "each must be at least 1"
            )
        self.shape: Shape = shape
        self.num_successors, self.max_nodes, self.max_depth, self.max_rows = num_successors, max_nodes, max_depth, max_rows
        self.cold = cold
        self.state: StateScope = "request" if cold else "process"
        self.rows: dict[Place, Sequence[Candidate]] = {}
        self.place: Place = ()

    def reset(self) -> None:
        self.place = ()
        if self.cold:
            self.rows.clear()

    def propose(self, context: Sequence[int], num_tokens: int) -> Draft:
        limits = Limits(min(num_tokens, self.max_nodes), self.max_depth)
        return grow(self, self.locate(context, num_tokens), self.shape, limits, source=self.name)

    def observe(self, emitted: Sequence[int], logits_KV: Tensor, draft: Draft) -> None:
        """Refreshes one row per query; of equal places the later query counts, the accepted path last."""
        places = self._query_places(draft)
        top_KS = logits_KV.topk(min(self.num_successors, logits_KV.shape[-1]), dim=-1)
        tokens_KS, confidence_KS = top_KS.indices.tolist(), top_KS.values.float().softmax(-1).tolist()
        accepted = followed(draft, emitted)
        for query in [*range(len(places)), 0, *(node + 1 for node in accepted)]:
            row = list(zip(tokens_KS[query], confidence_KS[query], strict=True))
            self._store(places[query], row)
        self.place = (*self.place, *emitted)[-2:]

    def locate(self, context: Sequence[int], num_tokens: int) -> Place:
        self.place = tuple(context[-2:])
        return self.place

    def candidates(self, place: Place) -> Sequence[Candidate]:
        return self.rows.get(place) or self.rows.get(place[-1:], NO_CANDIDATES)

    def after(self, place: Place, token: int) -> Place:
        return (*place[-1:], token)

    def _query_places(self, draft: Draft) -> list[Place]:
        """Where each query row stands: row 0 at the last token, row i + 1 at node i."""
        places = [self.place]
        for parent, token in zip(draft.parents, draft.tokens, strict=True):
            places.append((*places[parent + 1][-1:], token))
        return places

    def _store(self, place: Place, row: Sequence[Candidate]) -> None:
        """Keeps the row under one and two tokens, each with the confidence that so much context deserves."""
        for size in range(1, len(place) + 1):
            key = place[-size:]
            self.rows.pop(key, None)
            # Tuples of numbers are nothing to the garbage collector, which would else pause to walk all rows.
            self.rows[key] = tuple((token, TRUST[size] * confidence) for token, confidence in row)
        while len(self.rows) > self.max_rows:
            del self.rows[next(iter(self.rows))]
