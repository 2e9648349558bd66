"""The local model as a chat model: the same tokens as plain decoding, the same scores as slow ones, clean boundaries."""

import asyncio
import json
import time
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import NumericalError, UserError
from tenfold.llm.chat import ChatReply, ChatRequest, Image, ProviderError, assistant, system, user
from tenfold.nn import models
from tenfold.nn.chat import LocalChat
from tenfold.nn.fingerprints import checksum, fingerprint
from tenfold.nn.generation import Generation, generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.models import LoadedModel
from tenfold.nn.reuse import Reusing, common_prefix
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.nn.transformers_lm import TransformersLM
from tiny_tokenizer import tiny_tokenizer

EOS = 1
HELLO = ChatRequest((user("what is the answer?"),), max_tokens=12)


@pytest.fixture(scope="module")
def network(new_tiny_model):
    return new_tiny_model(vocab_size=310)


@pytest.fixture(scope="module")
def loaded(network):
    engine = LeanLlama(network.config, network.state_dict())
    return LoadedModel("tiny", "", "auto", engine, tiny_tokenizer(), frozenset({EOS}))


@pytest.fixture(scope="module")
def chat(loaded):
    return LocalChat(loaded)


def ask(model, request) -> ChatReply:
    return asyncio.run(model.chat(request))


def failure(model, request) -> ProviderError:
    with pytest.raises(ProviderError) as raised:
        ask(model, request)
    return raised.value


@torch.inference_mode()
def slow_score(network, prompt, tail):
    law = network(torch.tensor([[*prompt, *tail]])).logits[0].double().log_softmax(-1)
    return sum(law[len(prompt) - 1 + place, token] for place, token in enumerate(tail)).item()


def test_greedy_text_is_that_of_plain_decoding_after_the_template(chat, loaded):
    request = ChatRequest((system("be brief"), user("what?"), assistant("A"), user("and?")), max_tokens=9)
    prompt = models.chat_ids(loaded.tokenizer, [{"role": m.role, "content": m.text} for m in request.messages])
    plain = generate(loaded.engine, prompt, GenerationSettings(max_new_tokens=9), Stopper(max_new_tokens=9, eos_ids=[EOS]))
    reply = ask(chat, request)
    assert reply.text == loaded.tokenizer.decode(list(plain.tokens), skip_special_tokens=True)
    assert reply.usage.prompt_tokens == len(prompt) and reply.usage.completion_tokens == len(plain.tokens)
    assert (reply.finish_reason == "length") == (plain.stop_reason == "length")


