"""Whatever a random model would like to say, what it says under a grammar is of the grammar."""

import json
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import UserError
from tenfold.nn.constrain import grammar_constraint, json_schema_constraint, regex_constraint
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.nn.utf8 import Utf8Masks, is_beginning
from tiny_tokenizer import tiny_tokenizer

EOS = 1
BUDGET = 96


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


@pytest.fixture(scope="module", params=["more logits than tokens", "fewer logits than tokens"])
def engine(request, tokenizer, new_tiny_model):
    change = 20 if request.param.startswith("more") else -3
    model = new_tiny_model(vocab_size=len(tokenizer) + change)
    engine = LeanLlama(model.config, model.state_dict())
    engine.seeks_exactness = False
    return engine


def written(engine, tokenizer, constraint, *, seed=0, budget=BUDGET):
    """(text, stop reason) of a random model."""
    chosen = GenerationSettings(max_new_tokens=budget, do_sample=True, seed=seed)
    stopper = Stopper(max_new_tokens=budget, eos_ids=[EOS])
    result = generate(engine, [0, 40], chosen, stopper, constraint=constraint)
    assert constraint.finished == (result.stop_reason == "eos")
    text = tokenizer.decode(list(result.tokens), skip_special_tokens=True)
    assert result.stop_reason == "length" or "\ufffd" not in text
    return text, result.stop_reason


leaves = st.sampled_from(
    [
        {"type": "integer"},
        {"type": "boolean"},
        {"type": "null"},
        {"enum": ["red", "the answer", 3]},
        {"type": "string", "maxLength": 8},
    ]
)


def objects(inner):
    return st.dictionaries(st.sampled_from(["name", "size", "is", "ä"]), inner, min_size=1, max_size=3).map(
        lambda properties: {"type": "object", "properties": properties, "required": list(properties)}
    )


def arrays(inner):
    return inner.map(lambda items: {"type": "array", "items": items, "maxItems": 2})


schemas = objects(st.recursive(leaves, lambda inner: st.one_of(objects(inner), arrays(inner)), max_leaves=4))


def fits(value, schema):
    """A slow and obvious check of the few words that the schemas above use."""
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema["type"]
    if kind == "object":
        properties = schema["properties"]
        return (
            isinstance(value, dict) and list(value) == list(properties) and all(fits(value[k], properties[k]) for k in value)
        )
    if kind == "array":
        return isinstance(value, list) and len(value) <= 2 and all(fits(item, schema["items"]) for item in value)
    if kind == "string":
        return isinstance(value, str) and len(value) <= schema.get("maxLength", BUDGET)
    return {"integer": type(value) is int, "boolean": isinstance(value, bool), "null": value is None}[kind]


@settings(max_examples=25)
@given(schema=schemas, seed=st.integers(0, 10**6))
def test_every_ended_text_is_json_of_its_schema(engine, tokenizer, schema, seed):
    text, reason = written(engine, tokenizer, json_schema_constraint(tokenizer, schema), seed=seed)
    if reason == "length":  # long integers: cut off, and said so
        return
    assert fits(json.loads(text), schema), (text, schema)


def test_most_texts_end(engine, tokenizer):
    schema = {
        "type": "object",
        "properties": {"is": {"type": "boolean"}, "name": {"enum": ["A", "B"]}},
        "required": ["is", "name"],
    }
    reasons = [written(engine, tokenizer, json_schema_constraint(tokenizer, schema), seed=seed)[1] for seed in range(8)]
    assert reasons == ["eos"] * 8


def test_a_budget_that_is_too_small_is_reported_as_length(engine, tokenizer):
    schema = {"type": "object", "properties": {"name": {"const": "a rather long name"}}, "required": ["name"]}
    text, reason = written(engine, tokenizer, json_schema_constraint(tokenizer, schema), budget=5)
    assert reason == "length"
    with pytest.raises(json.JSONDecodeError):
        json.loads(text)


@settings(max_examples=15)
@given(pattern=st.sampled_from([r"[ab]{2,5}c?", r"(yes|no)\.", r"\d{4}-\d{2}", r"x(yz)*w", "é+|ß"]), seed=st.integers(0, 99))
def test_regular_expressions(engine, tokenizer, pattern, seed):
    text, reason = written(engine, tokenizer, regex_constraint(tokenizer, pattern), seed=seed)
    assert reason == "length" or re.fullmatch(pattern, text)


