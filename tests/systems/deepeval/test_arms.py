"""Pictures and descriptions of each arm; combinations that are refused; prompts filled by position."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

from tenfold.core.errors import ConfigError, UnknownNameError, UserError
from tenfold.llm.chat import Image
from tenfold.systems.deepeval import arms
from tenfold.systems.deepeval.items import TASKS, Item


def item(number: int, block: int | None, prompts: tuple[str, ...] = ()) -> Item:
    name = None if block is None else f"title-{block:03d}"
    options = ("one", "two", "three", "four")
    return Item(f"title-{number}", f"img{number}", "title", options, number % 4, name, prompts=prompts)


def test_presets_are_found_by_name_and_by_switches():
    for name, arm in arms.PRESETS.items():
        assert arms.find(name) is arm
        assert arms.find(f"{arm.picture}+{arm.describe}") is arm
    assert arms.find("wrong+oracle").picture == "wrong"


def test_unknown_arm_names_the_nearest():
    with pytest.raises(UnknownNameError, match="did you mean 'text-oracle'"):
        arms.find("text-oracel")
    with pytest.raises(UnknownNameError):
        arms.find("true+nothing")


def test_the_answer_itself_is_refused_as_a_description():
    for name in ("oracle", "text-oracle", "wrong+oracle"):
        with pytest.raises(ConfigError, match="the answer of the description task"):
            arms.check(arms.find(name), "description", model="m", takes_images=True)


def test_text_model_is_refused_every_arm_that_needs_pictures():
    for name in ("image", "wrong-image", "blank", "oracle", "own", "text-own"):
        with pytest.raises(UserError, match="none, text-oracle, text-wrong") as caught:
            arms.check(arms.find(name), "title", model="smollm2", takes_images=False)
        assert caught.value.exit_code == 2
    for name in arms.TEXT_ARMS:
        arms.check(arms.find(name), "title", model="smollm2", takes_images=False)


@given(st.integers(2, 12), st.integers(0, 5), st.booleans())
def test_partner_is_another_picture_of_another_block_and_each_is_used_once(num_blocks, seed, blocked):
    items = [item(4 * block + place, block if blocked else None) for block in range(num_blocks) for place in range(4)]
    found = arms.partners(items, seed=seed)
    block_of = {each.image_id: each.block or each.id for each in items}
    assert sorted(found) == sorted(found.values()) == sorted(block_of)
    assert all(block_of[image_id] != block_of[other] for image_id, other in found.items())
    assert found == arms.partners(items[::-1], seed=seed)


def test_one_block_has_no_partner_to_give():
    with pytest.raises(UserError, match="another block"):
        arms.partners([item(place, 0) for place in range(4)])


def test_blank_picture_is_grey_and_of_the_same_size():
    buffer = io.BytesIO()
    Pillow.new("RGB", (30, 20), "red").save(buffer, "PNG")
    with Pillow.open(io.BytesIO(arms.blank(Image(buffer.getvalue())).data)) as found:
        assert found.size == (30, 20)
        assert found.getcolors() == [(600, arms.GREY)]


@given(st.lists(st.text("{}01a%s ", max_size=6), min_size=4, max_size=4))
def test_options_with_braces_come_through_untouched(options):
    text = arms.fill("(A) {} (B) {} (C) {} (D) {} ?", options)
    a, b, c, d = options
    assert text == f"(A) {a} (B) {b} (C) {c} (D) {d} ?"


def test_a_prompt_without_four_slots_is_refused():
    with pytest.raises(ConfigError, match="3 slots for 4 texts"):
        arms.fill("{} {} {}", ["a", "b", "c", "d"])


@pytest.mark.parametrize("task", TASKS)
def test_own_prompts_have_four_slots_and_say_the_task(task):
    prompts = arms.own_prompts(task)
    assert len(set(prompts)) == arms.NUM_PROMPTS
    assert all(prompt.count("{}") == 4 and arms.NOUNS[task] in prompt for prompt in prompts)


def test_the_records_own_wording_comes_first():
    assert arms.question(item(0, 0, ("Q {} {} {} {}",)), 1, ["a", "b", "c", "d"]) == "Q a b c d"
    with pytest.raises(ConfigError, match="no prompt 2"):
        arms.question(item(0, 0, ("Q {} {} {} {}",)), 2, ["a", "b", "c", "d"])


def test_a_message_holds_what_the_arm_gives():
    picture = Image(b"bytes")
    assert arms.message("Q?", None, None).parts == ("Q?",)
    assert arms.message("Q?", picture, None).parts == (picture, "Q?")
    text = arms.message("Q?", None, "A {cat}.").text
    assert text == "Description of the cartoon: A {cat}.\n\nQ?"


def test_whitespace_is_collapsed():
    assert arms.collapse("  a \n\t b ") == "a b"
