"""What the command line and recipes can do with speculative decoding; wiring only."""

from tenfold.core.records import Verb
from tenfold.systems.specdec import generate, page, specbench

VERBS = {
    "generate": Verb(generate.GenerateConfig, generate.generate, generate.summary),
    "specbench": Verb(specbench.SpecBenchConfig, specbench.specbench, specbench.summary, page.build),
}
