"""Pieces of text: together the whole text, each of whole characters, and nothing of a stop string."""

from hypothesis import given
from hypothesis import strategies as st

from tenfold.apps.server.texts import REPLACEMENT, TextStream
from tiny_tokenizer import tiny_tokenizer

TOKENIZER = tiny_tokenizer()
texts = st.text(st.sampled_from('the answ r\n"{é€😀日'), max_size=40)


@given(text=texts, cuts=st.lists(st.integers(1, 5), max_size=20))
def test_pieces_are_the_text_in_whole_characters(text, cuts):
    ids = TOKENIZER(text)["input_ids"]
    stream, pieces = TextStream(TOKENIZER), []
    while ids:
        size = cuts.pop() if cuts else 1
        pieces.append(stream.push(ids[:size]))
        ids = ids[size:]
    assert all(REPLACEMENT not in piece for piece in pieces)
    assert "".join(pieces) + stream.finish() == text


@given(text=texts, stop=st.text("an er", min_size=1, max_size=4))
def test_nothing_from_a_stop_string_on_is_ever_sent(text, stop):
    stream = TextStream(TOKENIZER, [stop])
    sent = "".join(stream.push([token]) for token in TOKENIZER(text)["input_ids"]) + stream.finish()
    assert sent == text.split(stop)[0]


@given(st.lists(st.integers(2, 257), max_size=30))
def test_any_bytes_end_as_the_tokenizer_shows_them(ids):
    stream = TextStream(TOKENIZER)
    assert "".join(stream.push([token]) for token in ids) + stream.finish() == TOKENIZER.decode(ids)
