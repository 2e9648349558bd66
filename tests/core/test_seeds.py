"""Derived seeds: the same for ever, in range, and different for each purpose."""

from hypothesis import given
from hypothesis import strategies as st

from tenfold.core.seeds import derive

labels = st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True) | st.integers(0, 99), max_size=4)


def test_derived_seeds_are_the_ones_they_always_were():
    assert derive(0) == 3456079177858693020
    assert derive(0, "target") == 5226432872298780603
    assert derive(7, "draft", 3) == 7245808977126370647


@given(seed=st.integers(0, 2**64), names=labels)
def test_derived_seeds_fit_into_63_bits(seed, names):
    assert 0 <= derive(seed, *names) < 2**63


@given(first=st.tuples(st.integers(0, 9), labels), second=st.tuples(st.integers(0, 9), labels))
def test_other_seed_or_other_labels_give_another_stream(first, second):
    same = [str(part) for part in (first[0], *first[1])] == [str(part) for part in (second[0], *second[1])]
    assert (derive(first[0], *first[1]) == derive(second[0], *second[1])) == same
