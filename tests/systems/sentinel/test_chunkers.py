"""Where chunks end: twenty paragraphs cut by hand, and laws on random text with emoji and CJK."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tenfold.systems.sentinel.chunkers import chunker
from tenfold.systems.sentinel.layout import insert, strip
from tenfold.systems.sentinel.segments import Segmenter
from tenfold.systems.sentinel.settings import SentinelConfig

TOKEN = re.compile(r" ?\w+| ?[^\w\s]|\n+|\s")


def cut(text: str, **changes: object) -> list[str]:
    """A text's chunks, with a token for each word and mark."""
    tokens = TOKEN.findall(text)
    assert "".join(tokens) == text
    pieces = [token.encode() for token in [*tokens, "<SR>", "<SR2>"]]
    config = SentinelConfig.model_validate({"min_chunk": 1, **changes})
    layout = insert(range(len(tokens)), Segmenter(config, pieces, (len(tokens), len(tokens) + 1)))
    chunks = [""]
    for token, level in zip(layout.ids, layout.level, strict=True):
        if level == 1:
            chunks.append("")
        elif not level:
            chunks[-1] += tokens[token]
    return chunks


PARAGRAPHS = [
    ["It rains.", " We stay."],
    ["Is it you?", " Yes!", " Come in."],
    ["Mr. Ibarra came at 6 p.m. on Friday.", " He left."],
    ["J. R. Smith wrote it.", " Nobody read it."],
    ["The U.S. Senate met.", " It voted."],
    ["It costs 3.50 today.", " Tomorrow it costs 4.", " The day after, nothing."],
    ["See No. 7 and Fig. 2 for more.", " Then go."],
    ['"No." He left.'.replace(" He left.", ""), " He left."],
    ['"It is late," she said.', ' "Go home."', " He went."],
    ["“Stop!” cried Ann.", " “Why?”", " Nobody knew."],
    ["Wait...", " What was that?"],
    ["He said... nothing at all."],
    ["She came (at last.)", " We ate."],
    ["One line\n", "another line\n", "the end"],
    ["A paragraph.\n\n", "Another one."],
    [" = Title = \n", " Homarus is a lobster .", " It is blue .", " It walks ."],
    [" The value is 1 @.@ 5 metres .", " It grows ."],
    ["今日は雨です。", "傘がない。", "どうしよう？"],
    ["他说：“好。”", "我们走了。"],
    ["Prof. Lund of Acme Inc. spoke.", " All slept!", " 40 people left."],
    ["Was ist das?", " Über uns.", " Éric vient."],
]


@pytest.mark.parametrize("chunks", PARAGRAPHS, ids=lambda chunks: chunks[0][:20])
def test_paragraphs_cut_by_hand(chunks):
    assert cut("".join(chunks)) == chunks


def test_other_chunkers():
    assert cut("a b c d e f g", chunker="fixed:3") == ["a b c", " d e f", " g"]
    assert cut("a, b; c", chunker="punct") == ["a,", " b;", " c"]
    assert cut("a, b; c", chunker="punct:;") == ["a, b;", " c"]
    assert cut("One. Two.\n\nThree.", chunker="paragraph") == ["One. Two.\n\n", "Three."]
    assert cut("a b c d", max_chunk=2, chunker="paragraph") == ["a b", " c d"]
    assert cut("A. B. Cd. Ef.", min_chunk=5) == ["A. B. Cd.", " Ef."]


def test_surprise_opens_a_chunk():
    pieces = [b" a"] * 9
    layout = insert(
        range(6), Segmenter(SentinelConfig(chunker="surprisal:2", min_chunk=1), pieces, (8,)), nats=[9, 1, 1, 3, 1, 5]
    )
    assert layout.ids == (0, 1, 2, 8, 3, 4, 8, 5)


def test_random_places_do_not_depend_on_the_text():
    assert [len(chunk.split()) for chunk in cut("a b c d e f g h i j", chunker="random:3")] == [
        len(chunk.split()) for chunk in cut("z y x w v u t s r q", chunker="random:3")
    ]


def test_paragraphs_get_a_sentinel_of_their_own():
    tokens = TOKEN.findall("One. Two.\n\nThree.")
    pieces = [token.encode() for token in [*tokens, "<SR>", "<SR2>"]]
    config = SentinelConfig(min_chunk=1, hierarchy=True)
    layout = insert(range(len(tokens)), Segmenter(config, pieces, (len(tokens), len(tokens) + 1)))
    assert [level for level in layout.level if level] == [1, 1, 2]
    assert layout.g[-1] == 1 and layout.g[0] == 0


@given(
    text=st.text(st.sampled_from('abz. !?\n,"A3語。🙂é“” '), min_size=1, max_size=80),
    kind=st.sampled_from(["sentence", "fixed:3", "punct", "paragraph", "random:4"]),
)
def test_no_cut_inside_a_character_and_none_too_short(text, kind):
    tokens = list(text.encode())
    config = SentinelConfig(chunker=kind, min_chunk=3, max_chunk=9)
    layout = insert(tokens, Segmenter(config, [bytes([byte]) for byte in range(256)] + [b""], (256,)))
    assert strip(layout) == tokens
    start = 0
    for place in [place for place, level in enumerate(layout.level) if level]:
        chunk = bytes(layout.ids[start:place])
        chunk.decode()
        assert 3 <= len(chunk) <= 9 + 3
        start = place + 1


@pytest.mark.parametrize("name", ["sentence", "surprisal:3"])
def test_who_looks_ahead_says_so(name):
    assert chunker(name).looks_ahead


@pytest.mark.parametrize("name", ["fixed:8", "paragraph", "punct", "random:8"])
def test_who_does_not_look_ahead(name):
    assert not chunker(name).looks_ahead
