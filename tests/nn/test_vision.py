"""A tiny random LLaVA made on the spot: other picture, other logits; candidates score as a full softmax says."""

import asyncio
import io
from pathlib import Path

import pytest
import torch
from PIL import Image as Pillow
from transformers import LlamaConfig

from tenfold.core.errors import MissingArtifactError
from tenfold.llm.chat import ChatReply, ChatRequest, Image, ProviderError, user
from tenfold.nn import vision
from tiny_llava import build


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("llava"))


@pytest.fixture(scope="module")
def model(folder: Path) -> vision.VisionChat:
    return vision.open_vision(str(folder))


def picture(colour: str) -> Image:
    buffer = io.BytesIO()
    Pillow.new("RGB", (40, 36), colour).save(buffer, "PNG")
    return Image(buffer.getvalue())


RED, BLUE = picture("red"), picture("blue")


def ask(model: vision.VisionChat, request: ChatRequest) -> ChatReply:
    return asyncio.run(model.chat(request))


def letters(*parts: str | Image, candidates: tuple[str, ...] = ("A", "B", "C", "D")) -> ChatRequest:
    return ChatRequest((user(*parts),), candidates=candidates, answer_prefix="It is (")


def test_only_a_vision_config_takes_images(folder, tmp_path):
    assert vision.takes_images(str(folder))
    LlamaConfig(num_hidden_layers=1).save_pretrained(tmp_path)
    assert not vision.takes_images(str(tmp_path))


def test_missing_model_says_what_to_do(tmp_path):
    with pytest.raises(MissingArtifactError, match="give a folder"):
        vision.takes_images(str(tmp_path))


@pytest.mark.model
def test_default_model_is_opened_as_text(smollm2):
    assert not vision.takes_images("smollm2")


def test_other_picture_other_scores_same_picture_same_scores(model):
    red, blue, again = (ask(model, letters(it, "Which?")).candidate_logprobs for it in (RED, BLUE, RED))
    assert red == again
    assert red != blue


def test_single_token_candidates_follow_the_full_softmax(model):
    reply = ask(model, letters(RED, "Which?"))
    inputs = model.processor(
        text=["<s>user: <image> Which? assistant: It is ("],
        images=[Pillow.new("RGB", (40, 36), "red")],
        return_tensors="pt",
        add_special_tokens=False,
    )
    with torch.inference_mode():
        law = model.model(**inputs).logits[0, -1].log_softmax(-1)
    wanted = [float(law[model.tokenizer.convert_tokens_to_ids(letter)]) for letter in "ABCD"]
    assert reply.candidate_logprobs == pytest.approx(wanted, abs=1e-5)
    assert reply.candidate_tokens == (1, 1, 1, 1)


def test_a_string_scores_as_its_tokens_one_after_the_other(model):
    whole = ask(model, letters(RED, "Which?", candidates=("cat", "do"))).candidate_logprobs
    for word, score in zip(("cat", "do"), whole, strict=True):
        parts = [
            ask(
                model, ChatRequest((user(RED, "Which?"),), candidates=(word[place],), answer_prefix=f"It is ({word[:place]}")
            )
            for place in range(len(word))
        ]
        assert score == pytest.approx(sum(part.candidate_logprobs[0] or 0.0 for part in parts), abs=1e-4)


def test_writing_is_greedy_by_default_and_seeded_otherwise(model):
    greedy = ChatRequest((user(RED, "Say something."),), max_tokens=6)
    first, second = ask(model, greedy), ask(model, greedy)
    assert first == second
    assert first.usage.completion_tokens <= 6
    warm = ChatRequest((user(RED, "Say something."),), max_tokens=6, temperature=1.5, seed=3)
    assert ask(model, warm) == ask(model, warm)
    assert first.finish_reason in ("stop", "length")


def test_text_alone_is_answered_too(model):
    assert ask(model, letters("Which?")).candidate_logprobs
    bare = ChatRequest((), candidates=(" x", " yy"), answer_prefix="Title:")
    assert ask(model, bare).candidate_tokens == (2, 3)


def test_broken_picture_is_a_failure_of_the_apparatus(model):
    with pytest.raises(ProviderError, match="cannot be decoded"):
        ask(model, letters(Image(b"no picture"), "Which?"))


def test_fingerprint_names_the_weights(model, folder, tmp_path):
    assert model.fingerprint == vision.open_vision(str(folder)).fingerprint
    assert len(model.fingerprint) == 64
