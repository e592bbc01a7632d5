"""The sections of a run."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.contender import BOTH_CORES, Way
from benchmarks.own import Upstream, canary, direct, nginx
from benchmarks.rounds import BenchSection
from benchmarks.turn import GAP_STREAMS, MANY, PACE_MS, RATE, STREAM_RATE, LoopTurn

EXCHANGE = {
    "exchange_all_us": "CPU µs per exchange, all processes",
    "exchange_worker_us": "of these, worker",
    "exchange_admin_us": "of these, admin process and supervisor",
    "per_core_whole": "requests per second and core, all processes",
    "per_core": "the same, worker alone",
    "closed_per_s": "requests per second reached",
}
MEMORY = {
    "stream_worker_kib": "memory per open stream, KiB",
    "rss_worker_mib": f"resident with {MANY:,} streams open, MiB",
    "rss_admin_mib": "the same, admin process and supervisor",
}
GAPS = {
    "gaps": f"gaps > 50 ms not the provider's, {GAP_STREAMS} streams",
    "own_gaps": "gaps > 50 ms while the client itself was held up",
    "held_up_ms": "longest the client was held up, ms",
}
PACED = {
    "paced_all_us": f"CPU µs per chunk, a chunk each {PACE_MS} ms, all processes",
    "paced_worker_us": "of these, worker",
    "paced_admin_us": "of these, admin process and supervisor",
}
LATENCY = {
    "added_p50_ms": f"added p50 at {RATE:g}/s, ms",
    "added_p99_ms": f"added p99 at {RATE:g}/s, ms",
    "added_ttft_p50_ms": f"added time to first token p50, {STREAM_RATE:g} streams/s, ms",
    "added_ttft_p99_ms": f"added time to first token p99, {STREAM_RATE:g} streams/s, ms",
    "added_delay_p50_ms": "added delay of a paced chunk p50, ms",
    "added_delay_p99_ms": "added delay of a paced chunk p99, ms",
    "p50_ms": f"p50 at {RATE:g}/s, ms",
    "p99_ms": f"p99 at {RATE:g}/s, ms",
    "ttft_p50_ms": "time to first token p50, ms",
    "ttft_p99_ms": "time to first token p99, ms",
}
FAST = {
    "fast_all_us": "CPU µs per chunk, as fast as they come, all processes",
    "fast_worker_us": "of these, worker",
    "fast_admin_us": "of these, admin process and supervisor",
}
PROBERS = {
    "exchange_client_us": "the client's own CPU µs per exchange",
    "exchange_provider_us": "the provider's own CPU µs per exchange",
    "prober_core_share": "share of their core that both used",
    "paced_client_us": "the client's own CPU µs per paced chunk",
    "paced_provider_us": "the provider's own CPU µs per paced chunk",
    "candidate_share": "share answered by the candidate",
}


PLAINTEXT, TLS = "Plaintext provider", "Provider behind TLS"
PLAIN, COMPILED = "canary", "compiled"


def side_by_side(upstream: Upstream, peers: Sequence[Way], rounds: int) -> BenchSection:
    """All figures of one worker and a plaintext provider."""
    return BenchSection(
        title=PLAINTEXT,
        ways=[
            Way("direct", partial(direct, upstream)),
            Way("nginx", partial(nginx, upstream)),
            Way(PLAIN, partial(canary, upstream)),
            *peers,
        ],
        loads=[
            LoopTurn.stream_memory,
            LoopTurn.gaps,
            LoopTurn.closed,
            LoopTurn.latency,
            LoopTurn.first_token,
            LoopTurn.paced,
            LoopTurn.fast,
        ],
        rows=EXCHANGE | LATENCY | PACED | FAST | GAPS | MEMORY | PROBERS,
        rounds=rounds,
    )


def compiled(upstream: Upstream, folder: Path) -> Way:
    """canary with its request path compiled, from an unpacked wheel."""
    return Way(COMPILED, partial(canary, upstream, name=COMPILED, compiled=folder))


def tls(upstream: Upstream, others: Sequence[Way], rounds: int) -> BenchSection:
    """nginx and canary with a provider behind TLS."""
    return BenchSection(
        title=TLS,
        ways=[Way("nginx", partial(nginx, upstream)), Way(PLAIN, partial(canary, upstream)), *others],
        loads=[LoopTurn.stream_memory, LoopTurn.gaps, LoopTurn.closed, LoopTurn.paced],
        rows=EXCHANGE | PACED | GAPS | MEMORY,
        rounds=rounds,
    )


def growth(upstream: Upstream, rounds: int) -> BenchSection:
    """One worker with 1, 10 and 100 canaries; the load is for one of them."""
    sizes = {f"{size} canar{'y' if size == 1 else 'ies'}": size for size in (1, 10, 100)}
    return BenchSection(
        title="Number of canaries",
        ways=[Way(name, partial(canary, upstream, name=name, canaries=size)) for name, size in sizes.items()],
        loads=[LoopTurn.closed],
        rows=EXCHANGE,
        base="1 canary",
        rounds=rounds,
    )


def workers(upstream: Upstream, rounds: int) -> BenchSection:
    """One and two workers, on both cores, together with client and provider."""
    sizes = {"1 worker": 1, "2 workers": 2}
    return BenchSection(
        title="Number of workers, on both cores with the client and the provider",
        ways=[
            Way(name, partial(canary, upstream, name=name, workers=size, core=BOTH_CORES))
            for name, size in sizes.items()
        ],
        loads=[LoopTurn.closed],
        rows=EXCHANGE | {"machine_limit_per_s": "all cores full at these costs, requests per second"},
        base="1 worker",
        rounds=rounds,
    )
