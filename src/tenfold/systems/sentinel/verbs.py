"""What the command line and recipes can do with sentinels; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.sentinel import (
    cache_page,
    cache_results,
    cache_settings,
    caching,
    compare,
    evaluating,
    generating,
    needle,
    page,
    profiles,
    showing,
    training,
)

VERBS = {
    "train": Verb(training.TrainConfig, training.train, training.summary, page.build_training),
    "eval": Verb(evaluating.EvalConfig, evaluating.evaluate, evaluating.summary, page.build_evaluation),
    "compare": Verb(profiles.CompareConfig, compare.compare, compare.summary, page.build_comparison),
    "generate": Verb(generating.GenerateConfig, generating.generate, generating.summary, page.build_text),
    "needle": Verb(needle.NeedleConfig, needle.needle, needle.summary, page.build_needles),
    "cache": Verb(cache_settings.CacheConfig, caching.cache, cache_results.summary, cache_page.build),
    "show": Verb(showing.ShowConfig, showing.show, showing.summary, page.build_show),
}
