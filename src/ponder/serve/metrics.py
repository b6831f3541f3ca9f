"""What Prometheus reads at /metrics: a registry of the server's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_GAUGES = {
    "requests": "Requests in the loop.",
    "running": "Sequences that the engines decode.",
    "waiting": "Sequences that wait for a place in the engines' batch.",
}
_COUNTERS = {
    "prompt_computed": "Prompt tokens that went through the model.",
    "prompt_reused": "Prompt tokens that were found in its cache.",
    "generated": "Tokens sampled.",
    "judge": "Prompt tokens of judges' questions.",
    "wasted": "Tokens sampled for requests that were cancelled.",
    "banked": "Tokens that the bank had.",
    "calls": "Model requests served.",
    "checks": "Questions to services outside.",
}


class Metrics:
    """``loop`` states what the engines do, ``places`` (at work, waiting) how full the server is."""

    def __init__(
        self, loop: Callable[[], dict[str, float]], places: Callable[[], tuple[int, int]]
    ) -> None:
        self.registry = CollectorRegistry()
        self.replies = Counter(
            "ponder_http_replies", "Replies by path and status.", ["path", "status"],
            registry=self.registry,
        )  # fmt: skip
        self.seconds = Histogram(
            "ponder_request_seconds", "From a request's arrival to its end.", ["method"],
            registry=self.registry, buckets=_SECONDS,
        )  # fmt: skip
        self.outcomes = Counter(
            "ponder_requests", "Requests for an answer, by what became of them.", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._loop = loop
        self._places = places
        self.registry.register(self)

    def collect(self) -> Iterator[Metric]:
        """What is stated when it is asked for."""
        taken, queued = self._places()
        yield GaugeMetricFamily("ponder_requests_at_work", "Requests at work.", taken)
        yield GaugeMetricFamily("ponder_requests_queued", "Requests that wait.", queued)
        state = self._loop()
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"ponder_engine_{name}", text, state.get(name, 0))
        for name, text in _COUNTERS.items():
            yield CounterMetricFamily(
                f"ponder_tokens_{name}" if name not in ("calls", "checks") else f"ponder_{name}",
                text,
                state.get(name, 0),
            )

    def page(self) -> bytes:
        """The text that Prometheus reads."""
        return generate_latest(self.registry)
