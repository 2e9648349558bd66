"""Trained heads: features in step, lossless drafting, losses, training that resumes, heads that know their target."""

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tenfold.core.errors import MissingArtifactError, ResumeError, UserError
from tenfold.nn.drafting import ROOT, Draft
from tenfold.nn.models import LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.systems.specdec.drafters import train_heads
from tenfold.systems.specdec.drafters.head_networks import TrainedHead, frozen_head, target_digest
from tenfold.systems.specdec.drafters.heads import Features, HeadDrafterConfig, eagle_drafter, medusa_drafter
from tenfold.systems.specdec.drafters.train_heads import TrainHeadConfig, guesses, loss_of, train_head
from tiny_llama import GREEDY, VOCAB, loaded, plain, speculated, tiny_llama

TARGET = tiny_llama(0)
KINDS = {"medusa": medusa_drafter, "eagle": eagle_drafter}
PROMPTS = ["b", "cd", "efg", "a", "hi"]


class Letters:
    """A tokenizer without a chat template: one token a letter."""

    chat_template = None

    def __call__(self, text: str) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) % VOCAB for letter in text]}


def tiny_target(seed: int = 0) -> LoadedModel:
    return loaded(tiny_llama(seed), Letters())


def small(kind: str, **changes) -> TrainHeadConfig:
    sizes = {"num_heads": 3, "feed_forward": 24, "head_size": 40, "max_new_tokens": 12, "num_steps": 4, "save_every": 2}
    return TrainHeadConfig.model_validate({"kind": kind, **sizes, **changes})


@pytest.fixture(scope="module", params=sorted(KINDS))
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    metrics = train_head(small(request.param), tiny_target(), PROMPTS, folder)
    return SimpleNamespace(kind=request.param, folder=folder, metrics=metrics)


def drafter_of(trained, settings=GREEDY, engine=TARGET):
    return KINDS[trained.kind](loaded(engine), settings, HeadDrafterConfig(head=trained.folder))


@settings(deadline=None, max_examples=5)
@given(prompt=st.lists(st.integers(0, VOCAB - 1), min_size=2, max_size=20))
def test_greedy_speculation_with_a_head_is_lossless(trained, prompt):
    assert list(speculated(TARGET, drafter_of(trained), prompt, 16).tokens) == plain(TARGET, prompt, 16)


def test_sampled_drafts_carry_a_law_over_the_heads_own_tokens(trained):
    TARGET.reset()
    TARGET.prefill([[1, 2, 3]])
    draft = drafter_of(trained, GenerationSettings(do_sample=True)).propose([1, 2, 3, 4], 3)
    head = TrainedHead.load(trained.folder, TARGET)
    assert draft.law_nV is not None
    assert draft.law_nV.sum(-1).tolist() == pytest.approx([1, 1, 1], abs=1e-5)
    assert set(draft.tokens) <= set(head.vocabulary_n.tolist())
    assert draft.law_nV[:, head.vocabulary_n].sum() == pytest.approx(3, abs=1e-5)


@settings(deadline=None, max_examples=10)
@given(
    prompt=st.lists(st.integers(0, VOCAB - 1), min_size=1, max_size=10),
    rounds=st.lists(st.tuples(st.integers(1, 4), st.integers(0, 4)), max_size=4),
)
def test_features_are_the_rows_of_the_context_whatever_was_rejected(prompt, rounds):
    features = Features(TARGET)
    TARGET.reset()
    TARGET.prefill([prompt])
    context = [*prompt, 7]
    assert features.cover(context)
    for num_drafted, num_accepted in rounds:
        drafted = [(len(context) * 5 + i) % VOCAB for i in range(num_drafted)]
        TARGET.forward(torch.tensor([[context[-1], *drafted]]))
        emitted = [*drafted[:num_accepted], 9]
        features.observe(emitted, Draft.chain(drafted, "test"))
        TARGET.rollback([num_drafted - min(num_accepted, num_drafted)])
        context += emitted
        assert features.cover(context)
    once = tiny_llama(0)
    once.prefill([context[:-1]])
    assert torch.allclose(torch.stack(features.rows), once.hidden_rows[0], atol=1e-4)


def test_features_follow_the_accepted_path_of_a_tree():
    features = Features(TARGET)
    TARGET.reset()
    TARGET.prefill([[1]])
    assert features.cover([1, 2])
    draft = Draft([5, 6, 8], [ROOT, ROOT, 1], "test")
    TARGET.hidden_rows = [torch.arange(4.0)[:, None]]
    features.observe([6, 8, 3], draft)
    assert [float(row[0]) for row in features.rows[1:]] == [0, 2, 3]


def test_an_eagle_draft_equals_training_with_its_own_guesses_fed_back(tmp_path):
    """One path through the training masks, place by place, is what drafting computes step by step."""
    train_head(small("eagle"), tiny_target(), PROMPTS, tmp_path)
    head, context = TrainedHead.load(tmp_path, TARGET), [3, 1, 4, 1, 5]
    TARGET.reset()
    TARGET.prefill([context[:-1]])
    drafted = list(eagle_drafter(loaded(TARGET), GREEDY, HeadDrafterConfig(head=tmp_path)).propose(context, 3).tokens)
    example = train_heads._example(TARGET, [*context, *drafted])
    with torch.inference_mode():
        guess_JMD = guesses(head.network, example, 3)
    choice_JM = head.vocabulary_n[(guess_JMD @ frozen_head(TARGET, head.vocabulary_n).T).argmax(-1)]
    assert choice_JM[:, len(context) - 2].tolist() == drafted


