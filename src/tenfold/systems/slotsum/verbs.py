"""What the command line and recipes can do with templates and their facts; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.slotsum import (
    building,
    deriving,
    evaluating,
    explaining,
    filling,
    indexing,
    injecting,
    page,
    proving,
    running,
    training,
)

VERBS = {
    "derive": Verb(deriving.DeriveConfig, deriving.derive, deriving.describe),
    "train": Verb(training.TrainConfig, training.train, training.describe),
    "generate": Verb(running.GenerateConfig, running.generate, running.describe_generate),
    "fill": Verb(filling.FillConfig, filling.fill, filling.describe),
    "run": Verb(running.RunConfig, running.run_all, running.describe_run, page.build_run),
    "eval": Verb(evaluating.EvalConfig, evaluating.evaluate, evaluating.describe, page.build_eval),
    "inject": Verb(injecting.InjectConfig, injecting.inject, injecting.describe, page.build_inject),
    "index": Verb(indexing.IndexConfig, indexing.index, indexing.describe),
    "build": Verb(building.BuildConfig, building.build, building.describe),
    "explain": Verb(explaining.ExplainConfig, explaining.explain, explaining.describe),
    "prove": Verb(proving.ProveConfig, proving.prove, proving.describe),
}
