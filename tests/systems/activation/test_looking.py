"""Density, signatures, likeness, findings, experts and layers to draft with: each beside a slow, obvious computation."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr
from transformers import MixtralConfig

from tenfold.core.errors import ConfigError, UserError
from tenfold.nn.named_linears import named_linears
from tenfold.systems.activation import density, findings, grading, skipping, targets
from tenfold.systems.activation.classifying import measures as domain_measures
from tenfold.systems.activation.collect import collect, run_target
from tenfold.systems.activation.comparing import ExactProducts
from tenfold.systems.activation.data import Piece
from tenfold.systems.activation.density import DensityCurve, WeightSample
from tenfold.systems.activation.experts import expert_map
from tenfold.systems.activation.groups import group_changes
from tenfold.systems.activation.opened import OpenedModel
from tenfold.systems.activation.routing import RoutedTokens
from tenfold.systems.activation.signature import SignatureFolder, blocks_of, fill
from tenfold.systems.activation.similarity import Background, choose_layers, pair_cosines, similarity_by_layer

from .reference import Keep, patterns

TEXTS = [[5, 9, 3, 44, 7], [8, 2, 60, 13], [31, 12, 12, 5, 90, 66, 4]]
MIXTURE = {"num_local_experts": 8, "num_experts_per_tok": 1}


def opened(model):
    return OpenedModel("tiny", model, lambda text: [ord(c) % 97 for c in text], "")


def pieces():
    return [Piece(f"t{n}", "x", tuple(ids)) for n, ids in enumerate(TEXTS)]


def whole_layer(model, ids, layer):
    found = patterns(model, ids, targets.mean_max)
    return torch.cat([found[x.name].flatten() for x in named_linears(model) if x.layer == layer])


def test_sketches_and_exact_products_come_near_whole_patterns(tiny_llama, tmp_path):
    folder = SignatureFolder(tmp_path, opened(tiny_llama), "mean_max", "sketch", buckets=4096)
    matrices = list(similarity_by_layer(folder.of(pieces())))
    exact = ExactProducts(3)
    collect(tiny_llama, TEXTS, targets.mean_max, [exact])
    for layer in range(2):
        rows = torch.nn.functional.normalize(torch.stack([whole_layer(tiny_llama, ids, layer) for ids in TEXTS]), dim=1)
        np.testing.assert_allclose(exact.cosines(layer), (rows @ rows.T).numpy(), atol=1e-6)
        np.testing.assert_allclose(matrices[layer], (rows @ rows.T).numpy(), atol=0.05)
        np.testing.assert_allclose(np.diag(matrices[layer]), 1, atol=1e-6)
        np.testing.assert_allclose(matrices[layer], matrices[layer].T)


def test_signature_blocks_are_row_and_column_sums(tiny_llama, tmp_path):
    whole = opened(tiny_llama)
    vectors = SignatureFolder(tmp_path, whole, "last_max", "rowcol").of(pieces()).layer(1)
    for block in blocks_of(whole):
        if block.layer != 1:
            continue
        for text, ids in enumerate(TEXTS):
            a_OI = patterns(tiny_llama, ids, targets.last_max)[f"model.layers.1.{block.kind}"]
            expected = a_OI.sum(1 if block.side == "outputs" else 0).float()
            scale = float(vectors[text].max())
            torch.testing.assert_close(vectors[text, block.start : block.stop], expected, rtol=2e-3, atol=1e-3 * scale)


def test_signatures_are_computed_once_and_belong_to_one_model(tiny_llama, new_tiny_model, tmp_path, monkeypatch):
    folder = SignatureFolder(tmp_path, opened(tiny_llama), "last_max", "rowcol")
    first = folder.of(pieces()).layer(0)
    monkeypatch.setattr("tenfold.systems.activation.signature.collect", None)  # nothing is left to compute
    again = SignatureFolder(tmp_path, opened(tiny_llama), "last_max", "rowcol").of(pieces()[::-1]).layer(0)
    assert torch.equal(first, again.flip(0))
    with pytest.raises(UserError, match="another weights"):
        SignatureFolder(tmp_path, opened(new_tiny_model(seed=5)), "last_max", "rowcol")
    with pytest.raises(UserError, match="another target"):
        SignatureFolder(tmp_path, opened(tiny_llama), "mean_max", "rowcol")


def test_one_pass_fills_several_folders(tiny_llama, tmp_path):
    whole = opened(tiny_llama)
    folders = [
        SignatureFolder(tmp_path / kind, whole, "last_max", kind, buckets=64) for kind in ("rowcol", "sketch", "sample")
    ]
    fill(folders, pieces())
    for folder in folders:
        alone = SignatureFolder(tmp_path / "alone" / folder.kind, whole, "last_max", folder.kind, buckets=64)
        assert torch.equal(folder.of(pieces()).layer(1), alone.of(pieces()).layer(1))


def test_pair_cosines_and_log_ratio_equal_loops(tiny_llama, tmp_path):
    whole = opened(tiny_llama)
    texts = SignatureFolder(tmp_path, whole, "mean_max", "rowcol").of(pieces())
    pairs = [(0, 1), (2, 0)]
    found = pair_cosines(texts, pairs, transform="logratio", background=texts, blocks=blocks_of(whole))
    vectors = texts.layer(1).double()
    ratio = torch.log1p(vectors / (vectors.mean(0) + 1e-12))
    ratio -= ratio.mean(0)
    for row, (a, b) in enumerate(pairs):
        cosine = float(torch.nn.functional.cosine_similarity(ratio[a], ratio[b], dim=0))
        assert found.layers[row, 1] == pytest.approx(cosine, abs=1e-4)
    assert found.blocks.shape == (2, len(blocks_of(whole)))
    with pytest.raises(ConfigError, match="background"):
        pair_cosines(texts, pairs, transform="logratio")


def test_cosines_do_not_change_when_the_target_is_scaled(tiny_llama):
    kept = []
    for scale in (1.0, 7.0):
        keep = Keep()
        collect(tiny_llama, TEXTS, lambda *a, s=scale: s * targets.mean_max(*a), [keep])
        kept.append([keep.found[n, "model.layers.0.mlp.up_proj"].flatten() for n in range(3)])
    for n in range(2):
        plain, scaled = (torch.nn.functional.cosine_similarity(side[n], side[n + 1], dim=0) for side in kept)
        assert float(plain) == pytest.approx(float(scaled), abs=1e-6)


def test_layers_by_name():
    assert choose_layers("deep", 32) == list(range(16, 30))
    assert choose_layers("shallow", 5) == [0, 1]
    assert choose_layers("layer:4", 5) == [4]
    with pytest.raises(ConfigError, match="layer:4"):
        choose_layers("layer:5", 5)


def test_density_equals_counting_and_its_interval_holds_it(tiny_llama):
    sample = WeightSample(2)
    collect(tiny_llama, TEXTS, targets.last_max, [sample])
    layers = sample.layers(3)
    limit = density.threshold([values.mean(0) for values in layers], "quantile:0.9")
    everything = torch.cat([values.mean(0) for values in layers])
    assert float((everything > limit).double().mean()) == pytest.approx(0.1, abs=0.01)
    found = density.curve(layers, limit)
    expected = [sum(float(v) > limit for v in values.mean(0)) / values.shape[1] for values in layers]
    assert found.values.tolist() == pytest.approx(expected)
    assert len(set(expected)) == 2  # a threshold for each layer would make them alike
    assert all(low <= high for low, high in found.intervals)


@pytest.mark.parametrize("rule", ["quantile:2", "absolute:0", "median", "quantile:x"])
def test_unknown_thresholds_are_refused(rule):
    with pytest.raises(ConfigError, match="threshold"):
        density.threshold([torch.ones(3)], rule)


def test_knee_lies_between_two_kinds_of_weights():
    few, many = 10 ** np.random.default_rng(0).normal(-2, 0.1, 100), 10 ** np.random.default_rng(1).normal(-7, 0.3, 900)
    assert 1e-7 < density.knee(np.concatenate([few, many])) < 1e-2


def test_findings_hold_where_they_were_planted_and_not_where_reversed():
    draws = np.array([[0.5, 0.4, 0.3, 0.2, 0.1]] * 50)
    assert findings.density_falls(DensityCurve(draws[0], draws)).verdict == "holds"
    assert findings.density_falls(DensityCurve(draws[0][::-1], draws[:, ::-1])).verdict == "does not hold"
    domains = ["a"] * 6 + ["b"] * 6
    names = np.array(domains)
    same = names[:, None] == names[None, :]
    shallow, deep = np.where(same, 0.8, 0.7), np.where(same, 0.8, 0.2)
    noise = np.random.default_rng(0).normal(0, 0.01, (12, 12))
    second, third, likeness = findings.likeness_findings(shallow + noise, deep + noise.T, domains)
    assert (second.verdict, third.verdict) == ("holds", "holds")
    assert likeness.cross_deep == pytest.approx(0.2, abs=0.02)
    second, third, _ = findings.likeness_findings(deep, shallow, domains)
    assert (second.verdict, third.verdict) == ("does not hold", "does not hold")


@given(st.lists(st.integers(0, 5), min_size=3, max_size=20))
def test_rank_correlation_is_that_of_scipy(values):
    other = list(range(len(values)))
    expected = spearmanr(values, other)[0] if len(set(values)) > 1 else float("nan")
    assert grading.spearman(values, other) == pytest.approx(expected, nan_ok=True)


def test_fitted_weights_find_the_layer_that_matters():
    generator = np.random.default_rng(0)
    grades = generator.uniform(0, 5, 200)
    layers = generator.normal(size=(200, 4))
    layers[:, 2] = grades + generator.normal(0, 0.3, 200)
    features = {("mean_max", "raw"): grading.PairCosines(layers, np.zeros((200, 0)))}
    best, _ = grading.choose(features, grades, 4)
    assert best.train_spearman > 0.95
    weights = grading.fit(grading.Setting("mean_max", "raw", "learned:layers", 0.03), features, grades).weights_F
    assert weights.argmax() == 2 and (weights >= 0).all()


def test_never_hit_experts_are_missing_and_the_rest_equals_the_reference(new_tiny_model):
    model = new_tiny_model(MixtralConfig, **MIXTURE).double()
    model.set_experts_implementation("eager")
    rows = expert_map(opened(model), TEXTS, targets.mean_max)
    exact = [patterns(model, ids, targets.mean_max) for ids in TEXTS]
    seen = 0
    for row in rows:
        if row["expert"] is None:
            continue
        mine = [x for x in named_linears(model) if (x.layer, x.expert) == (row["layer"], row["expert"])]
        size = sum(x.weight_OI.numel() for x in mine)
        means = [sum(float(found[x.name].sum()) for x in mine) / size for found in exact]
        hit = [mean for mean in means if mean > 0]
        assert row["texts"] == len(hit)
        if hit:
            assert row["conditional"] == pytest.approx(np.mean(hit), rel=1e-6)
            assert row["unconditional"] == pytest.approx(np.mean(means), rel=1e-6)
        else:
            seen += 1
            assert (row["conditional"], row["unconditional"], row["tokens"]) == (None, None, 0)
    assert seen > 0
    assert sum(row["tokens"] for row in rows if row["expert"] is not None) == 2 * sum(map(len, TEXTS))


def test_reducers_never_see_an_expert_that_was_not_reached(new_tiny_model):
    model, keep, routed = new_tiny_model(MixtralConfig, **MIXTURE), Keep(), RoutedTokens()
    collect(model, TEXTS[:1], targets.last_max, [keep], routed=routed)
    experts = [x for x in named_linears(model) if x.expert is not None]
    reached = {x.name for x in experts if routed.reached(0, x)}
    assert 0 < len(reached) < len(experts)
    assert {name for _, name in keep.found if "experts" in name} == reached
    with pytest.raises(UserError, match="no experts"):
        expert_map(opened(new_tiny_model()), TEXTS, targets.last_max)


def test_path_integral_of_a_group_is_its_exact_change(new_tiny_model):
    model = new_tiny_model().double()
    found = group_changes(model, TEXTS[0], targets.nll, 1)
    assert {one["scope"] for one in found} == {"row", "matrix", "head"}
    for one in found:
        assert one["integrated"] == pytest.approx(one["exact"], rel=0.02, abs=1e-6)


def test_effect_of_a_layer_is_the_slope_of_fading_it_out(new_tiny_model):
    model = new_tiny_model().double()
    layer, step = model.model.layers[1], 1e-3  # norms compute in float32: a smaller step drowns

    def loss(share):
        handle = layer.register_forward_hook(lambda _m, inputs, output: inputs[0] + share * (output - inputs[0]))
        value = float(run_target(model, TEXTS[:1], targets.nll).detach())
        handle.remove()
        return value

    slope = (loss(1 + step) - loss(1 - step)) / (2 * step)
    assert skipping.layer_effects(model, TEXTS[:1])[1] == pytest.approx(abs(slope), rel=1e-4)


def test_skipped_layers_hand_on_what_they_are_given(new_tiny_model):
    model, short = new_tiny_model(), new_tiny_model()
    texts = [[5, 9, 3, 44], [8, 2, 60, 1]]
    del short.model.layers[0]
    with skipping.only(model, [1]):
        assert torch.equal(skipping.choices(model, texts), skipping.choices(short, texts))
    found = skipping.compare(model, texts, [0.1, 0.9], 1)
    assert found["layers"] == [1]
    whole = skipping.choices(model, texts)
    assert skipping.agreement(model, texts, [0, 1], whole) == 1


def test_domain_measures_of_perfect_and_useless_cosines():
    truth = ["a", "a", "b", "b", "c", "c"]
    perfect = np.array([[0.9 if name == domain else 0.1 for domain in "abc"] for name in truth])
    found = domain_measures(perfect, truth, "abc")
    assert found["accuracy"] == 1 and found["auroc_lowest"] == 1
    useless = domain_measures(np.full((6, 3), 0.5), truth, "abc")
    assert useless["accuracy"] == pytest.approx(1 / 3) and useless["auroc_mean"] == 0.5


def test_log_ratio_takes_out_what_all_texts_share():
    vectors = torch.tensor([[1.0, 8.0, 3.0]] * 4)
    assert float(Background.of(vectors).ratio(vectors).abs().max()) < 1e-6
