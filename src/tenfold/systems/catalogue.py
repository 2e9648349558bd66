"""The ten systems as ten rows of plain strings: nothing is imported until a verb is called.

A row without verbs is planned, one that is not whole is begun. An eleventh system costs one folder and one row here. The
command line's --help imports this module, so it stays free of pydantic.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tenfold.core.registry import Registry, load_target

if TYPE_CHECKING:
    from tenfold.core.records import Verb


@dataclass(frozen=True)
class System:
    """One row: the verbs map names to the line shown in help; their code is VERBS in the home's verbs.py."""

    name: str
    stage: str
    title: str
    arxiv: str
    verbs: Mapping[str, str] = field(default_factory=dict)
    whole: bool = True
    """Whether the verbs are all that the method needs; its page says what is missing."""

    @property
    def status(self) -> Literal["ready", "begun", "planned"]:
        if not self.verbs:
            return "planned"
        return "ready" if self.whole else "begun"

    def verb(self, name: str) -> "Verb":
        """Imports a verb; UnknownNameError, with the nearest names, if there is none of that name."""
        target = f"tenfold.systems.{self.name}.verbs:VERBS"
        Registry(f"verb of {self.name}", dict.fromkeys(self.verbs, target)).check(name)
        return load_target(target)[name]


SYSTEMS = {
    system.name: system
    for system in (
        System(
            "glan",
            "teach",
            "synthetic instruction data from a taxonomy of knowledge",
            "2402.13064",
            {
                "generate": "grow a taxonomy into pairs of questions and answers, and never ask twice",
                "taxonomy": "show, check, propose or vote on a taxonomy",
                "gate": "judge pairs again: truncation, refusals, duplicates, benchmark items",
                "export": "write accepted pairs as chat, Alpaca, ShareGPT or Parquet, with a data card",
                "view": "show a data set as static pages with its coverage, search, and what the gates stopped",
                "testset": "build a held-out test from the draws that were reserved",
                "judge": "let a model grade the answers of two others, in both orders",
                "probe": "find out from losses whether a model has seen a benchmark",
                "loadtest": "measure throughput and safety against a stub endpoint that fails now and then",
                "merge": "merge the ledgers of several machines",
            },
        ),
        System(
            "moe",
            "build",
            "DeepSeekMoE: fine-grained and shared experts",
            "2401.06066",
            {
                "train": "pre-train a mixture of experts, or one of its baselines, on your text",
                "ladder": "train the baselines and DeepSeekMoE at equal budgets, and compare their losses",
                "analyse": "find out what the experts of a mixture do, and what it does without them",
                "upcycle": "turn a dense model into a mixture that computes the same, and train it on",
                "export": "write a mixture for vLLM, SGLang, Transformers or llama.cpp, and read it back",
                "flops": "count training FLOPs and parameters, of a model or of the paper's table",
                "balance": "train a mixture under several ways of balancing, and compare loads and losses",
                "bench": "time our experts beside Transformers' and a dense model, with the same weights",
            },
        ),
        System(
            "sentinel",
            "build",
            "sentinel tokens that sum up each chunk of a long text",
            "2406.10985",
            {
                "train": "teach a model its sentinels, and leave an ordinary adapter",
                "eval": "measure a trained model on texts, a whole book, or questions about meetings",
                "compare": "the method, plain LoRA and controls on the same text in the same order",
                "generate": "continue a text while old text leaves the cache",
                "needle": "find numbers again that stand far back in a book",
                "cache": "what a compacted cache costs and gains, beside other ways to keep as much",
                "show": "draw a text's chunks, sentinels and mask",
            },
        ),
        System(
            "plora",
            "tune",
            "PeriodicLoRA: a higher-rank update at LoRA's memory",
            "2402.16141",
            {
                "train": "fine-tune with PeriodicLoRA, and leave an ordinary adapter of higher rank",
                "compare": "LoRA, PeriodicLoRA, ReLoRA, a wide LoRA and full fine-tuning on the same rows in the same order",
                "export": "write a run's adapter, compressed if you like, or the merged model",
                "stages": "show what each stage did, leave some out, or go back to one",
                "verify": "check that a run's weights are the sum of its stages, bit for bit",
            },
        ),
        System(
            "activation",
            "look",
            "activation patterns of parameters, and pruning by them",
            "2405.17799",
            {
                "map": "map where weights act by layer, matrix and domain, and judge the paper's findings",
                "similar": "compare texts by their patterns, all pairs from one pass a text",
                "sts": "measure likeness of patterns against graded pairs of sentences, beside baselines",
                "classify": "tell the domain of texts, and texts of an unseen domain from all",
                "audit": "compare the estimated effect of weights with what zeroing each of them does",
                "prune": "prune by a plan and export, or compare plans by perplexity on held-out text",
                "choose": "rank sets of texts to calibrate pruning for a task, and verify the choice",
                "experts": "map the experts of a mixture by domain",
                "atlas": "bind finished runs into one interactive page",
            },
        ),
        System(
            "specdec",
            "speed",
            "speculative decoding: the same text in fewer passes",
            "2401.07851",
            {
                "generate": "continue a prompt by speculative decoding",
                "specbench": "measure speed and identity on Spec-Bench prompts against baselines",
                "index": "build the suffix index of a corpus, for drafting across requests",
                "train-head": "train a Medusa or EAGLE head on the model's own answers",
                "certify": "prove that speculation changes nothing, greedy and sampled",
                "calibrate": "measure what passes of 1 to 16 tokens cost on this machine",
                "explain": "show which draft length is fastest here, and why",
                "check-costs": "compare predicted speed-ups with measured ones, the automatic length with fixed ones",
                "export": "write vLLM's speculative config, a trained head in its layout, and the command that serves it",
            },
        ),
        System(
            "slotsum",
            "ground",
            "texts whose every fact can be pointed at, checked and corrected",
            "2402.18873",
            {
                "derive": "derive templates from texts and their facts, and measure it against gold references",
                "train": "fine-tune a model to write templates, to fill slots, or as a baseline",
                "generate": "write templates in which no fact can stand outside a slot",
                "fill": "say what stands in each slot, with its place in the documents",
                "run": "write about an entity from documents and a knowledge base, every fact with a source",
                "eval": "count false facts, with slots under each strategy and without",
                "inject": "plant errors, and measure whether they are found and corrected",
                "index": "make a knowledge base of a Wikidata dump",
                "build": "make data sets for template, filler and rewriter from your own entities",
                "explain": "show where each fact of a text comes from, and what was changed",
                "prove": "let models write under each guarantee, and count what leaks",
            },
        ),
        System(
            "ump",
            "reason",
            "unreasonable math problems, and Critical Calculation and Conclusion",
            "2403.19346",
            {
                "build": "make certified pairs of sound and unreasonable problems",
                "check": "let the independent checker read every problem of a file",
                "audit": "measure what can be told from the wording alone",
                "run": "ask models, with and without a helping prompt, and say whether it helps or harms",
                "judge": "judge stored answers again and measure them, without asking any model",
                "calibrate": "measure how well the judge agrees with labels, on models it has not seen",
                "report": "set finished runs side by side",
                "finetune": "teach a model to notice flawed problems, and test it on others",
            },
        ),
        System(
            "deepeval",
            "see",
            "deep semantics of images for multimodal models",
            "2402.11281",
            {
                "audit": "find out how far rules get that do not see the picture",
                "repair": "build questions that cannot be answered without looking, with the proof",
                "build": "make such a set from your own annotations",
                "images": "fetch or add pictures, and report dead links",
                "facets": "tag pictures by facet, and break a run's accuracy down",
                "scenes": "draw 64 scenes of our own with their questions",
                "run": "ask models, with and without the picture or its description",
                "report": "show a run again, or its answers under another parser",
            },
        ),
        System(
            "shieldlm",
            "guard",
            "a safety detector that follows your rules and says why",
            "2402.16444",
            {
                "check": "judge a response or a file of pairs, and say why",
                "score": "say how safe another model's answers are, under loose and under strict rules",
                "mix": "put training rows under rules that do and do not concern them",
                "train": "train a detector from a causal LM, with rules and without",
                "calibrate": "fit probabilities, and thresholds with promised error rates",
                "eval": "judge a detector: labels, calibration, rules, attacks, explanations, speed",
                "rules": "show a rule pack, look for faults, or try its examples",
                "stream": "judge a text as if it were being written, and show where it would be stopped",
                "audit": "verify a log of decisions, or erase a text from it",
                "import-prompts": "read the paper's own prompts from a checkout of its code",
            },
        ),
    )
}


def find(name: str) -> System:
    """A system by name; UnknownNameError with the nearest names if there is none."""
    Registry("system", dict.fromkeys(SYSTEMS, "")).check(name)
    return SYSTEMS[name]
