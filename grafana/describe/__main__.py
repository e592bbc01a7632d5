"""`python -m grafana.describe` writes the dashboards. `--check` only lists those that differ, and exits 1."""

import json
import sys
from pathlib import Path

from grafana.describe import DASHBOARDS, FOLDER


def text_of(dashboard: str) -> str:
    """The text of a dashboard's file."""
    return json.dumps(DASHBOARDS[dashboard].json(), indent=1, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write or compare every dashboard."""
    differ = 0
    for name in DASHBOARDS:
        path, text = FOLDER / f"{name}.json", text_of(name)
        if not path.exists() or path.read_text() != text:
            differ += 1
            sys.stderr.write(f"{path.relative_to(Path.cwd())} differs from grafana/describe\n")
            if "--check" not in arguments:
                path.write_text(text)
    return int("--check" in arguments and differ > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
