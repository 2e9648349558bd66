"""The automaton against strings searched one by one."""

from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.specdec.drafters.suffix_automaton import START, SuffixAutomaton, follow

texts = st.lists(st.integers(0, 3), max_size=40)


def ends_of(text, part):
    """After how many tokens of `text` an occurrence of `part` ends."""
    return [end for end in range(len(part), len(text) + 1) if text[end - len(part) : end] == part]


def longest_earlier_suffix(text):
    sizes = range(len(text) - 1, 0, -1)
    return next((size for size in sizes if len(ends_of(text, text[len(text) - size :])) > 1), 0)


def grown(text):
    automaton = SuffixAutomaton()
    automaton.extend(text)
    return automaton


def state_of(automaton, part):
    state = START
    for token in part:
        state = automaton.step(state, token)
        if state is None:
            return None
    return state


@given(texts, texts)
def test_a_string_leads_to_a_state_exactly_if_it_occurs(text, part):
    assert (state_of(grown(text), part) is not None) == (not part or bool(ends_of(text, part)))


@given(texts)
def test_counts_and_newest_places_are_those_of_a_search(text):
    automaton = grown(text)
    for start in range(len(text)):
        for end in range(start + 1, len(text) + 1):
            part = text[start:end]
            state = state_of(automaton, part)
            assert (automaton.count[state], automaton.newest[state]) == (len(ends_of(text, part)), ends_of(text, part)[-1])


@given(texts)
def test_after_every_token_the_longest_repeated_suffix_is_known(text):
    automaton = SuffixAutomaton()
    for end, token in enumerate(text, start=1):
        automaton.append(token)
        assert automaton.length[automaton.repeated] == longest_earlier_suffix(text[:end])


@given(texts, texts)
def test_following_a_second_text_keeps_its_longest_suffix_that_occurs(text, other):
    automaton, state, length = grown(text), START, 0
    for end, token in enumerate(other, start=1):
        state, length = follow(automaton, state, length, token)
        seen = other[:end]
        assert length == next(size for size in range(end, -1, -1) if not size or ends_of(text, seen[end - size :]))


@given(texts)
def test_the_followers_of_a_state_are_what_occurs_after_it(text):
    automaton = grown(text)
    for start in range(len(text)):
        part = text[start : start + 2]
        after = {text[end] for end in ends_of(text, part) if end < len(text)}
        assert set(automaton.followers(state_of(automaton, part))) == after


def test_repeated_text_stays_linear():
    automaton = grown([7] * 2000)
    assert len(automaton.length) == 2001
    assert automaton.length[automaton.repeated] == 1999
