"""What the server counts, in Prometheus' text form. Each server has a registry of its own."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(
        self, num_running: Callable[[], int], num_waiting: Callable[[], int], num_reused: Callable[[], int]
    ) -> None:
        self.registry = CollectorRegistry()
        self.replies = Counter(
            "tenfold_replies", "Replies by route and status.", ["route", "status"], registry=self.registry
        )
        self.prompt_tokens = Counter("tenfold_prompt_tokens", "Tokens of prompts.", registry=self.registry)
        self.new_tokens = Counter("tenfold_new_tokens", "Tokens written.", registry=self.registry)
        self.passes = Counter("tenfold_passes", "Passes for single rows, the prompts' own left out.", registry=self.registry)
        self.drafted = Counter("tenfold_drafted_tokens", "Tokens guessed.", registry=self.registry)
        self.accepted = Counter("tenfold_accepted_tokens", "Guessed tokens that were right.", registry=self.registry)
        self.cancelled = Counter("tenfold_cancelled", "Answers whose client went away.", registry=self.registry)
        self.blocked = Counter(
            "tenfold_guard_blocked", "Questions and answers stopped by the guard.", ["where"], registry=self.registry
        )
        self.first_token = Histogram(
            "tenfold_first_token_seconds", "From a request to its first token.", buckets=SECONDS, registry=self.registry
        )
        self.whole_answer = Histogram(
            "tenfold_answer_seconds", "From a request to its last token.", buckets=SECONDS, registry=self.registry
        )
        Gauge("tenfold_running", "Requests in a row of the engine.", registry=self.registry).set_function(num_running)
        reused = Gauge("tenfold_reused_prompt_tokens", "Of prompts, still held from earlier texts.", registry=self.registry)
        reused.set_function(num_reused)
        Gauge("tenfold_waiting", "Requests that have no row yet.", registry=self.registry).set_function(num_waiting)

    def text(self) -> bytes:
        """The page that Prometheus reads."""
        return generate_latest(self.registry)
