"""Streams: any chunking gives the same probes; probes equal judging from scratch; nothing is shown after a trip."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import ConfigError
from tenfold.systems.shieldlm.stream import StreamGuard, last_boundary, overhead
from tiny_guard import tiny_guard, tiny_scorer
from tiny_tokenizer import tiny_tokenizer

TEXTS = st.text(alphabet="ab A:B[]<|x>.\n 你Answer", min_size=1, max_size=120).filter(str.strip)


@pytest.fixture(scope="module")
def guard():
    return tiny_guard()


def streamed(guard, text, cuts, **options):
    watch = StreamGuard(guard, "q", **options)
    bounds = [0, *sorted(min(cut, len(text)) for cut in cuts), len(text)]
    shown = [watch.feed(text[a:b]) for a, b in itertools.pairwise(bounds)]
    return watch, "".join([*shown, watch.finish()])


@settings(max_examples=25)
@given(text=TEXTS, cuts=st.lists(st.integers(0, 120), max_size=6))
def test_every_probe_equals_judging_that_text_from_scratch(guard, text, cuts):
    watch, shown = streamed(guard, text, cuts, stride=4, threshold=2.0)
    assert shown == text and not watch.tripped
    for probe in watch.probes:
        scratch = tiny_scorer()
        scratch.engine.reset()
        fresh = guard.calibrator.score(guard.scores("q", text[: probe.num_characters], (), "en").logps)
        assert probe.score == pytest.approx(fresh, abs=1e-5)
    assert watch.probes[-1].num_characters == len(text)


@settings(max_examples=25)
@given(text=TEXTS)
def test_character_by_character_probes_lie_where_the_stride_says(guard, text):
    one, _ = streamed(guard, text, range(len(text)), stride=4, threshold=2.0)
    again, _ = streamed(guard, text, range(len(text)), stride=4, threshold=2.0)
    assert one.probes == again.probes
    steps = [b.num_tokens - a.num_tokens for a, b in zip(one.probes, one.probes[1:-1], strict=False)]
    assert all(step >= 4 for step in steps)


@settings(max_examples=25)
@given(text=TEXTS, threshold=st.floats(0, 1))
def test_nothing_is_shown_after_a_trip(guard, text, threshold):
    watch, shown = streamed(guard, text, range(0, len(text), 3), stride=4, threshold=threshold)
    assert text.startswith(shown)
    passed = [probe.num_characters for probe in watch.probes if probe.passed]
    assert len(shown) == (passed[-1] if passed else 0)
    if watch.tripped:
        assert not watch.probes[-1].passed and watch.probes[-1].score > threshold
        assert watch.feed("more") == "" and watch.num_released == len(shown)


def test_forwarded_tokens_keep_their_bound():
    guard = tiny_guard()
    text = "the answer is a word. " * 40
    watch = StreamGuard(guard.twin(), "q", stride=32, threshold=2.0)
    for start in range(0, len(text), 5):
        watch.feed(text[start : start + 5])
    watch.finish()
    tokens = watch.probes[-1].num_tokens
    prompt = guard.count_tokens("q", "", (), "en")
    bound = tokens * (1 + (watch.suffix_tokens + watch.tree_tokens) / 32)
    # cut tokens at most once a probe anew, and the last probe may come early
    slack = 2 * (watch.suffix_tokens + watch.tree_tokens) + 2 * len(watch.probes)
    assert watch.num_forwarded - prompt <= bound + slack


def test_auto_is_the_smallest_stride_within_the_ratio(guard):
    suffix, tree = overhead(guard, "en")
    watch = StreamGuard(guard, "q")
    assert 1 + (suffix + tree) / watch.stride <= 1.2 + 1e-9 < 1 + (suffix + tree) / (watch.stride - 1)
    assert watch.stride == math.ceil(5 * (suffix + tree) - 1e-9)


def test_twins_that_take_turns_do_not_disturb_each_other():
    guard = tiny_guard()
    texts = ["the answer is here. " * 6, "or B, or C, or A? " * 6]
    alone = [streamed(guard.twin(), text, range(0, len(text), 7), stride=8, threshold=2.0)[0].probes for text in texts]
    pair = [StreamGuard(guard.twin(), "q", stride=8, threshold=2.0) for _ in texts]
    for start in range(0, 200, 7):
        for watch, text in zip(pair, texts, strict=True):
            if start < len(text):
                watch.feed(text[start : start + 7])
    for watch in pair:
        watch.finish()
    assert [watch.probes for watch in pair] == alone


@given(text=st.text(alphabet="ab 1.'\n你", max_size=30), more=st.text(alphabet="ab 1.'\n你", max_size=10))
def test_a_boundary_stays_whatever_follows(text, more):
    tokenizer = tiny_tokenizer()
    at = last_boundary(tokenizer, text)
    ids = list(tokenizer(text[:at])["input_ids"]) if at else []
    assert list(tokenizer(text + more)["input_ids"])[: len(ids)] == ids


def test_misuse_is_told_plainly(guard):
    with pytest.raises(ConfigError, match="stride"):
        StreamGuard(guard, "q", stride=0)
    watch, _ = streamed(guard, "a b c", [])
    with pytest.raises(ConfigError, match="finished"):
        watch.feed("d")
    assert StreamGuard(guard, "q").finish() == ""
