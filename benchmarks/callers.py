"""What `callers:` costs an exchange: the code that it adds to the reading of a request, timed alone.

`python -m benchmarks.callers`. The least of many short runs each, in microseconds.
"""

import timeit
from collections.abc import Callable
from hashlib import sha256

from proxy.calls.call import RequestFacts
from proxy.calls.callers import Callers, asked_model
from proxy.calls.routes import Route, Routes
from proxy.dialects.operation import PASS_THROUGH
from proxy.providers.provider import Provider
from routing.caller import TAG, Caller

KEY = "ck_" + "k" * 43
PROVIDER = Provider(name="openai", api="openai", base_url="https://api.openai.com/v1", api_key="own")
BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "' + b"word " * 200 + b'"}]}'
FACTS = RequestFacts(model="gpt-4o")
RUNS, TIMES = 500, 300
"""Runs of a tenth of a millisecond, of which some meet no other work."""


def others(number: int) -> list[Caller]:
    """Further callers: a look-up does not depend on their number."""
    return [Caller(name=f"c{each}", key_sha256=(f"{each:064x}",)) for each in range(number)]


def reading(callers: Callers, route: Route) -> Callable[[], object]:
    """What `read` in proxy/calls/reader.py does for callers, for one chat request of 1 kB."""
    named = {b"authorization": b"Bearer " + KEY.encode(), b"content-type": b"application/json"}

    def read() -> object:
        tags: dict[str, str] = {}
        if (caller := callers.find(named, b"")) is not None:
            callers.admit(caller, "openai")
            tags = {**tags, TAG: caller.name}
        if caller is not None and caller.models is not None:
            callers.check_model(caller, asked_model(route, "POST", FACTS, BODY))
        return tags

    return read


def main() -> None:
    """Print a line for each set-up."""
    route = Routes({"openai": PROVIDER}, [], ()).route("POST", "/v1/chat/completions", b"", {})
    assert route.operation is not PASS_THROUGH
    digest = sha256(KEY.encode()).hexdigest()
    plain = Caller(name="web", key_sha256=(digest,))
    limited = Caller(
        name="web",
        key_sha256=(digest,),
        providers=("openai",),
        models=("o4*", "gpt-4o*"),
        requests_per_minute=10**9,
    )
    for name, callers in {
        "no callers": [],
        "a caller without limits": [plain],
        "a caller with all limits, among 1,000": [*others(1000), limited],
    }.items():
        took = min(timeit.repeat(reading(Callers(callers), route), repeat=RUNS, number=TIMES))
        print(f"{name:40} {took / TIMES * 1e6:5.2f} µs")


if __name__ == "__main__":
    main()
