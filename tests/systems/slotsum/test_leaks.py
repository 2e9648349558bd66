"""Masks equal a simulation token by token; what a random model writes under them never leaks and can always be ended."""

import random

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError
from tenfold.systems.slotsum.grammar import LeakProof, MaskTable, TokenTrie
from tenfold.systems.slotsum.leaks import LEVELS, policy, violations
from tenfold.systems.slotsum.machine import DEAD, START, TemplateMachine
from tenfold.systems.slotsum.templates import Template, parse_template

KEYS = ("title", "birth place", "出生地")
VALUES = ["Ada Lovelace", "New York", "1815-12-10", "U.S.", "Mar", "北京", "José Pérez"]
LEXICON = ["is", "a", "writer", "born", "in", "of", "new", "market", "的", "作家", "是", "mar"]
PIECES = [
    *(
        "is a writer",
        "Mar",
        "ket",
        "market",
        "new",
        "york",
        " ",
        ",",
        "May",
        "be",
        "twenty",
        "3",
        "３",
        "½",
        "\\[",
        "]",
        "[",
        "[[",
    ),
    *(
        "]]",
        "title",
        "birth place",
        "#2",
        "]],",
        "[[title",
        "出生地",
        "北",
        "京",
        "三",
        "的",
        "作家",
        "Ada",
        "José",
        "e\u0301",
        "x",
    ),
]


def vocabulary():
    """About 300 tokens: every byte, pieces of words, tokens that close a slot and go on, halves of characters."""
    texts = (
        [bytes([byte]) for byte in range(256)]
        + [piece.encode() for piece in PIECES]
        + ["３".encode()[:2], "北".encode()[:2]]
    )
    return [*dict.fromkeys(texts), b"<eos>"]


TEXTS = vocabulary()
EOS = len(TEXTS) - 1
TRIE = TokenTrie(TEXTS, frozenset({EOS}))
POLICIES = {level: policy(level, KEYS, VALUES, lexicon=LEXICON) for level in LEVELS}
EMPTY = {level: policy(level, (), lexicon=LEXICON) for level in LEVELS}
BASES = {level: MaskTable(EMPTY[level], TRIE, frozenset({EOS}), len(TEXTS)) for level in LEVELS}
TABLES = {level: MaskTable(POLICIES[level], TRIE, frozenset({EOS}), len(TEXTS), base=BASES[level]) for level in LEVELS}


@pytest.mark.parametrize("level", LEVELS)
def test_masks_equal_a_simulation_token_by_token(level):
    table, draw = TABLES[level], random.Random(0)
    slow = TemplateMachine(POLICIES[level])
    for _ in range(20):
        state, slow_state = START, START
        for _ in range(25):
            allowed = table.allowed(state).tolist()
            expected = [slow.run(slow_state, text) != DEAD for text in TEXTS[:-1]] + [slow.accepts(slow_state)]
            assert allowed == expected
            assert any(allowed)
            token = draw.choice([number for number, is_allowed in enumerate(allowed[:-1]) if is_allowed])
            state, slow_state = table.machine.run(state, TEXTS[token]), slow.run(slow_state, TEXTS[token])


@pytest.mark.parametrize("level", LEVELS)
def test_a_random_writer_never_leaks_and_never_cuts_a_slot(level):
    generator = np.random.default_rng(1)
    for _ in range(150):
        text = _write(TABLES[level], generator, budget=60)
        template = parse_template(text)
        assert violations(template, POLICIES[level]) == []


def _write(table, generator, budget):
    constraint, tokens = LeakProof(table, budget), []
    while not constraint.finished and len(tokens) < budget:
        logits = constraint.mask(torch.from_numpy(generator.normal(0, 2, len(TEXTS))))
        tokens.append(int(torch.multinomial((logits / 2).softmax(-1), 1)))
        constraint.accept(tokens[-1])
    return b"".join(TEXTS[token] for token in tokens if token != EOS).decode()


@given(st.lists(st.sampled_from(PIECES), max_size=8))
def test_the_machine_takes_just_what_the_plain_check_takes(pieces):
    text = "".join(pieces)
    for level in LEVELS:
        machine = TemplateMachine(POLICIES[level])
        state = machine.run(START, text.encode())
        is_taken = state != DEAD and machine.accepts(state)
        assert is_taken == _is_clean(text, level)


def _is_clean(text, level):
    try:
        template = parse_template(text)
    except ConfigError:
        return False
    slots = [slot.marker for slot in template.slots]
    written = [piece for piece in text.split("[[") if "]]" in piece]
    return len(slots) == len(written) and not violations(template, POLICIES[level])


def test_rolling_back_restores_the_mask():
    constraint = LeakProof(TABLES["values"], 100)
    before = constraint.mask(torch.zeros(len(TEXTS)))
    for piece in ("[[title", "]],"):
        constraint.accept(TEXTS.index(piece.encode()))
    constraint.rollback(2)
    assert torch.equal(constraint.mask(torch.zeros(len(TEXTS))), before)


def test_a_word_that_only_begins_like_a_forbidden_one_is_allowed():
    machine = TemplateMachine(POLICIES["values"])
    assert machine.accepts(machine.run(START, b"market"))
    assert not machine.accepts(machine.run(START, b"in mar"))
    assert machine.run(START, b"in mar ") == DEAD
    assert machine.run(START, "在北京".encode()) == DEAD
    assert machine.run(START, b"new  - York.") == DEAD


def test_the_plain_check_names_what_is_wrong():
    found = violations(parse_template("Born in May in New York 3 [[title]] [[age]]"), POLICIES["values"])
    assert [problem.split(" in ")[0] for problem in found] == [
        "slot [[age]]",
        "number",
        "'may'",
        "'new'",
        "'new york'",
        "'york'",
    ]
    assert violations(Template(()), POLICIES["lexicon"]) == []
