"""The certificates hold for what ships, and would not hold for what is broken."""

import pytest
import torch

from tenfold.core.config import parse
from tenfold.core.errors import ConfigError, UserError
from tenfold.nn.drafting import ROOT, Draft
from tenfold.nn.generation import generate
from tenfold.nn.lean_llama import LeanLlama
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.systems.specdec.certificate import (
    CertifySettings,
    FrequencySettings,
    certify_greedy,
    certify_sampling,
    check_frequencies,
)
from tenfold.systems.specdec.certificate.frequencies import chi_square_tail
from tenfold.systems.specdec.certificate.greedy import Mismatch
from tenfold.systems.specdec.certificate.guesses import chain
from tenfold.systems.specdec.certificate.loop import Loop
from tenfold.systems.specdec.certificate.mutants import MUTANTS
from tenfold.systems.specdec.certificate.sampling import FLOAT_TOLERANCE, code_digest, exact_checks, mutant_checks
from tenfold.systems.specdec.certificate.tables import Table, TableModel
from tenfold.systems.specdec.speculate import Silent
from tenfold.systems.specdec.verifiers import VERIFIERS
from tenfold.systems.specdec.verifiers.lenient import Lenient

ALL = {"max_new_tokens": 4, "do_sample": True, "temperature": 0.7, "top_k": 2, "min_p": 0.1, "repetition_penalty": 1.5}


@pytest.fixture(scope="module")
def engine(tiny_llama):
    return LeanLlama(tiny_llama.config, tiny_llama.state_dict())


def test_sampling_certificate_of_the_default_verifier():
    certificate = certify_sampling(CertifySettings(verifiers=("block",)))
    assert certificate.holds
    assert all(check.total_variation == 0 for check in certificate.laws if check.arithmetic == "fraction")
    assert certificate.worst_total_variation <= FLOAT_TOLERANCE
    assert certificate.mutants_killed == [f"M{number}" for number in range(1, 10)]
    assert certificate.code_digest == code_digest()
    assert max(len(check.parents) for check in certificate.laws) == 7


@pytest.mark.parametrize("name", ["sample", "delta", "coupled"])
@pytest.mark.parametrize("parents", [chain(2), (ROOT, ROOT)])
def test_the_whole_loop_keeps_the_law_under_processors(name, parents):
    guess = "same noise" if name == "coupled" else "with replacement"
    loop = Loop(VERIFIERS.load(name)(), parents, guess, GenerationSettings(**ALL), Table(3, 3), Table(4, 3))
    assert loop.total_variation() <= FLOAT_TOLERANCE


def test_a_lossy_verifier_gets_no_certificate():
    assert not all(check.holds for check in exact_checks("lenient", CertifySettings()))
    loop = Loop(Lenient(), chain(2), "with replacement", GenerationSettings(**ALL), Table(3, 3), Table(4, 3))
    assert loop.total_variation() > 1e-3


def test_every_mutant_is_killed_for_other_tables():
    checks = list(mutant_checks(CertifySettings(seed=7)))
    assert {check.mutant for check in checks} == {mutant.name for mutant in MUTANTS}
    assert all(check.killed for check in checks), [check for check in checks if not check.killed]


def test_an_unknown_verifier_is_refused():
    with pytest.raises(ConfigError, match="did you mean 'block'"):
        parse(CertifySettings, {"verifiers": ["blok"]})


def test_a_table_model_knows_what_it_sees():
    model, table = TableModel(Table(0, 3)), Table(0, 3)
    model.prefill([[1, 2]])
    tree = {"depths_K": torch.tensor([0, 1, 1]), "ancestors_KK": torch.tensor([[1, 0, 0], [1, 1, 0], [1, 0, 1]]).bool()}
    logits_KV = model.forward(torch.tensor([[0, 1, 2]]), **tree)[0]
    assert torch.equal(logits_KV[2], table.logits_after(tuple(enumerate([1, 2, 0, 2]))))
    model.keep(0, 2, [2, 4])
    assert model.cached == list(enumerate([1, 2, 0, 2]))
    model.rollback([1])
    assert model.lengths == [3]


@pytest.mark.parametrize("verifier", ["block", "coupled"])
def test_frequencies_of_the_running_loop(verifier):
    result = check_frequencies(FrequencySettings(verifier=verifier, num_runs=400))
    assert result.holds and result.degrees == 26


def test_frequencies_reject_a_lossy_verifier():
    assert not check_frequencies(FrequencySettings(verifier="lenient", num_runs=400)).holds


def test_chi_square_tail():
    assert chi_square_tail(5.991, 2) == pytest.approx(0.05, rel=1e-3)
    samples = torch.randn(200_000, 3, generator=torch.Generator().manual_seed(0)) + torch.tensor([2.0, 0, 0])
    assert chi_square_tail(9.0, 3, noncentrality=4.0) == pytest.approx(
        float((samples.square().sum(-1) > 9).float().mean()), abs=0.005
    )


class Echo(Silent):
    """Guesses the last token again, once or as two siblings."""

    def __init__(self, *parents):
        self.parents = parents

    def propose(self, context, num_tokens):
        parents = self.parents[:num_tokens]
        return Draft([context[-1], *[0] * (len(parents) - 1)], parents, "echo")


def test_greedy_certificate(engine):
    drafters = {"echo, chain": Echo(ROOT), "echo, tree": Echo(ROOT, ROOT), "none": Silent()}
    stopper = Stopper(max_new_tokens=12)
    certificate = certify_greedy(engine, [[3], [4, 5]], drafters, stopper=stopper, num_draft=2)
    assert certificate.holds and certificate.exactness == "bit"
    assert [identity.identical for identity in certificate.identities] == [2, 2, 2]
    assert certificate.identities[2].mean_accepted_tokens == 1


def test_greedy_certificate_names_where_a_text_differs(engine):
    class Forgetful:
        """The engine, but rejected tokens stay in its cache."""

        def __getattr__(self, name):
            return getattr(engine, name)

        def keep(self, row, start, slots):
            pass

    stopper, settings = Stopper(max_new_tokens=12), GenerationSettings()
    certificate = certify_greedy(Forgetful(), [[3]], {"echo": Echo(ROOT)}, stopper=stopper, num_draft=2)
    (identity,) = certificate.identities
    assert not certificate.holds and identity.identical == 0
    (mismatch,) = identity.mismatches
    assert isinstance(mismatch, Mismatch) and mismatch.gap > 0
    assert len(generate(engine, [3], settings, stopper).tokens) > mismatch.position


def test_greedy_certificate_refuses_sampling(engine):
    with pytest.raises(UserError, match="do_sample"):
        certify_greedy(
            engine, [], {}, stopper=Stopper(max_new_tokens=1), num_draft=1, settings=GenerationSettings(do_sample=True)
        )
