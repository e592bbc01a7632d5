"""What an exchange costs is counted on a worker that serves as it should."""

import sys
from contextlib import closing
from pathlib import Path

import pytest
import uvloop

from benchmarks.counts import called
from benchmarks.lone_worker import LoneWorker
from benchmarks.shapes import CHUNKS, SHAPES
from records.outcome import Outcome
from records.spool.frame import scan

MOST_CALLS = {"chat": 152, "chat of the candidate": 168}
"""Lower them with every step; docs/performance.md has the numbers."""


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_is_served_and_recorded(name: str, tmp_path: Path) -> None:
    async def serve() -> None:
        with closing(LoneWorker(tmp_path)) as worker:
            await worker.serve(SHAPES[name], 2)

    uvloop.run(serve())
    spools = [path.read_bytes() for path in (tmp_path / "data/spool").glob("*.spool")]
    records = [each for data in spools for each in scan(data, limit=9, final=True).records]
    outcomes = [each for each in records if isinstance(each, Outcome)]
    assert [each.outcome for each in outcomes] == ["ok", "ok"]
    assert {each.arm == "candidate" for each in outcomes} == {name == "chat of the candidate"}


def test_a_stream_of_so_many_chunks_is_read_so_many_times() -> None:
    assert len(SHAPES[f"stream of {CHUNKS} chunks"].answer) == CHUNKS + 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is newer")
@pytest.mark.parametrize("name", MOST_CALLS)
def test_a_plain_chat_takes_few_calls(name: str) -> None:
    counts = uvloop.run(called(SHAPES[name]))
    assert counts["exchange.py:Exchanges._exchange"] == 1.0
    assert sum(counts.values()) <= MOST_CALLS[name]
