"""Readings: which requests are made, and what their replies mean, in every order of the options."""

from dataclasses import replace

import pytest

from tenfold.core.errors import ConfigError
from tenfold.llm.chat import ChatReply
from tenfold.systems.deepeval import letters
from tenfold.systems.deepeval.asking import Manner, Mark, read_item
from tenfold.systems.deepeval.items import Item

ITEM = Item("title-1", "img1", "title", (" Old  hat", "New shoes", "Warm gloves", "No scarf"), 2, "title-000")
ONE = Manner(prompts=(1,))


def scores(*values: float | None) -> ChatReply:
    return ChatReply("", candidate_logprobs=values, candidate_tokens=(1, 2, 4, 1))


def mark(manner: Manner, reply: ChatReply, description: str | None = None) -> Mark:
    """Every request of the first reading gets the same reply."""
    ask = read_item(ITEM, manner, None, description)[0]
    replies: dict[str, ChatReply] = {}
    while waiting := ask.outstanding(replies):
        replies |= {request.digest: reply for request in waiting}
    return ask.mark(replies)


def test_letters_are_ranked_after_an_answer_that_ends_in_a_bracket():
    request = read_item(ITEM, ONE, None, None)[0].outstanding({})[0]
    assert request.candidates == ("A", "B", "C", "D")
    assert request.answer_prefix.endswith("(")
    assert "(A) Old hat" in request.messages[0].text


def test_letters_may_be_the_first_token_of_an_answer():
    request = read_item(ITEM, replace(ONE, begin_answer=False), None, None)[0].outstanding({})[0]
    assert request.answer_prefix == ""


def test_highest_letter_wins_and_of_equal_ones_the_first():
    assert mark(ONE, scores(-3, -2, -1, -2)).pick == 2
    assert mark(ONE, scores(-3, -1, -1, -1)).pick == 1


def test_an_unranked_letter_is_unscored():
    assert mark(ONE, scores(-3, None, -1, -2)) == Mark("letter_unranked", None, "a candidate has no log-probability")
    assert mark(ONE, ChatReply("C")).state == "letter_unranked"


def test_a_missing_reply_is_the_fault_of_the_apparatus():
    assert read_item(ITEM, ONE, None, None)[0].mark({}).state == "apparatus"


def test_rotations_are_mapped_back_to_the_options_themselves():
    asks = read_item(ITEM, replace(ONE, circular="mean"), None, None)
    assert [ask.shown[0] for ask in asks] == ["Old hat", "New shoes", "Warm gloves", "No scarf"]
    for ask in asks:
        place = ask.shown.index("Warm gloves")
        reply = scores(*(0.0 if letter == place else -9.0 for letter in range(4)))
        assert ask.mark({ask.outstanding({})[0].digest: reply}).pick == 2


def test_prompts_and_rotations_multiply():
    assert len(read_item(ITEM, Manner(circular="vote"), None, None)) == 12
    assert len(read_item(ITEM, Manner(), None, None)) == 3
    assert len(read_item(ITEM, Manner(method="text"), None, None)) == 1


def test_texts_continue_the_description():
    ask = read_item(ITEM, Manner(method="text", scoring="pmi"), None, "A hat on a hook.")[0]
    given, alone = ask.outstanding({})
    assert given.answer_prefix == "Cartoon: A hat on a hook.\nTitle of the cartoon:"
    assert alone.answer_prefix == "Title of the cartoon:"
    assert given.candidates == alone.candidates == (" Old hat", " New shoes", " Warm gloves", " No scarf")
    assert not given.messages


def test_pmi_is_the_gain_over_no_description():
    ask = read_item(ITEM, Manner(method="text", scoring="pmi"), None, "A hat.")[0]
    given, alone = ask.outstanding({})
    replies = {given.digest: scores(-5, -9, -6, -8), alone.digest: scores(-1, -9, -9, -9)}
    assert ask.mark(replies).pick == 2
    raw = read_item(ITEM, Manner(method="text", scoring="sum"), None, "A hat.")[0]
    assert raw.mark(replies).pick == 0
    each = read_item(ITEM, Manner(method="text", scoring="per-token"), None, "A hat.")[0]
    assert each.mark(replies).pick == 2


