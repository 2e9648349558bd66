"""A mixture keeps its experts in tensors of three dimensions: each matrix is unloaded, folded and exported on its own."""

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, Qwen2MoeConfig, Qwen2MoeForCausalLM

from plora_run import Run
from tenfold.core.errors import ConfigError
from tenfold.systems.plora.export import live_pieces, merge_into, save_adapter, total_pieces
from tenfold.systems.plora.pairs import find_pairs, names
from tenfold.systems.plora.unload import PeriodicUnload, UnloadConfig, digest
from tenfold.train.adapters import LoraSettings, add_lora, expert_names

IDS = torch.arange(2, 42).view(2, 20)
EXPERTS = 4


def base():
    torch.manual_seed(0)
    config = Qwen2MoeConfig(
        vocab_size=48,
        hidden_size=32,
        intermediate_size=24,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=24,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        num_experts=EXPERTS,
        num_experts_per_tok=2,
        max_position_embeddings=64,
        output_router_logits=False,
    )
    return Qwen2MoeForCausalLM(config).eval()


def adam(parameters):
    return torch.optim.AdamW(parameters, lr=1e-2, weight_decay=0)


def adapted(targets=("gate_up_proj", "down_proj", "q_proj")):
    return add_lora(base(), LoraSettings(rank=2, alpha=4.0, targets=targets), seed=0)


def logits(model):
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def loss(model):
    return model(input_ids=IDS, labels=IDS).loss


def trained(tmp_path, steps=8, **settings):
    model = adapted()
    run = Run(model, UnloadConfig(interval=3, **settings), tmp_path / "run", total=steps + 1, optimizer=adam)
    return run, [run.step(loss) for _ in range(steps)]


def test_each_expert_is_a_matrix_of_its_own():
    pairs = find_pairs(adapted())
    of_experts = [pair for pair in pairs if pair.expert is not None]
    assert len(of_experts) == 2 * 2 * EXPERTS and len(pairs) == len(of_experts) + 4
    first = of_experts[0]
    assert first.rank == 2 and first.is_writable and len(set(names(pairs))) == len(pairs)
    for pair in of_experts:
        assert tuple(pair.weight().shape) == pair.shape
        with torch.no_grad():
            pair.b.normal_()
        whole = pair.layer.get_delta_weight("default")[pair.expert]
        a, b = pair.piece(1.0)
        torch.testing.assert_close(b @ a, whole.T if pair.is_transposed else whole)


@pytest.mark.parametrize("settings", [{}, {"mode": "exact", "momentum": 0.3}, {"init": "orthogonal"}])
def test_an_unload_leaves_the_function_and_adds_rank(tmp_path, settings):
    model = adapted()
    run = Run(model, UnloadConfig(interval=3, **settings), tmp_path, total=12, optimizer=adam)
    for _ in range(2):
        run.step(loss)
    unload, seen = run.callback.unload, []

    def watched(*args):
        seen.append(logits(model))
        unload(*args)
        seen.append(logits(model))
        model.train()

    run.callback.unload = watched
    for _ in range(6):
        run.step(loss)
    before, after, *_ = seen
    torch.testing.assert_close(before, after, atol=1e-5, rtol=0)
    pair = next(pair for pair in run.pairs if pair.expert == 1)
    piece = total_pieces(run.callback.ledger, live_pieces([pair]), [pair.name])[pair.name]
    assert torch.linalg.matrix_rank(piece[1] @ piece[0]) == 3 * 2


def test_the_moments_of_each_expert_are_scaled_once(tmp_path):
    run, _ = trained(tmp_path, steps=2, mode="exact", momentum=0.5, allow_single_stage=True)
    a = run.pairs[-1].parameters[0]
    before = run.optimizer.state[a]["exp_avg"].clone()
    squares = run.optimizer.state[a]["exp_avg_sq"].clone()
    run.callback.unload(2, "steps", run.model, run.optimizer)
    torch.testing.assert_close(run.optimizer.state[a]["exp_avg"], before * 0.5**0.5)
    torch.testing.assert_close(run.optimizer.state[a]["exp_avg_sq"], squares * 0.5)


