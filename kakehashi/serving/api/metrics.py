"""Figures for Prometheus: of the engine as it says them itself, of requests by route and status. None is personal."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from pydantic import Field, SecretStr

from kakehashi.config import Config
from kakehashi.serving.engine.engine import Engine

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class MetricsSettings(Config):
    """Figures for Prometheus."""

    enabled: bool = Field(default=False, description="Whether /metrics answers.")
    token: SecretStr | None = Field(default=None, description="Who asks for /metrics must bear it; null: nobody must.")


class EngineFigures(Collector):
    """The engine's status, read when somebody asks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        status = self._engine.status()
        now: list[tuple[str, str, float]] = [
            ("queue_sentences", "Sentences that wait for a worker.", status.waiting),
            ("queue_capacity_sentences", "Sentences that may wait or run at once.", status.capacity),
            ("running_sentences", "Sentences that workers translate.", status.running),
            ("workers", "Worker processes.", status.workers),
        ]
        ever: list[tuple[str, str, float]] = [
            ("engine_accepted", "Texts that were accepted.", status.accepted),
            ("engine_answered", "Texts that were answered.", status.answered),
            ("engine_refused", "Texts that were refused since the queue was full.", status.refused),
            ("engine_dropped", "Texts whose client went away or whose deadline passed.", status.dropped),
            ("batches", "Batches that workers translated.", status.batches),
            ("sentences", "Sentences in them.", status.sentences),
            ("source_tokens", "Tokens of these sentences.", status.source_tokens),
            ("worker_restarts", "Workers that died or hung, and were replaced.", status.restarted),
            ("worker_seconds", "Seconds that workers spent on batches.", status.seconds),
        ]
        for name, text, value in now:
            yield GaugeMetricFamily(f"kakehashi_{name}", text, value)
        for name, text, value in ever:
            yield CounterMetricFamily(f"kakehashi_{name}", text, value)
        models = GaugeMetricFamily(
            "kakehashi_model_loaded", "Whether a worker has the model in memory.", labels=["model"]
        )
        for name in status.models:
            models.add_metric([name], float(name in status.loaded))
        yield models


class Metrics:
    """One server's figures."""

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(EngineFigures(engine))
        self.in_flight = Gauge(
            "kakehashi_http_requests_in_flight", "Requests that are being answered.", registry=self._registry
        )
        self.duration = Histogram(
            "kakehashi_http_request_duration_seconds",
            "From a request's first byte to the last of its answer.",
            ["endpoint", "status"],
            buckets=SECONDS,
            registry=self._registry,
        )
        self.items = Counter("kakehashi_items", "Texts that were asked for.", ["endpoint"], registry=self._registry)
        self.memory = Counter(
            "kakehashi_memory_answers", "Texts in which a correction answered.", registry=self._registry
        )

    def render(self) -> bytes:
        return generate_latest(self._registry)
