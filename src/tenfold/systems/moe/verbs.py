"""What the command line and recipes can do with mixtures of experts; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.moe import (
    analysing,
    analysis_page,
    balancing,
    bench,
    counting,
    exporting,
    ladder,
    page,
    training,
    upcycling,
)

VERBS = {
    "train": Verb(training.TrainConfig, training.train, training.summary, page.build_training),
    "ladder": Verb(ladder.LadderConfig, ladder.ladder, ladder.summary, page.build_ladder),
    "analyse": Verb(analysing.AnalyseConfig, analysing.analyse, analysing.summary, analysis_page.build),
    "upcycle": Verb(upcycling.UpcycleConfig, upcycling.run_upcycle, upcycling.summary, page.build_upcycling),
    "export": Verb(exporting.ExportConfig, exporting.run_export, exporting.summary),
    "flops": Verb(counting.FlopsConfig, counting.flops, counting.summary),
    "balance": Verb(balancing.BalanceVerbConfig, balancing.balance, balancing.summary, page.build_balance),
    "bench": Verb(bench.BenchConfig, bench.bench, bench.summary, page.build_bench),
}