def test_an_eagle_draft_is_the_same_after_rejected_drafts(tmp_path):
    train_head(small("eagle"), tiny_target(), PROMPTS, tmp_path)
    config = HeadDrafterConfig(head=tmp_path)
    drafter = eagle_drafter(loaded(TARGET), GREEDY, config)
    result = speculated(TARGET, drafter, [3, 1, 4], 14)
    context = [3, 1, 4, *result.tokens]
    TARGET.reset()
    TARGET.prefill([context[:-1]])
    fresh = eagle_drafter(loaded(TARGET), GREEDY, config).propose(context, 3)
    assert list(drafter.propose(context, 3).tokens) == list(fresh.tokens)


def test_losses():
    p_Mn, q_Mn = torch.tensor([[0.7, 0.2, 0.1]]), torch.tensor([[0.2, 0.5, 0.3]])
    losses = {kind: float(loss_of(kind, p_Mn.log(), q_Mn.log())) for kind in ("ce", "kl", "tv", "lk")}
    divergence, acceptance = float((p_Mn * (p_Mn / q_Mn).log()).sum()), 0.2 + 0.2 + 0.1
    share = torch.exp(torch.tensor(-3 * acceptance)).item()
    assert losses["ce"] == pytest.approx(-torch.tensor(0.2).log().item(), rel=1e-5)
    assert losses["kl"] == pytest.approx(divergence, rel=1e-5)
    assert losses["tv"] == pytest.approx(1 - acceptance, rel=1e-5)
    assert losses["lk"] == pytest.approx(share * divergence + (1 - share) * (1 - acceptance), rel=1e-5)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("loss", ["ce", "kl", "tv", "lk"])
def test_training_lowers_the_loss(kind, loss, tmp_path):
    seen = []
    config = small(kind, loss=loss, num_steps=40, learning_rate=0.01, head_size=VOCAB)
    train_head(config, tiny_target(), PROMPTS[:2], tmp_path, report=lambda step, value: seen.append(value))
    assert sum(seen[-5:]) < 0.9 * sum(seen[:5])


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_stopped_training_goes_on_to_the_same_bytes(kind, tmp_path):
    def stop(step: int, loss: float) -> None:
        if step == 3:
            raise KeyboardInterrupt

    for name, first in (("whole", None), ("stopped", stop)):
        if first is not None:
            with pytest.raises(KeyboardInterrupt):
                train_head(small(kind), tiny_target(), PROMPTS, tmp_path / name, report=first)
        train_head(small(kind), tiny_target(), PROMPTS, tmp_path / name)
    files = [(tmp_path / name / "head.safetensors").read_bytes() for name in ("whole", "stopped")]
    assert files[0] == files[1]


def test_continuations_are_the_targets_own_and_written_once(tmp_path, monkeypatch):
    target, path = tiny_target(), tmp_path / "texts.jsonl"
    texts = train_heads.continuations(target, ["b", "cd"], 9, path)
    prompt = Letters()("cd")["input_ids"]
    assert list(texts[1]) == [*prompt, *plain(TARGET, prompt, 9)]
    monkeypatch.setattr(train_heads, "speculate", None)
    assert train_heads.continuations(target, ["b", "cd"], 9, path) == texts


def test_a_round_trip_keeps_the_head(trained, tmp_path):
    head = TrainedHead.load(trained.folder, TARGET)
    head.save(tmp_path)
    again = TrainedHead.load(tmp_path, TARGET)
    assert again.description == head.description
    assert all(torch.equal(a, b) for a, b in zip(again.network.parameters(), head.network.parameters(), strict=True))


def test_agreement_is_reported_per_place(trained):
    assert sorted(trained.metrics) == ["agreement_1", "agreement_2", "agreement_3"]
    assert all(0 <= share <= 1 for share in trained.metrics.values())


def test_a_head_of_another_target_is_refused(trained):
    with pytest.raises(UserError, match="trained for target"):
        drafter_of(trained, engine=tiny_llama(1))


def test_the_digest_does_not_depend_on_the_kernel():
    assert target_digest(tiny_llama(0, kernel="native")) == target_digest(tiny_llama(0))
    assert target_digest(tiny_llama(0)) != target_digest(tiny_llama(1))


def test_a_head_of_another_kind_is_refused(trained):
    other = next(kind for kind in KINDS if kind != trained.kind)
    with pytest.raises(UserError, match=f"take drafter {trained.kind}"):
        KINDS[other](loaded(TARGET), GREEDY, HeadDrafterConfig(head=trained.folder))


def test_a_folder_without_a_head_is_refused(tmp_path):
    with pytest.raises(MissingArtifactError, match="no trained head"):
        TrainedHead.load(tmp_path, TARGET)


def test_a_training_under_other_settings_is_refused(trained):
    with pytest.raises(ResumeError, match="num_steps: 4 -> 5"):
        train_head(small(trained.kind, num_steps=5), tiny_target(), PROMPTS, trained.folder)


def test_too_few_prompts_are_refused(tmp_path):
    with pytest.raises(UserError, match="at least 2"):
        train_head(small("eagle"), tiny_target(), ["one"], tmp_path)
