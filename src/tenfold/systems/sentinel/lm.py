"""A sentinel model as the causal LM that any decoder of Tenfold takes: it inserts `<SR>` by itself and forgets old text.

Callers feed and get original tokens only. Each token's group of entries goes through the engine in one pass, under the same
rule as in training, and afterwards what no coming query can see leaves the cache. `slack` is how many tokens `rollback`
may take back; they keep what they could see a little longer.
"""

# B rows, K tokens a row, V vocabulary
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from tenfold.core.errors import UserError
from tenfold.nn.causal_lm import Exactness, check_room
from tenfold.nn.masked_lm import MaskedLM
from tenfold.systems.sentinel.budget import Budget
from tenfold.systems.sentinel.eviction import survivors
from tenfold.systems.sentinel.items import Item, Keeping, Wanted, ids_of, wants
from tenfold.systems.sentinel.rules import NEVER, Rule, visible
from tenfold.systems.sentinel.segments import PlainStream, Segmenter, State
from tenfold.systems.sentinel.settings import SentinelConfig
from tenfold.systems.sentinel.table import KEPT, MetaTable, Values, values_of

PREFILL = 512
"""Entries of a prefill pass; what cannot be seen any more leaves the cache in between."""


class SentinelLM:
    """A `RaggedLM`. Logits of the sentinels themselves are -inf.

    Args:
        engine: computes the passes; must be empty.
        config: how texts are cut and what is seen.
        pieces: the bytes of every token.
        ids: the sentinels; none makes a model without them, under the same window (for comparisons).
        slack: tokens that `rollback` may take back once text leaves the cache.
        silent: further tokens whose logits are -inf, such as the sentinel of those who use none.
        reposition: an entry's position is its rank in the cache, so that a text may be of any length (engine lean).
        prefill: entries in a pass.
    """

    exactness: Exactness = "token"

    def __init__(
        self,
        engine: MaskedLM,
        config: SentinelConfig,
        pieces: Sequence[bytes],
        ids: Sequence[int],
        *,
        slack: int = 0,
        keeping: Keeping | None = None,
        silent: Sequence[int] = (),
        reposition: bool = False,
        prefill: int = PREFILL,
    ) -> None:
        self.engine, self.config, self.pieces, self.ids = engine, config, pieces, tuple(ids)
        self.rule, self.slack, self.prefill_width = Rule.of(config), slack, prefill
        self.reposition, self.silent = reposition, [*dict.fromkeys([*ids, *silent])]
        self.keeping = keeping or Keeping(config.most_sentinels)
        self.stream = Segmenter(config, pieces, ids) if self.ids else PlainStream()
        self.vocab_size, self.batch_size = engine.vocab_size, engine.batch_size
        self.max_positions = engine.max_positions if not reposition else 2**31
        self.needs_nats = config.chunker.startswith("surprisal") and bool(self.ids)
        self._refuse()
        self.reset()

    @property
    def lengths(self) -> Sequence[int]:
        """Original tokens so far, per row."""
        return [states[-1].i for states in self.states]

    @property
    def entries(self) -> Sequence[int]:
        """Entries in the cache, per row."""
        return self.engine.lengths

    def reset(self) -> None:
        self.engine.reset()
        self.table = MetaTable(self.batch_size)
        self.states: list[list[State]] = [[State()] for _ in range(self.batch_size)]
        self.budgets = [self._budget() for _ in range(self.batch_size)]
        self.evicted: list[Any] = [None] * self.batch_size
        self.last: list[Tensor | None] = [None] * self.batch_size
        self.peak = self.most_held = 0
        """Most entries that a row's cache has held, in a pass and between passes."""

    def prefill(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        """As `CausalLM.prefill`."""
        if len(prompts) != self.batch_size:
            raise ValueError(f"got {len(prompts)} prompts for {self.batch_size} rows; give one prompt per row")
        if not all(prompts):
            raise ValueError("a prompt is empty; give at least one token, for example the model's BOS token")
        check_room(self, max(map(len, prompts)))
        return torch.stack([logits_KV[-1] for logits_KV in self._advance(prompts, "last")])

    def prefill_row(self, row: int, prompt: Sequence[int]) -> Tensor:
        return self._advance([prompt if place == row else () for place in range(self.batch_size)], "last")[row][-1]

    def forward(self, ids_BK: Tensor, *, depths_K: Tensor | None = None, ancestors_KK: Tensor | None = None) -> Tensor:
        if depths_K is not None or ancestors_KK is not None:
            raise UserError("a sentinel model takes no token trees; draft chains (shape=chain)")
        check_room(self, ids_BK.shape[1])
        return torch.stack(self._advance(ids_BK.tolist(), "all"))

    def forward_ragged(self, ids_BK: Tensor, counts: Sequence[int]) -> Tensor:
        rows = [row[:count] for row, count in zip(ids_BK.tolist(), counts, strict=True)]
        found = self._advance(rows, "all")
        logits_BKV = torch.zeros(*ids_BK.shape, self.vocab_size)
        for row, logits_KV in enumerate(found):
            logits_BKV[row, : len(logits_KV)] = logits_KV
        return logits_BKV

    def rollback(self, counts: Sequence[int]) -> None:
        for row, count in enumerate(counts):
            states = self.states[row]
            if not 0 <= count <= states[-1].i:
                raise ValueError(
                    f"cannot roll back {count} tokens of {states[-1].i}; give a number from 0 to {states[-1].i}"
                )
            if count >= len(states):
                raise UserError(f"cannot roll back {count} tokens of a compacted cache with slack {self.slack}; raise slack")
            del states[len(states) - count :]
        self.engine.rollback([self._forget(row) for row in range(self.batch_size)])

    def keep(self, row: int, start: int, slots: Sequence[int]) -> None:
        if list(slots) != list(range(start, start + len(slots))):
            raise UserError("a sentinel model keeps only tokens that follow one another; draft chains (shape=chain)")
        counts = [0] * self.batch_size
        counts[row] = self.states[row][-1].i - start - len(slots)
        self.rollback(counts)

    def losses(self, tokens: Sequence[int]) -> Tensor:
        """[T - 1] nats of every token but the first, read through the compacted cache (one row)."""
        found = []
        for start in range(0, len(tokens), self.prefill_width):
            part = tokens[start : start + self.prefill_width]
            target_T = torch.tensor(tokens[start + 1 : start + 1 + len(part)], dtype=torch.long)
            logits_TV = self._advance([part], "all")[0][: len(target_T)]
            found.append(torch.nn.functional.cross_entropy(logits_TV, target_T, reduction="none"))
        return torch.cat(found)

    @torch.inference_mode()
    def _advance(self, rows: Sequence[Sequence[int]], wanted: Wanted) -> list[Tensor]:
        """Feeds each row's tokens; per row the logits after every token, or after the last one."""
        if self.needs_nats and max(map(len, rows)) > 1:
            return self._one_by_one(rows, wanted)
        items = [self._items(row, tokens) for row, tokens in enumerate(rows)]
        parts: list[list[Tensor]] = [[torch.empty(0, self.vocab_size)] for _ in rows]
        for start in range(0, max(map(len, items)), self.prefill_width):
            end = start + self.prefill_width
            is_end = [end >= len(found) for found in items]
            for row, logits_KV in enumerate(self._pass([found[start:end] for found in items], wanted, is_end)):
                parts[row].append(logits_KV)
            self._compact([found[end].before if end < len(found) else None for found in items])
        self._forget_states()
        found = [torch.cat(part) for part in parts]
        if self.needs_nats:
            self.last = [logits[-1] if len(logits) else before for logits, before in zip(found, self.last, strict=True)]
        return found

    def _one_by_one(self, rows: Sequence[Sequence[int]], wanted: Wanted) -> list[Tensor]:
        """As `_advance`, for a chunker that must know how surprising each token was before it is read."""
        longest = max(map(len, rows))
        steps = [self._advance([row[place : place + 1] for row in rows], "all") for place in range(longest)]
        joined = [torch.cat([step[row] for step in steps]) for row in range(len(rows))]
        return [logits[-1:] if wanted == "last" else logits for logits in joined]

    def _items(self, row: int, tokens: Sequence[int]) -> list[Item]:
        """The entries of tokens, whose states are remembered."""
        found: list[Item] = []
        states = self.states[row][-1:]
        nats = self._surprises(row, tokens) if self.needs_nats else [None] * len(tokens)
        for token, surprise in zip(tokens, nats, strict=True):
            entries, after = self.stream.step(states[-1], token, surprise)
            first = states[-1].n
            found += [Item(entry, first + k, states[-1], k == len(entries) - 1) for k, entry in enumerate(entries)]
            states.append(after)
        self.states[row] += states[1:]
        return found

    def _pass(self, pieces: Sequence[Sequence[Item]], wanted: Wanted, is_end: Sequence[bool]) -> list[Tensor]:
        """One pass of the engine; a row's wanted logits [n, V]."""
        width = max(map(len, pieces))
        slots = max(self.engine.lengths) + width
        new = [[self._values(item) for item in piece] for piece in pieces]
        self.table.append(new, room=slots)
        for row, piece in enumerate(pieces):
            self._spend(row, piece)
        seen_BKS = visible(MetaTable.queries(new, width), self.table.keys(slots), self.rule)
        for row, piece in enumerate(pieces):  # padding sees its own slot, which is never read again
            for k in range(len(piece), width):
                seen_BKS[row, k] = False
                seen_BKS[row, k, self.engine.lengths[row] + k] = True
        ids_BK, positions_BK = (
            torch.tensor([[*column, *[0] * (width - len(column))] for column in columns])
            for columns in (list(map(ids_of, pieces)), [self._positions(row, piece) for row, piece in enumerate(pieces)])
        )
        wanted_BK = torch.tensor([wants(piece, width, wanted, end) for piece, end in zip(pieces, is_end, strict=True)])
        logits_NV = self.engine.forward_masked(ids_BK, [len(piece) for piece in pieces], positions_BK, seen_BKS, wanted_BK)
        logits_NV[:, self.silent] = -torch.inf
        self.peak = max(self.peak, *self.engine.lengths)
        self._watch()
        return list(logits_NV.split(wanted_BK.sum(1).tolist()))

    def _values(self, item: Item) -> Values:
        """An entry's fields."""
        kept = item.is_sentinel or bool(self.keeping.marks and self.keeping.marks(item.entry.id))
        return values_of(item.entry, item.order, kept=kept, until=NEVER)

    def _spend(self, row: int, piece: Sequence[Item]) -> None:
        """New sentinels may make older ones go."""
        if self.keeping.most is None:
            return
        for item in piece:
            if self._values(item)[KEPT]:
                for order in self.budgets[row].add(item.order, item.entry.level, item.entry.g):
                    self.table.set_until(row, [order], item.order + (order == item.order))

    def _compact(self, coming: Sequence[State | None]) -> None:
        """Drops what no coming query can see; `coming` is the state before the next token, where one waits."""
        for row, states in enumerate(self.states if self.rule.raw != "all" else ()):
            reach, waiting = states[max(0, len(states) - 1 - self.slack)], coming[row]
            self._evict(row, waiting if waiting is not None and waiting.n < reach.n else reach)
        self.most_held = max(self.most_held, *self.engine.lengths)

    def _forget_states(self) -> None:
        """States that no rollback can reach."""
        if self.rule.raw != "all":
            for states in self.states:
                del states[: max(0, len(states) - 1 - self.slack)]

    def _evict(self, row: int, state: State) -> None:
        """What the earliest coming query sees stays; whatever comes later sees no more of it."""
        rule = self.rule
        window = max(0, state.i - rule.window) // rule.block
        dropped = self.budgets[row].dropped
        mark = (window, state.c if rule.raw == "sr_only" else 0, state.g if rule.hierarchy else 0, len(dropped))
        pending = bool(dropped) and dropped[-1][0] > state.n
        if mark == self.evicted[row] and not pending:
            return
        self.evicted[row] = None if pending else mark
        seen_S = survivors(self.table.row(row), state, rule)
        if bool(seen_S.all()):
            return
        slots = seen_S.nonzero().flatten().tolist()
        start = int((~seen_S).nonzero()[0])
        stay = [slot for slot in slots if slot > start]
        self.engine.keep(row, start, stay)
        self.table.keep(row, start, stay)
        if self.reposition and stay:
            self.engine.turn_back(row, start, [slot - start - k for k, slot in enumerate(stay)])  # pyright: ignore

    def _forget(self, row: int) -> int:
        """After a rollback: how many entries of a row are to be dropped."""
        order = self.states[row][-1].n
        back = self.budgets[row].undo(order)
        orders = self.table.orders(row)
        length = int((orders < order).sum())
        dropped = self.table.lengths[row] - length
        self.table.cut(row, length)
        self.table.set_until(row, back, NEVER)
        self.evicted[row] = None
        return dropped

    def _positions(self, row: int, piece: Sequence[Item]) -> list[int]:
        held = self.engine.lengths[row]
        positions = [held + k if self.reposition else item.entry.pos for k, item in enumerate(piece)]
        if positions and max(positions) >= self.engine.max_positions:
            raise UserError(
                f"the text reaches position {max(positions)}, the model has {self.engine.max_positions}; shorten it by "
                f"{max(positions) + 1 - self.engine.max_positions}, or compact it with reposition=True"
            )
        return positions

    def _surprises(self, row: int, tokens: Sequence[int]) -> list[float | None]:
        """Of the one token that the last logits predict."""
        before = self.last[row]
        return [None if before is None else float(-before.log_softmax(-1)[token]) for token in tokens]

    def _watch(self) -> None:
        """For policy attention: notes what each sentinel has received."""
        for row, received in enumerate(getattr(self.engine, "attention", ())):
            orders = self.table.orders(row)[: len(received)].tolist()
            self.budgets[row].observe(dict(zip(orders, received.tolist(), strict=True)))

    def _budget(self) -> Budget:
        return Budget(self.keeping.most, self.config.policy, self.keeping.scores or {})

    def _refuse(self) -> None:
        if self.reposition and not hasattr(self.engine, "turn_back"):
            raise UserError("reposition moves keys, which only the engine lean can; use engine=lean, or shorten the text")
        if self.needs_nats and self.slack:
            raise UserError("chunker surprisal cannot be taken back, so slack must be 0; take another one to speculate")
        if self.config.policy == "attention" and self.keeping.most is not None:
            if self.slack:
                raise UserError(
                    "policy attention cannot be taken back, so slack must be 0; take another policy to speculate"
                )
            if not hasattr(self.engine, "watches"):
                raise UserError(
                    "policy attention needs the engine transformers with eager attention; use engine=transformers"
                )
            self.engine.watches = True  # pyright: ignore[reportAttributeAccessIssue]
