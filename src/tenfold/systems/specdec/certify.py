"""The verb `certify`: the whole certificate of this build on this machine.

greedy    every drafter, as a chain and as a tree, in bf16 and in float32, against plain greedy decoding on real prompts
sampling  the law of every exact verifier by enumeration, with processors, and nine mutants that must be found out
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from tenfold.core.config import Config, Names, split_commas
from tenfold.core.records import Metrics
from tenfold.nn import models
from tenfold.nn.drafting import Drafter
from tenfold.nn.linear import Kernel
from tenfold.nn.models import Dtype, LoadedModel
from tenfold.nn.sampling import GenerationSettings
from tenfold.nn.stopping import Stopper
from tenfold.store.progress import track
from tenfold.store.runs import Run
from tenfold.systems.specdec.certificate import CertifySettings, certify_greedy, certify_sampling
from tenfold.systems.specdec.certificate.mutants import MUTANTS
from tenfold.systems.specdec.data import Question, load_questions
from tenfold.systems.specdec.drafters import making

SAMPLING = "sampling"
KERNELS: Mapping[Dtype, Kernel | None] = {"bf16": None, "fp32": "native", "auto": None}
"""float32 is certified on torch's own products, bf16 on whatever this machine decodes with."""

Arm = tuple[str, tuple[str, ...]]
"""A drafter with its options."""

ARMS: Mapping[str, Arm] = {
    "ngram, chain": ("ngram", ()),
    "suffix, chain": ("suffix", ("shape=chain",)),
    "suffix, tree": ("suffix", ("shape=tree",)),
    "recycle, chain": ("recycle", ("shape=chain",)),
    "recycle, tree": ("recycle", ("shape=tree",)),
    "lookahead, chain": ("lookahead", ()),
    "jacobi, chain": ("jacobi", ()),
    "hybrid, chain": ("hybrid", ("shape=chain",)),
    "hybrid, tree": ("hybrid", ("shape=tree",)),
    "early_exit, chain": ("early_exit", ()),
    "layer_skip, chain": ("layer_skip", ()),
    "twin, chain": ("twin", ()),
}


class CertifyConfig(Config):
    """Certify that speculation changes nothing: greedy texts on real prompts, and the law of sampled ones."""

    model: str = "smollm2"
    """Model: smollm2, a folder, a .gguf file or a hub id."""
    data: str = "demo"
    """Prompts: demo (24 of our own), specbench, or a file of {question_id, category, turns} lines."""
    limit_per_task: int | None = Field(default=None, ge=1)
    """Use at most this many prompts of each subtask."""
    max_new_tokens: int = Field(default=64, ge=1)
    """Tokens to compare per prompt."""
    num_draft: int = Field(default=5, ge=1)
    """Drafted tokens per pass."""
    dtypes: Annotated[tuple[Literal["bf16", "fp32"], ...], BeforeValidator(split_commas)] = ("bf16", "fp32")
    """Weights to certify with."""
    drafters: Names = ()
    """Only these drafters; empty for all."""

    @field_validator("drafters")
    @classmethod
    def _known_drafters(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(making.check(name) for name in names)


def certify(config: CertifyConfig, run: Run) -> Metrics:
    """Runs what is not certified yet; one row per dtype and prompt, and one for the sampling certificate."""
    questions = load_questions(config.data, limit_per_task=config.limit_per_task)
    for dtype in config.dtypes:
        todo = [question for question in questions if _key(dtype, question) not in run.rows]
        if todo:
            _certify_texts(config, run, dtype, todo, num_done=len(questions) - len(todo))
    if SAMPLING not in run.rows:
        run.add(SAMPLING, _sampling_row())
    return _metrics([row for key, row in run.rows.items() if key != SAMPLING], run.rows[SAMPLING])


def summary(metrics: Metrics) -> str:
    """What a person reads in the terminal."""
    lines = [
        f"greedy: {metrics['greedy_identical']} of {metrics['greedy_total']} texts identical to plain decoding",
        *(f"  {arm:<26} {found['identical']} of {found['total']}" for arm, found in metrics["per_arm"].items()),
        f"sampling: largest total variation {metrics['max_total_variation']:.1e} over {metrics['laws']} laws; "
        f"{metrics['mutants_killed']} of {metrics['mutants_total']} mutants found out; code {metrics['code_digest']}",
    ]
    return "\n".join(lines)


def _certify_texts(config: CertifyConfig, run: Run, dtype: Dtype, questions: Sequence[Question], *, num_done: int) -> None:
    loaded = models.load(config.model, dtype=dtype, kernel=KERNELS[dtype])
    drafters = _drafters(config, loaded)
    for question in track(questions, f"Greedy texts, {dtype}", done=num_done):
        prompt = models.chat_ids(loaded.tokenizer, [{"role": "user", "content": question.turns[0]}])
        stopper = Stopper(max_new_tokens=config.max_new_tokens, eos_ids=loaded.eos_ids)
        found = certify_greedy(loaded.engine, [prompt], drafters, stopper=stopper, num_draft=config.num_draft)
        arms = {f"{identity.drafter}, {dtype}": asdict(identity) for identity in found.identities}
        run.add(_key(dtype, question), {"exactness": found.exactness, "arms": arms})


def _drafters(config: CertifyConfig, loaded: LoadedModel) -> dict[str, Drafter]:
    wanted = {label: arm for label, arm in ARMS.items() if not config.drafters or arm[0] in config.drafters}
    greedy = GenerationSettings.model_validate({})
    return {label: making.make(name, options, loaded, greedy) for label, (name, options) in wanted.items()}


def _sampling_row() -> dict[str, Any]:
    found = certify_sampling(CertifySettings.model_validate({}))
    return {
        "max_total_variation": found.worst_total_variation,
        "laws": len(found.laws),
        "mutants_killed": list(found.mutants_killed),
        "code_digest": found.code_digest,
        "checks": [asdict(check) for check in found.laws],
    }


def _metrics(rows: Sequence[dict[str, Any]], sampling: dict[str, Any]) -> Metrics:
    arms = list(dict.fromkeys(arm for row in rows for arm in row["arms"]))
    per_arm = {arm: _arm([row["arms"][arm] for row in rows if arm in row["arms"]]) for arm in arms}
    return {
        "greedy_identical": sum(found["identical"] for found in per_arm.values()),
        "greedy_total": sum(found["total"] for found in per_arm.values()),
        "max_total_variation": sampling["max_total_variation"],
        "mutants_killed": len(sampling["mutants_killed"]),
        "mutants_total": len(MUTANTS),
        "laws": sampling["laws"],
        "code_digest": sampling["code_digest"],
        "per_arm": per_arm,
        "largest_gap": max((found["largest_gap"] for found in per_arm.values()), default=0.0),
    }


def _arm(found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    gaps = [mismatch["gap"] for identity in found for mismatch in identity["mismatches"]]
    return {
        "identical": sum(identity["identical"] for identity in found),
        "total": sum(identity["total"] for identity in found),
        "mean_accepted_tokens": sum(identity["mean_accepted_tokens"] for identity in found) / len(found),
        "dropped_drafts": sum(identity["num_dropped_drafts"] for identity in found),
        "largest_gap": max(gaps, default=0.0),
    }


def _key(dtype: Dtype, question: Question) -> str:
    return f"{dtype}/{question.question_id}"
