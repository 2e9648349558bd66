"""An index says the same as the automaton it was made from, and only to the tokenizer it was made for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tenfold.core.errors import ConfigError, MissingArtifactError
from tenfold.systems.specdec import index
from tenfold.systems.specdec.drafters.suffix import SuffixDrafter
from tenfold.systems.specdec.drafters.suffix_automaton import SuffixAutomaton

WORDS = ["a", "rose", "is", "red", "and", "sky", "blue", "so", "sweet"]


def word_tokenizer(words):
    vocabulary = {"?": 0} | {word: place for place, word in enumerate(words, start=1)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="?")


TOKENIZER = word_tokenizer(WORDS)


@pytest.fixture
def built(tmp_path):
    sources = [tmp_path / "one.txt", tmp_path / "two.txt"]
    sources[0].write_text("a rose is a rose is so sweet and red")
    sources[1].write_text("sky is so blue")
    target = tmp_path / "flowers.npz"
    return target, index.build_index(sources, target, TOKENIZER, licence="CC0-1.0")


@given(st.lists(st.integers(-1, 4), max_size=40))
def test_arrays_read_like_the_automaton(tokens):
    automaton = SuffixAutomaton()
    automaton.extend(tokens)
    arrays = index.in_arrays(automaton)
    assert list(arrays.link) == automaton.link
    for state in range(len(automaton.length)):
        assert arrays.followers(state) == automaton.followers(state)
        assert [arrays.step(state, token) for token in range(-1, 6)] == [
            automaton.step(state, token) for token in range(-1, 6)
        ]


def test_a_round_trip_drafts_from_the_corpus(built):
    drafter = SuffixDrafter(index=index.load_index(built[0], TOKENIZER), factor=2)
    context = TOKENIZER.encode("a rose is a rose is so")
    assert TOKENIZER.decode(list(drafter.propose(context, 9).tokens)).startswith("sweet and red")


def test_no_draft_runs_from_one_text_into_the_next(built):
    drafter = SuffixDrafter(index=index.load_index(built[0], TOKENIZER), factor=9)
    draft = drafter.propose(TOKENIZER.encode("is so sweet and red"), 9)
    assert list(draft.tokens) == []


def test_the_manifest_names_licence_sources_and_tokenizer(built):
    manifest = index.read_manifest(built[0])
    assert manifest == built[1]
    assert manifest.licence == "CC0-1.0"
    assert [(source.name, source.num_tokens) for source in manifest.sources] == [("one.txt", 10), ("two.txt", 4)]
    assert (manifest.num_tokens, manifest.vocab_size) == (14, len(WORDS) + 1)


def test_another_tokenizer_is_refused(built):
    with pytest.raises(ConfigError, match="another tokenizer"):
        index.load_index(built[0], word_tokenizer(WORDS[::-1]))


def test_a_changed_index_is_refused(built):
    built[0].write_bytes(built[0].read_bytes() + b"x")
    with pytest.raises(ConfigError, match="does not match its manifest"):
        index.load_index(built[0], TOKENIZER)


def test_a_manifest_with_unknown_keys_is_refused(built):
    path = index.manifest_path(built[0])
    path.write_text(json.dumps({**json.loads(path.read_text()), "colour": "red"}))
    with pytest.raises(ConfigError, match="colour"):
        index.load_index(built[0], TOKENIZER)


def test_what_cannot_be_built_is_refused(tmp_path):
    target, text, other = tmp_path / "x.npz", tmp_path / "a.txt", tmp_path / "b.txt"
    text.write_text("a rose is a rose")
    other.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ConfigError, match="licence"):
        index.build_index([text], target, TOKENIZER, licence=" ")
    with pytest.raises(ConfigError, match="max_tokens is 3"):
        index.build_index([text], target, TOKENIZER, licence="CC0-1.0", max_tokens=3)
    with pytest.raises(ConfigError, match="not UTF-8"):
        index.build_index([other], target, TOKENIZER, licence="CC0-1.0")
    with pytest.raises(MissingArtifactError, match="no text file"):
        index.build_index([tmp_path / "c.txt"], target, TOKENIZER, licence="CC0-1.0")
    with pytest.raises(MissingArtifactError, match="no index"):
        index.load_index(target, TOKENIZER)
