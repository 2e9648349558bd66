"""Requests that come, go and are cancelled while others decode: each text is the one it would have alone."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guessing import Guesser
from tenfold.core.errors import UserError
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.nn.transformers_lm import TransformersLM
from tenfold.systems.specdec import Request, Scheduler, scheduler
from tenfold.systems.specdec.drafters.ngram import NgramDrafter
from tenfold.systems.specdec.speculate import Silent, speculate
from tenfold.systems.specdec.verifiers.coupled import Coupled
from tenfold.systems.specdec.verifiers.typical import Typical

EOS = [3, 50]
NUM_DRAFT = 3

prompts = st.lists(st.integers(0, 96), min_size=1, max_size=40)
arrivals = st.lists(st.tuples(prompts, st.integers(0, 16), st.integers(0, 12)), min_size=1, max_size=6)
"""(prompt, most new tokens, the step before which it comes)"""


@pytest.fixture(scope="module")
def alone(tiny_llama):
    return LeanLlama(tiny_llama.config, tiny_llama.state_dict())


@pytest.fixture(scope="module")
def engines(tiny_llama, alone):
    engines = {1: LeanLlama(tiny_llama.config, tiny_llama.state_dict())}
    for batch_size in (2, 3):
        engines[batch_size] = LeanLlama(tiny_llama.config, tiny_llama.state_dict(), batch_size=batch_size)
    for engine in engines.values():
        engine.exact_widths = alone.exact_widths
    return engines


def new_request(prompt, num_tokens, **more):
    return Request(prompt, GenerationSettings(), Stopper(max_new_tokens=num_tokens, eos_ids=EOS), **more)


def plain(alone, request):
    return list(generate(alone, request.prompt, request.settings, request.stopper).tokens)


def new_scheduler(engine, drafters=None, **more):
    drafters = drafters or [NgramDrafter() for _ in range(engine.batch_size)]
    return Scheduler(engine, drafters=drafters, num_draft=NUM_DRAFT, **more)


def run(schedule):
    """What remains to be done; tokens by request as they came, and results."""
    streams, results = {}, {}
    while schedule.is_busy:
        for event in schedule.step():
            assert event.failure is None
            assert event.request_id not in results
            streams.setdefault(event.request_id, []).extend(event.tokens)
            if event.result is not None:
                results[event.request_id] = event.result
    return streams, results


@settings(max_examples=30)
@given(arrivals=arrivals, batch_size=st.sampled_from([1, 2, 3]), piece=st.sampled_from([4, 480]), seed=st.integers(0, 99))
def test_requests_that_arrive_at_any_step_get_their_own_plain_texts(alone, engines, arrivals, batch_size, piece, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scheduler, "PROMPT_PIECE", piece)
        asked = [(new_request(prompt, num_tokens), step) for prompt, num_tokens, step in arrivals]
        expected = [plain(alone, request) for request, _ in asked]
        texts = [[*request.prompt, *text] for (request, _), text in zip(asked, expected, strict=True)]
        drafters = [Guesser(texts, seed=seed + row, tree=row == 0) for row in range(batch_size)]
        schedule = new_scheduler(engines[batch_size], drafters)
        numbers, streams, results = {}, {}, {}
        step = 0
        while schedule.is_busy or len(numbers) < len(asked):
            for index, (request, arrives) in enumerate(asked):
                if arrives == step:
                    numbers[index] = schedule.add(request)
            for event in schedule.step():
                streams.setdefault(event.request_id, []).extend(event.tokens)
                results |= {event.request_id: event.result} if event.result else {}
            step += 1
    assert [streams[numbers[index]] for index in range(len(asked))] == expected
    assert [list(results[numbers[index]].tokens) for index in range(len(asked))] == expected


@settings(max_examples=20)
@given(arrivals=arrivals, batch_size=st.sampled_from([1, 2, 3]), cancelled=st.integers(0, 5), after=st.integers(0, 10))
def test_a_cancelled_request_is_silent_and_harms_no_other(alone, engines, arrivals, batch_size, cancelled, after):
    asked = [new_request(prompt, num_tokens) for prompt, num_tokens, _ in arrivals]
    expected = [plain(alone, request) for request in asked]
    schedule = new_scheduler(engines[batch_size])
    numbers = [schedule.add(request) for request in asked]
    gone = numbers[min(cancelled, len(numbers) - 1)]
    results = {}
    for _ in range(after):
        results |= {event.request_id: event.result for event in schedule.step() if event.result}
    was_over = gone in results
    schedule.cancel(gone)
    streams, rest = run(schedule)
    results |= rest
    assert gone not in streams
    for number, text in zip(numbers, expected, strict=True):
        if number != gone or was_over:
            assert list(results[number].tokens) == text
    assert not schedule.seats
    assert schedule.step() == []
    assert not schedule.cancelled


@settings(max_examples=30)
@given(
    turns=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.lists(st.integers(0, 96), max_size=6)), max_size=8),
    cancelled=st.sets(st.integers(0, 7)),
    seed=st.integers(0, 99),
)
def test_texts_do_not_depend_on_what_a_row_has_kept(alone, engines, turns, cancelled, seed):
    """Prompts that begin alike, or that continue what was answered before."""
    stems = [list(range(10, 40)), list(range(10, 25)) + [7] * 20, [5]]
    schedule = new_scheduler(engines[3], [Guesser([], seed=seed) for _ in range(3)], reuses_prompts=True)
    num_expected = 0
    for place, (stem, length, more) in enumerate(turns):
        request = new_request([*stems[stem][: length + 1], *more], 8)
        number, expected = schedule.add(request), plain(alone, request)
        if place in cancelled:
            schedule.step()
            schedule.cancel(number)
            continue
        streams, _ = run(schedule)
        assert streams[number] == expected
        stems[stem] = [*request.prompt, *expected]
        num_expected += 1
    assert schedule.kept.num_reused >= 0


def test_a_chats_next_turn_computes_only_what_is_new(alone, engines, monkeypatch):
    schedule = new_scheduler(engines[2], reuses_prompts=True)
    first = new_request(list(range(60)), 9)
    schedule.add(first)
    run(schedule)
    answer = plain(alone, first)
    second = new_request([*first.prompt, *answer, 4, 5], 9)
    number = schedule.add(second)
    fed = []
    whole = engines[2].prefill_row
    monkeypatch.setattr(engines[2], "prefill_row", lambda row, prompt: fed.append(len(prompt)) or whole(row, prompt))
    streams, _ = run(schedule)
    assert streams[number] == plain(alone, second)
    assert sum(fed) <= 3 and schedule.kept.num_reused >= 60


def test_the_rows_of_an_engine_are_free_again_after_everything(alone, engines):
    schedule = new_scheduler(engines[2])
    for wave in range(3):
        schedule.add(new_request([wave, 5, 6], 6))
        run(schedule)
    assert list(engines[2].lengths) == [0, 0]


def test_a_long_prompt_does_not_hold_back_those_that_decode(alone, engines, monkeypatch):
    monkeypatch.setattr(scheduler, "PROMPT_PIECE", 10)
    schedule = new_scheduler(engines[2], [Silent(), Silent()])
    first = schedule.add(new_request([5, 6], 30))
    schedule.step()
    second = schedule.add(new_request(list(range(60, 96)), 3))
    heard = [{event.request_id for event in schedule.step()} for _ in range(4)]
    assert heard == [{first}, {first}, {first}, {first, second}]


def test_each_request_may_sample_or_not_beside_the_other(alone, engines):
    drawn = Request([5, 6, 7], GenerationSettings(do_sample=True, temperature=0.8, seed=3), Stopper(max_new_tokens=12))
    greedy = new_request([8, 9], 12)
    schedule = new_scheduler(engines[2])
    numbers = [schedule.add(request) for request in (drawn, greedy)]
    _, results = run(schedule)
    assert list(results[numbers[1]].tokens) == plain(alone, greedy)
    single = speculate(alone, drawn.prompt, drawn.settings, drawn.stopper, drafter=NgramDrafter(), num_draft=NUM_DRAFT)
    assert list(results[numbers[0]].tokens) == list(single.tokens)
    assert [results[number].verifier for number in numbers] == ["block", "greedy"]


def test_one_failing_request_ends_alone(alone, engines):
    def broken(*_):
        raise RuntimeError("this law breaks")

    good = new_request([5, 6], 9)
    schedule = new_scheduler(engines[2])
    bad_number, good_number = schedule.add(new_request([7], 9, law_of=broken)), schedule.add(good)
    failures, results = {}, {}
    while schedule.is_busy:
        for event in schedule.step():
            failures |= {event.request_id: event.failure} if event.failure else {}
            results |= {event.request_id: event.result} if event.result else {}
    assert str(failures[bad_number]) == "this law breaks"
    assert list(results[good_number].tokens) == plain(alone, good)
    assert list(engines[2].lengths) == [0, 0]


def test_other_architectures_take_turns_in_their_one_row(tiny_llama, alone):
    schedule = new_scheduler(TransformersLM(tiny_llama))
    asked = [new_request([5, 6, 7], 8), new_request([9], 5)]
    numbers = [schedule.add(request) for request in asked]
    _, results = run(schedule)
    assert [list(results[number].tokens) for number in numbers] == [plain(alone, request) for request in asked]


def test_what_cannot_be_served_is_refused_at_once(engines):
    schedule = new_scheduler(engines[2])
    with pytest.raises(UserError, match="positions"):
        schedule.add(new_request([1] * 510, 5))
    with pytest.raises(UserError, match="empty"):
        schedule.add(new_request([], 5))
    with pytest.raises(UserError, match="allow_lossy"):
        new_scheduler(engines[2], verifier=Typical()).add(new_request([1], 5))
    with pytest.raises(UserError, match="one of each per row"):
        Scheduler(engines[2], drafters=[Silent()], num_draft=2)
    assert not schedule.is_busy
    assert new_scheduler(engines[2], verifier=Coupled()).add(new_request([1], 5)) == 0