def test_a_grammar(engine, tokenizer):
    ebnf = 'root ::= "(" root ")" | "[]"'
    for seed in range(5):
        text, reason = written(engine, tokenizer, grammar_constraint(tokenizer, ebnf), seed=seed)
        depth = text.count("(")
        assert reason == "length" or text == "(" * depth + "[]" + ")" * depth


@given(seed=st.integers(0, 99), steps=st.integers(1, 12), back=st.integers(0, 12))
def test_rolling_back_is_as_if_it_had_not_happened(tokenizer, seed, steps, back):
    generator = torch.Generator().manual_seed(seed)
    constraint = json_schema_constraint(tokenizer, {"type": "object", "properties": {"name": {"type": "string"}}})
    logits = torch.zeros(len(tokenizer))
    masks, tokens = [], []
    while len(tokens) < steps and not constraint.finished:
        masks.append(constraint.mask(logits))
        tokens.append(int(torch.multinomial(masks[-1].softmax(-1), 1, generator=generator)))
        constraint.accept(tokens[-1])
    back = min(back, len(tokens))
    constraint.rollback(back)
    for mask, token in list(zip(masks, tokens, strict=True))[len(tokens) - back :]:
        assert torch.equal(constraint.mask(logits), mask)
        constraint.accept(token)


@given(data=st.binary(max_size=5))
def test_states_of_utf8(data):
    """One byte at a time, the masks follow Python's own decoder."""
    masks = Utf8Masks([bytes([byte]) for byte in range(256)])
    unfinished, seen = b"", b""
    for byte in data:
        seen += bytes([byte])
        assert bool(masks.allowed(unfinished)[byte]) == is_beginning(seen)
        if not is_beginning(seen):
            break
        unfinished = masks.unfinished(unfinished, byte)


@given(text=st.text(max_size=6))
def test_every_text_is_a_way_through_utf8(text):
    masks = Utf8Masks([bytes([byte]) for byte in range(256)])
    unfinished = b""
    for byte in text.encode():
        assert masks.allowed(unfinished)[byte]
        unfinished = masks.unfinished(unfinished, byte)
    assert unfinished == b""


def test_special_tokens_are_no_text(tokenizer):
    constraint = regex_constraint(tokenizer, ".*")
    mask = constraint.mask(torch.zeros(len(tokenizer) + 2))
    assert mask[0] == -torch.inf and mask[EOS] == 0 and mask[40] == 0
    assert (mask[-2:] == -torch.inf).all()
    with pytest.raises(ValueError, match="not allowed"):
        constraint.accept(0)


def test_nothing_follows_the_end(tokenizer):
    constraint = regex_constraint(tokenizer, "a?")
    assert constraint.may_end and not constraint.finished
    constraint.accept(EOS)
    assert constraint.finished
    with pytest.raises(ValueError, match="ended"):
        constraint.mask(torch.zeros(len(tokenizer)))
    constraint.rollback(1)
    assert not constraint.finished


@pytest.mark.parametrize(
    ("make", "text"),
    [(json_schema_constraint, {"type": "nonsense"}), (regex_constraint, "a(b"), (grammar_constraint, "root ::= nope")],
)
def test_what_cannot_be_compiled_is_the_users_mistake(tokenizer, make, text):
    with pytest.raises(UserError, match="cannot be decoded under"):
        make(tokenizer, text)


def test_greedy_text_without_a_constraint_is_unchanged(engine, tokenizer):
    def text(constraint):
        stopper = Stopper(max_new_tokens=12, eos_ids=[EOS])
        return generate(engine, [0, 40], GenerationSettings(max_new_tokens=12), stopper, constraint=constraint)

    class Anything:
        finished = False

        def mask(self, logits_V):
            return logits_V

        def accept(self, token): ...
        def rollback(self, count): ...

    assert text(None) == text(Anything())


@pytest.mark.model
def test_the_default_model_writes_json(smollm2):
    schema = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 12}}, "required": ["name"]}
    constraint = json_schema_constraint(smollm2.tokenizer, schema, eos_ids=smollm2.eos_ids)
    stopper = Stopper(max_new_tokens=40, eos_ids=smollm2.eos_ids)
    prompt = smollm2.tokenizer("A person as JSON: ")["input_ids"]
    result = generate(smollm2.engine, prompt, GenerationSettings(max_new_tokens=40), stopper, constraint=constraint)
    assert result.stop_reason == "eos"
    assert list(json.loads(smollm2.tokenizer.decode(list(result.tokens), skip_special_tokens=True))) == ["name"]