def test_sampling_follows_the_seed(chat):
    texts = [ask(chat, replace(HELLO, temperature=1.0, seed=seed)).text for seed in (1, 1, 2, None, 0)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[3] == texts[4]


def test_a_begun_answer_is_continued(chat, loaded):
    whole = ask(chat, HELLO)
    begun = replace(HELLO, answer_prefix="the answer is")
    tokens = loaded.tokenizer("the answer is", add_special_tokens=False)["input_ids"]
    prompt = models.chat_ids(loaded.tokenizer, [{"role": "user", "content": HELLO.messages[0].text}]) + tokens
    stopper = Stopper(max_new_tokens=12, eos_ids=[EOS])
    plain = generate(loaded.engine, prompt, GenerationSettings(max_new_tokens=12), stopper)
    assert ask(chat, begun).text == loaded.tokenizer.decode(list(plain.tokens), skip_special_tokens=True)
    assert ask(chat, begun).usage.prompt_tokens == whole.usage.prompt_tokens + len(tokens)


def test_stop_strings_end_the_text_and_are_not_part_of_it(chat):
    whole = ask(chat, HELLO).text
    stop = whole[3:5]
    reply = ask(chat, replace(HELLO, stop=(stop, "never")))
    assert reply.text == whole[: whole.index(stop)] and reply.finish_reason == "stop"
    assert reply.usage.completion_tokens <= 12


candidates = st.lists(
    st.sampled_from(["A", " A", "B", "the answer", "the", " answer is A", "é", "{"]), min_size=1, max_size=4
)


@settings(max_examples=20)
@given(prefix=st.sampled_from(["", "the answer is ", "the answer is", "{", "th"]), candidates=candidates)
def test_scores_are_sums_over_the_tokens_of_prefix_and_candidate_together(chat, loaded, network, prefix, candidates):
    request = ChatRequest((user("what?"),), candidates=tuple(candidates), answer_prefix=prefix)
    reply = ask(chat, request)
    start = models.chat_ids(loaded.tokenizer, [{"role": "user", "content": "what?"}])
    encoded = {text: loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in ["", *candidates, prefix]}
    whole = [loaded.tokenizer(prefix + text, add_special_tokens=False)["input_ids"] for text in candidates]
    shared = common_prefix(encoded[prefix], *whole)
    for place, tail in enumerate(ids[shared:] for ids in whole):
        expected = slow_score(network, start + encoded[prefix][:shared], tail)
        assert reply.candidate_logprobs[place] == pytest.approx(expected, abs=1e-3)
        assert reply.candidate_tokens[place] == len(tail)
    assert reply.text == candidates[max(range(len(candidates)), key=lambda place: reply.candidate_logprobs[place])]


def test_a_blank_before_the_candidate_is_one_token_with_it(chat):
    apart = ask(chat, replace(HELLO, answer_prefix="the answer is", candidates=(" A", " B")))
    joint = ask(chat, replace(HELLO, answer_prefix="the answer is ", candidates=("A", "B")))
    assert joint.candidate_logprobs == apart.candidate_logprobs and joint.candidate_tokens == apart.candidate_tokens


def test_bare_text_has_no_template(chat, loaded, network):
    prompt = loaded.tokenizer("user: what is", add_special_tokens=False)["input_ids"]
    tails = [loaded.tokenizer(text, add_special_tokens=False)["input_ids"] for text in (" the answer", " it")]
    scores = chat.score(ChatRequest((), answer_prefix="user: what is", candidates=(" the answer", " it")))
    assert scores.logprobs == pytest.approx([slow_score(network, prompt, tail) for tail in tails], abs=1e-3)
    assert (scores.num_tokens, scores.num_prompt_tokens) == (tuple(map(len, tails)), len(prompt))
    assert chat.score_text("user: what is", [" the answer", " it"]) == scores.logprobs
    assert ask(chat, ChatRequest((), answer_prefix="user: what is", max_tokens=4)).usage.prompt_tokens == len(prompt)


def test_an_empty_text_begins_with_bos(chat, network):
    assert chat.score_text("", ["A"]) == pytest.approx(
        [slow_score(network, [0], [chat.loaded.tokenizer("A")["input_ids"][0]])]
    )
    no_bos = LocalChat(replace(chat.loaded, tokenizer=tiny_tokenizer()))
    no_bos.loaded.tokenizer.bos_token = None
    with pytest.raises(UserError, match="BOS"):
        no_bos.score_text("", ["A"])


def test_a_tokenizer_without_a_template(loaded):
    chat = LocalChat(replace(loaded, tokenizer=tiny_tokenizer(template=None)))
    plain = loaded.tokenizer("a\n\nb is", add_special_tokens=False)["input_ids"]
    assert ask(chat, ChatRequest((user("a"), user("b")), answer_prefix=" is", max_tokens=1)).usage.prompt_tokens == len(
        plain
    )


def test_what_cannot_be_asked_is_said(chat):
    assert failure(chat, ChatRequest((user("look", Image(b"x")),))).kind == "unsupported"
    error = failure(chat, ChatRequest((user("a b " * 600),)))
    assert error.kind == "too_long" and "512 positions" in str(error)
    assert failure(chat, replace(HELLO, candidates=("A", ""))).kind == "rejected"
    assert failure(chat, replace(HELLO, json_schema={"type": "nonsense"})).kind == "rejected"
    assert failure(chat, replace(HELLO, temperature=-1.0)).kind == "rejected"


def test_a_template_that_refuses_a_role(loaded):
    refusing = tiny_tokenizer(template="{{ raise_exception('no system role') }}")
    error = failure(LocalChat(replace(loaded, tokenizer=refusing)), HELLO)
    assert error.kind == "rejected" and "no system role" in str(error)


def test_a_budget_beyond_the_last_position_ends_there(chat):
    reply = ask(chat, ChatRequest((user("ab " * 150),), max_tokens=5000, temperature=1.0, seed=1))
    used = reply.usage.prompt_tokens + reply.usage.completion_tokens
    assert (used == 513 and reply.finish_reason == "length") or reply.finish_reason == "stop"


def test_json_of_a_schema(chat):
    schema = {"type": "object", "properties": {"is": {"type": "boolean"}}, "required": ["is"]}
    reply = ask(chat, replace(HELLO, json_schema=schema, max_tokens=40))
    assert reply.finish_reason == "stop" and json.loads(reply.text).keys() == {"is"}


def test_broken_numbers_are_a_failure_of_the_apparatus(loaded):
    def broken(*_):
        raise NumericalError("NaN")

    assert failure(LocalChat(loaded, generate=broken), HELLO).kind == "server"


def test_a_request_that_does_not_fit_into_memory_is_refused_and_ends_no_run(loaded):
    def full(*_):
        raise torch.OutOfMemoryError("tried to allocate")

    error = failure(LocalChat(loaded, generate=full), HELLO)
    assert error.kind == "rejected" and "shorten it" in str(error)


def test_another_way_of_generating_gets_the_bare_engine(loaded):
    seen = []

    def other(model, prompt, chosen, stopper):
        seen.append((model, list(prompt), chosen.max_new_tokens))
        return Generation(model.tokenizer("the answer")["input_ids"], "eos")

    chat = LocalChat(loaded, generate=other)
    ask(chat, replace(HELLO, candidates=("A",)))
    assert ask(chat, HELLO).text == "the answer"
    assert seen[0][0] is loaded and seen[0][2] == 12


texts = st.sampled_from(["what is the answer?", "what is it?", "is"])
options = st.sampled_from([(), ("A", " B"), ("the answer", "the")])
asked = st.builds(lambda text, options: ChatRequest((user(text),), max_tokens=5, candidates=options), texts, options)


@settings(max_examples=12)
@given(requests=st.lists(asked, min_size=2, max_size=5))
def test_reused_prompts_change_no_bit(loaded, requests):
    """Scores are compared exactly: a prompt computed in part is the prompt computed in full."""
    assert loaded.engine.exactness == "bit"
    warm = LocalChat(loaded)
    together = [ask(warm, request) for request in requests]
    alone = [ask(LocalChat(loaded), request) for request in requests]
    assert together == alone
    assert warm._reusing.num_reused > 0
    assert ask(warm, requests[0]) == alone[0]  # after the others have used the engine


def test_engines_whose_bits_depend_on_the_split_start_afresh(network):
    engine = TransformersLM(network)
    chat = LocalChat(LoadedModel("tiny", "", "auto", engine, tiny_tokenizer(), frozenset({EOS})))
    for _ in range(2):
        ask(chat, replace(HELLO, candidates=("A",)))
    assert chat._reusing.num_reused == 0


@given(prompts=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=8), min_size=1, max_size=4))
@settings(max_examples=15)
def test_the_reusing_engine_knows_what_its_cache_holds(loaded, prompts):
    engine = Reusing(loaded.engine)
    engine.forget()
    for prompt in prompts:
        engine.reset()
        assert list(engine.lengths) == [0]
        engine.prefill([prompt])
        engine.forward(torch.tensor([[5, 6, 7]]))
        engine.keep(0, len(prompt), [len(prompt), len(prompt) + 2])
        engine.rollback([1])
        assert engine.tokens == [*prompt, 5] and list(engine.lengths) == [len(prompt) + 1]


