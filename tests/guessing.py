"""A drafter for tests: random chains or trees, most of whose tokens are those of a text known beforehand."""

import random

from tenfold.nn.drafting import ROOT, Draft


class Guesser:
    """The same guesses for the same seed and text, whatever it guessed before."""

    name, state = "guesser", "request"

    def __init__(self, known, *, seed, tree=False, accuracy=0.75, vocab_size=97):
        self.known, self.seed, self.tree, self.accuracy, self.vocab_size = known, seed, tree, accuracy, vocab_size

    def reset(self):
        pass

    def propose(self, context, num_tokens):
        known = next((text for text in self.known if text[: len(context)] == list(context)), [])
        chance = random.Random(f"{self.seed} {list(context)}")
        tokens, parents = [], []
        for node in range(chance.randint(0, num_tokens)):
            parents.append(chance.randrange(ROOT, node) if self.tree else node - 1)
            place = len(context) + len(Draft((), parents, "").path(node)) - 1
            is_right = place < len(known) and chance.random() < self.accuracy
            tokens.append(known[place] if is_right else chance.randrange(self.vocab_size))
        return Draft(tokens, parents, self.name)

    def observe(self, emitted, logits_KV, draft):
        assert len(logits_KV) == len(draft.tokens) + 1