def test_the_adapter_of_all_experts_is_read_by_peft_and_equals_the_merged_model(tmp_path):
    run, _ = trained(tmp_path)
    assert len(run.callback.ledger) == 2
    expected = logits(run.model)
    live = live_pieces(run.pairs)
    save_adapter(total_pieces(run.callback.ledger, live, names(run.pairs)), tmp_path / "adapter", "base")
    loaded = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    torch.testing.assert_close(logits(loaded), expected, atol=1e-5, rtol=0)
    merge_into(run.pairs, run.callback.ledger, run.callback.base, live)
    with run.model.disable_adapter():
        torch.testing.assert_close(logits(run.model), expected, atol=1e-5, rtol=0)


def test_experts_of_unequal_rank_are_filled_up(tmp_path):
    run, _ = trained(tmp_path)
    pieces = total_pieces(run.callback.ledger, live_pieces(run.pairs), names(run.pairs))
    cut = {name: (a[:3], b[:, :3]) if name.endswith("[1]") else (a, b) for name, (a, b) in pieces.items()}
    save_adapter(cut, tmp_path / "adapter", "base")
    loaded = PeftModel.from_pretrained(base(), tmp_path / "adapter")
    for pair in find_pairs(loaded):
        a, b = cut[pair.name]
        ours = pair.piece(1.0)
        torch.testing.assert_close(ours[1] @ ours[0], b @ a, atol=1e-6, rtol=0)


def test_a_run_goes_on_to_the_same_bits(tmp_path):
    run, losses = trained(tmp_path)
    model = adapted()
    again = Run(model, UnloadConfig(interval=3), tmp_path / "again", total=9, optimizer=adam)
    assert [again.step(loss) for _ in range(3)] == losses[:3]
    saved = {name: parameter.clone() for name, parameter in model.named_parameters() if parameter.requires_grad}
    fresh = adapted()
    fresh.load_state_dict(saved, strict=False)
    callback = PeriodicUnload(UnloadConfig(interval=3), tmp_path / "again")
    again.state.stateful_callbacks = {"PeriodicUnload": again.callback.state()}
    callback.on_train_begin(again.args, again.state, None, model=fresh)
    assert digest(fresh) == digest(model)
    assert run.callback.unloads == [3, 6]


def test_the_base_is_read_from_a_file_that_holds_the_tensor_and_copied_otherwise(tmp_path):
    plain = base()
    plain.save_pretrained(tmp_path / "base")
    model = add_lora(
        AutoModelForCausalLM.from_pretrained(tmp_path / "base"),
        LoraSettings(rank=2, targets=("all-experts",)),
        seed=0,
    )
    run = Run(model, UnloadConfig(interval=3), tmp_path / "run", total=8, optimizer=adam)
    expected = dict(plain.named_parameters())
    for pair in run.pairs:
        name = pair.name.partition("[")[0]
        weight = expected[name][pair.expert].detach()
        torch.testing.assert_close(
            run.callback.base.read(pair.name), weight.T if pair.is_transposed else weight, rtol=0, atol=0
        )


def test_targets_by_name_and_by_kind():
    model = base()
    experts = expert_names(model)
    assert len(experts) == 4 and experts[0].endswith("experts.gate_up_proj")
    from tenfold.train.adapters import target_names

    assert target_names(model, LoraSettings(targets=("all-experts",))) == experts
    every = target_names(model, LoraSettings(targets=("all-linear", "all-experts")))
    assert set(experts) < set(every) and any(name.endswith("q_proj") for name in every)
    assert not set(experts) & set(target_names(model, LoraSettings()))
    with pytest.raises(ConfigError, match="all-linear or all-experts"):
        target_names(model, LoraSettings(targets=("nonsense",)))


def test_what_experts_cannot_have_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="PEFT has none for tensors of experts"):
        add_lora(base(), LoraSettings(dropout=0.1, targets=("all-experts",)), seed=0)
    with pytest.raises(ConfigError, match="use fold"):
        Run(adapted(), UnloadConfig(interval=3, storage="live"), tmp_path, total=8)