def test_callers_do_not_block_the_event_loop_and_may_give_up(chat):
    async def main():
        ticks = 0
        long = asyncio.create_task(chat.chat(ChatRequest((user("a"),), max_tokens=400, temperature=1.0)))
        while not long.done() and ticks < 3:
            await asyncio.sleep(0.005)
            ticks += 1
        started = time.monotonic()
        long.cancel()
        await asyncio.gather(long, return_exceptions=True)
        replies = await asyncio.gather(*[chat.chat(replace(HELLO, max_tokens=2)) for _ in range(5)])
        return ticks, len({reply.text for reply in replies}), time.monotonic() - started

    ticks, different, seconds = asyncio.run(main())
    assert ticks >= 1 and different == 1 and seconds < 5


def test_fingerprints_name_weights_template_and_format(loaded, network, tmp_path, monkeypatch):
    monkeypatch.setenv("TENFOLD_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "model"
    network.save_pretrained(folder)
    here = replace(loaded, path=str(folder))
    first = fingerprint(here)
    assert first == fingerprint(replace(here, name="other")) and len(first) == 64
    assert first != fingerprint(replace(here, dtype="bf16"))
    assert first != fingerprint(replace(here, tokenizer=tiny_tokenizer(template=None)))
    (file,) = folder.glob("*.safetensors")
    kept = checksum(file)
    file.write_bytes(file.read_bytes() + b" ")
    assert checksum(file) != kept and fingerprint(here) != first
    second = fingerprint(here)
    (folder / "generation_config.json").write_text('{"eos_token_id": 5}')
    assert fingerprint(here) != second  # the same weights, but the text ends elsewhere


def test_a_converted_models_record_is_its_fingerprint(loaded, tmp_path):
    (tmp_path / "tenfold.json").write_text(json.dumps({"sha256": {"model.safetensors": "ab"}}))
    other = tmp_path / "other"
    other.mkdir()
    (other / "tenfold.json").write_text(json.dumps({"sha256": {"model.safetensors": "cd"}}))
    first, second = (fingerprint(replace(loaded, path=str(folder))) for folder in (tmp_path, other))
    assert first != second


@pytest.mark.model
def test_the_default_model(smollm2):
    chat = LocalChat(smollm2)
    assert chat.name == "smollm2" and not chat.takes_images
    started = time.monotonic()
    assert len(chat.fingerprint) == 64 and time.monotonic() - started < 1
    reply = ask(chat, ChatRequest((user("What is the capital of France?"),), max_tokens=16))
    assert "Paris" in reply.text and reply.finish_reason == "stop"
    ids = models.chat_ids(smollm2.tokenizer, [{"role": "user", "content": "What is the capital of France?"}])
    assert reply.usage.prompt_tokens == len(ids)
    first, second = chat.score_text("The capital of France is", [" Paris", " Rome"])
    assert first > second + 3
