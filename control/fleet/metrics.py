"""Prometheus metrics of processes themselves, most of them of a fleet's only."""

from collections.abc import Callable, Iterator, Sequence

from prometheus_client.core import CounterMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from records.exports.prometheus import Meters, gauge


class ConfigMetrics(Collector):
    """The metric of a process that reads the config: those of a fleet may differ."""

    def __init__(self, troubles: Callable[[], Sequence[str]]) -> None:
        self._troubles = troubles

    def collect(self) -> Iterator[Family]:
        """The family, for prometheus-client."""
        says = "1 while the config file or the certificate is not the one in use"
        yield gauge("canary_config_stale", says, [((), float(bool(self._troubles())))])


class AgentMetrics(Collector):
    """The metrics of an agent."""

    def __init__(
        self,
        *,
        dropped: Callable[[], int],
        shared_up: Callable[[], bool],
        clock_offset_s: Callable[[], float | None],
    ) -> None:
        """`clock_offset_s` returns by how much this machine's clock is fast, None while unknown."""
        self._dropped, self._shared_up, self._clock_offset_s = dropped, shared_up, clock_offset_s

    def collect(self) -> Iterator[Family]:
        """Every family, for prometheus-client."""
        dropped = CounterMetricFamily("canary_stream_dropped", "Records that the stream did not take")
        dropped.add_metric((), self._dropped())
        yield dropped
        yield from _of_redis(self._shared_up(), self._clock_offset_s())


class ControllerMetrics(Collector):
    """The metrics of an admin process. Only the leader shows those of the canaries."""

    def __init__(
        self,
        meters: Meters,
        *,
        leads: Callable[[], bool],
        shared_up: Callable[[], bool],
        lag_s: Callable[[], float | None],
        clock_offset_s: Callable[[], float | None],
    ) -> None:
        """`lag_s` returns the delay from an exchange's end to the leader's knowledge, `clock_offset_s` by how
        much this machine's clock is fast; None while unknown."""
        self._meters, self._leads, self._shared_up, self._lag_s = meters, leads, shared_up, lag_s
        self._clock_offset_s = clock_offset_s

    def collect(self) -> Iterator[Family]:
        """Every family, for prometheus-client."""
        leads, lag_s = self._leads(), self._lag_s()
        yield gauge("canary_leader", "1 for the admin that leads", [((), float(leads))])
        yield from _of_redis(self._shared_up(), self._clock_offset_s())
        if leads:
            yield from self._meters.collect()
        if leads and lag_s is not None:
            says = "An exchange's end to the leader's knowledge"
            yield gauge("canary_evidence_lag_seconds", says, [((), lag_s)])


def _of_redis(up: bool, clock_offset_s: float | None) -> Iterator[Family]:
    """Whether Redis answers a process, and how far the machine's clock is from Redis's."""
    yield gauge("canary_shared_up", "1 while Redis answers this process", [((), float(up))])
    if clock_offset_s is not None:
        says = "The machine's clock minus Redis's, by which records are dated"
        yield gauge("canary_clock_offset_seconds", says, [((), clock_offset_s)])
