"""Compiles the request path into C (mypyc) when a wheel is built with CANARY_COMPILE=1, else does nothing.

What is compiled stands in the wheel beside its source, which runs as it is, too. Not compiled: modules with
msgspec Structs, whose class arguments mypyc does not pass on; with frozen dataclasses that are pickled, which
mypyc's cannot be; with msgspec's Raw values, which are bytes for a type checker but not at run time; and what
most requests do not pass through.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

COMPILED = [
    "proxy/app.py",
    "proxy/attempt.py",
    "proxy/breaker.py",
    "proxy/call_reader.py",
    "proxy/event_template.py",
    "proxy/examining.py",
    "proxy/exchange.py",
    "proxy/headers.py",
    "proxy/in_flight.py",
    "proxy/own_answer.py",
    "proxy/pins.py",
    "proxy/reading.py",
    "proxy/record.py",
    "proxy/request.py",
    "proxy/routes.py",
    "proxy/splice.py",
    "proxy/sse.py",
    "proxy/stream_usage.py",
    "proxy/ticker.py",
    "proxy/waiting.py",
    "proxy/server/flow.py",
    "proxy/server/half_closed.py",
    "proxy/server/head.py",
    "proxy/server/incoming.py",
    "proxy/server/protocol.py",
    "proxy/server/requests.py",
    "proxy/server/turns.py",
    "proxy/upstream/connection.py",
    "proxy/upstream/connection_limit.py",
    "proxy/upstream/framing.py",
    "proxy/upstream/outflow.py",
    "proxy/upstream/pool.py",
    "proxy/upstream/request.py",
    "proxy/upstream/response_parser.py",
    "proxy/upstream/upstream_response.py",
    "records/exchange_id.py",
    "records/frame.py",
    "records/spool.py",
    "routing/assign.py",
    "routing/cohort.py",
]


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """What hatchling calls."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before the wheel is packed: compile, and say where the results go."""
        if os.environ.get("CANARY_COMPILE") != "1" or version == "editable":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="canary-compile-")
        libraries = Path(self._folder.name, "libraries")
        _compile(libraries, work=Path(self._folder.name, "work"))
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] |= {
            str(library): str(library.relative_to(libraries)) for library in libraries.rglob("*.so")
        }

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """After it."""
        if hasattr(self, "_folder"):
            self._folder.cleanup()


def _compile(libraries: Path, work: Path) -> None:
    """Into `libraries`, by module. The imports are here because only this needs the packages."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    extensions = mypycify(COMPILED, target_dir=str(work), group_name="canary")
    build = Distribution({"name": "canary", "ext_modules": extensions}).get_command_obj("build_ext")
    build.build_lib, build.build_temp = str(libraries), str(work)
    build.ensure_finalized()
    build.run()
