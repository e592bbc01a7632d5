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
    "proxy/answers/reader.py",
    "proxy/answers/sse.py",
    "proxy/attempts/attempt.py",
    "proxy/attempts/dispatch.py",
    "proxy/attempts/examination.py",
    "proxy/attempts/record.py",
    "proxy/calls/canary_choice.py",
    "proxy/calls/reader.py",
    "proxy/calls/routes.py",
    "proxy/exchange.py",
    "proxy/network/flow.py",
    "proxy/network/server/caller_connection.py",
    "proxy/network/server/caller_request.py",
    "proxy/network/server/request_head.py",
    "proxy/network/ticker.py",
    "proxy/network/upstream/breaker.py",
    "proxy/network/upstream/connection.py",
    "proxy/network/upstream/pool.py",
    "proxy/network/upstream/response.py",
    "proxy/providers/json_edit.py",
    "proxy/providers/headers.py",
    "records/facts/exchange_id.py",
    "records/spool/frame.py",
    "records/spool/writer.py",
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