def test_channel_ranks_the_description_after_each_option():
    ask = read_item(ITEM, Manner(method="text", scoring="channel"), None, "A hat.")[0]
    requests = ask.outstanding({})
    assert [request.answer_prefix for request in requests[:2]] == [
        "Title of the cartoon: Old hat\nCartoon:",
        "Title of the cartoon: New shoes\nCartoon:",
    ]
    assert {request.candidates for request in requests} == {(" A hat.",)}
    values = [-30.0, -20.0, -10.0, -40.0]
    replies = {
        request.digest: ChatReply("", candidate_logprobs=(value,)) for request, value in zip(requests, values, strict=True)
    }
    assert ask.mark(replies).pick == 2
    replies[requests[0].digest] = ChatReply("", candidate_logprobs=(None,))
    assert ask.mark(replies).state == "letter_unranked"
    assert mark(Manner(method="text", scoring="channel"), scores(-5, -1, -6, -8)).pick == 0


def test_both_adds_pmi_and_channel():
    ask = read_item(ITEM, Manner(method="text", scoring="both"), None, "A hat.")[0]
    given, alone, *each = ask.outstanding({})
    replies = {given.digest: scores(-5, -5, -6, -8), alone.digest: scores(-9, -6, -9, -9)}
    replies |= {
        request.digest: ChatReply("", candidate_logprobs=(value,))
        for request, value in zip(each, (-30.0, -20.0, -25.0, -40.0), strict=True)
    }
    assert len(each) == 4
    assert ask.mark(replies).pick == 1  # 4 - 30, 1 - 20, 3 - 25, 1 - 40
    replies[alone.digest] = scores(None, -6, -9, -9)
    assert ask.mark(replies).state == "letter_unranked"


@pytest.mark.parametrize("scoring", ["pmi", "channel", "both"])
def test_without_description_all_options_score_alike(scoring):
    assert mark(Manner(method="text", scoring=scoring), scores(-5, -1, -6, -8)).pick == 0


def test_without_description_pmi_is_zero_everywhere_so_the_first_is_taken():
    assert mark(Manner(method="text"), scores(-5, -1, -6, -8)).pick == 0


def test_written_answers_are_parsed():
    written = replace(ONE, method="generate")
    assert mark(written, ChatReply("The answer is (D).")).pick == 3
    assert mark(written, ChatReply("The answer is", "length")).state == "truncated"
    assert mark(written, ChatReply("", "content_filter")).state == "refusal"


def test_published_mode_asks_again_until_a_letter_appears():
    manner = Manner(method="generate", parser="official", mode="official", prompts=(1,)).check()
    ask = read_item(ITEM, manner, None, None)[0]
    assert " Old  hat" in ask.shown
    replies: dict[str, ChatReply] = {}
    seeds = []
    for text in ("hm", "hm", "It is C"):
        (request,) = ask.outstanding(replies)
        assert request.temperature == 0.2
        seeds.append(request.seed)
        replies[request.digest] = ChatReply(text)
    assert seeds == [0, 1, 2]
    assert ask.outstanding(replies) == []
    assert ask.mark(replies).pick == 2


def test_published_mode_gives_up_after_six_attempts():
    manner = Manner(method="generate", parser="official", mode="official", prompts=(1,))
    ask = read_item(ITEM, manner, None, None)[0]
    replies: dict[str, ChatReply] = {}
    while waiting := ask.outstanding(replies):
        replies |= {request.digest: ChatReply("hm") for request in waiting}
    assert len(replies) == letters.OFFICIAL_ATTEMPTS
    assert ask.mark(replies).state == "none"


def test_settings_that_do_not_go_together_are_refused():
    with pytest.raises(ConfigError, match="published runner"):
        Manner(mode="official").check()
    with pytest.raises(ConfigError, match="nothing to rotate"):
        Manner(method="text", circular="mean").check()
