"""Finds out whether a benchmark can go through the running proxy, with pinned requests."""

from collections.abc import Mapping
from pathlib import Path

import httpx2

from bench.models.asker import ProxyRoute
from bench.models.pair import Pair
from bench.models.wires import chat_path
from canary.commands.client import NotReached, ServerAddress
from canary.secrets import Secret

_LOOK_S = 2.0


def proxy_route(pair: Pair, data: Path, environment: Mapping[str, str]) -> ProxyRoute | None:
    """The route through the proxy. Raises BadSecret.

    None if the models are not a canary's arms, no server answers, pins are off, or the canary would not match
    a plain request.
    """
    token = Secret("CANARY_PIN_TOKEN", environment).value()
    if pair.canary is None or token is None:
        return None
    match, provider = pair.canary.match, pair.baseline.provider
    asked = min(match.models, default=pair.baseline.model)
    if not match.accepts(model=asked, path=chat_path(provider.api), headers={}, tags={}):
        return None
    try:
        proxy = ServerAddress.of("traffic", None, data)
        verify = proxy.trust or True
        answer = httpx2.get(f"{proxy.url}/readyz", timeout=_LOOK_S, verify=verify, trust_env=False)
    except (NotReached, httpx2.TransportError):
        return None
    if not answer.is_success:
        return None
    return ProxyRoute(
        canary=pair.canary.name,
        traffic=proxy.url,
        asked=asked,
        provider=provider,
        token=token,
        trust=proxy.trust,
    )
