"""Measurements of the specification that are no verb: `python tests/systems/slotsum/measure.py NAME`.

align     5,000 tokens and 10 values: seconds of the aligner     lossless  all texts of Enriched WebNLG, rendered again
masks     milliseconds of a mask for each token
filler    6 slots and a document of 512 tokens: tokens encoded and seconds, prompts shared and slot by slot
"""

import json
import sys
import time

from tenfold.systems.slotsum.align import align
from tenfold.systems.slotsum.data import load_examples
from tenfold.systems.slotsum.derive import derive_template
from tenfold.systems.slotsum.documents import Document
from tenfold.systems.slotsum.templates import Slot
from tenfold.systems.slotsum.tokens import tokenize


def long_text(num_tokens):
    """Texts of the development set one after the other, and the facts of the first of them."""
    examples = load_examples("webnlg-dev")
    words, texts = 0, []
    for example in examples:
        texts.append(example.text)
        words += len(tokenize(example.text))
        if words >= num_tokens:
            break
    facts = [pair for example in examples[:40] for pair in example.facts]
    return " ".join(texts), list(dict.fromkeys(facts))[:10]


def measure_align():
    text, facts = long_text(5000)
    times = []
    for _ in range(7):
        start = time.perf_counter()
        spans = align(text, facts)
        times.append(time.perf_counter() - start)
    return {"tokens": len(tokenize(text)), "values": len(facts), "spans": len(spans), "seconds": sorted(times)}


def measure_lossless():
    count = wrong = 0
    for name in ("webnlg-train", "webnlg-dev"):
        for example in load_examples(name):
            derived = derive_template(example.text, example.facts)
            count += 1
            wrong += derived.template.render(derived.surfaces) != example.text
    return {"texts": count, "not_given_back": wrong}


def measure_filler():
    from tenfold.nn import models
    from tenfold.systems.slotsum.fill import LocalFiller

    loaded = models.load("smollm2")
    text = long_text(360)[0]
    documents = [Document("d", text)]
    slots = [Slot(key) for key in ("country", "location", "leader name", "birth place", "runway length", "operator")]
    filler = LocalFiller(loaded, max_new_tokens=8)
    filler.fill("Aarhus Airport", slots[:1], documents)
    start = time.perf_counter()
    together = filler.fill("Aarhus Airport", slots, documents)
    middle = time.perf_counter()
    for slot in slots:
        LocalFiller(loaded, max_new_tokens=8).fill("Aarhus Airport", [slot], documents)
    apart = time.perf_counter() - middle
    return {
        "document_tokens": len(loaded.tokenizer(text)["input_ids"]),
        "encoded": together.encoded_tokens,
        "slot_by_slot": together.separate_tokens,
        "fewer": together.separate_tokens / together.encoded_tokens,
        "seconds": middle - start,
        "seconds_slot_by_slot": apart,
    }


def measure_masks():
    """Milliseconds of a mask for each token of a sentence, when its states are new and when they are known."""
    import torch

    from tenfold.nn import models
    from tenfold.systems.slotsum.entities import load_entities
    from tenfold.systems.slotsum.grammar import LeakProof, mask_table
    from tenfold.systems.slotsum.leaks import policy

    tokenizer = models.load_tokenizer(models.resolve("smollm2"))
    eos = frozenset({tokenizer.eos_token_id})
    text = "The writer was born in [[birth place]], and is a maker of marvellous maps of the northern market towns."
    ids = tokenizer(text)["input_ids"]
    found = {}
    for name, entity in zip(("first_entity", "next_entity"), load_entities("entities"), strict=False):
        start = time.process_time()
        rules = policy(
            "values", ["title", "birth place", *entity.infobox], [*map(str, entity.infobox.values()), entity.title]
        )
        table = mask_table(tokenizer, rules, eos)
        table.allowed(0)
        found[f"{name}_table_ms"] = 1000 * (time.process_time() - start)
        for visit in ("new", "known"):
            constraint = LeakProof(table, 160)
            start = time.process_time()
            for token in ids:
                constraint.mask(torch.zeros(len(tokenizer)))
                constraint.accept(token)
            found[f"{name}_{visit}_ms_per_token"] = 1000 * (time.process_time() - start) / len(ids)
    return found


MEASURES = {"masks": measure_masks, "align": measure_align, "lossless": measure_lossless, "filler": measure_filler}

if __name__ == "__main__":
    print(json.dumps(MEASURES[sys.argv[1]]()))
