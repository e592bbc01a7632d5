"""The README's five minutes as a page of the site, which has no README."""

import re
from pathlib import Path
from typing import Any

README = Path(__file__).parents[2] / "README.md"
SECTION = re.compile(r"^## (Five minutes with your own app\n.*?)(?=^## )", re.MULTILINE | re.DOTALL)
PAGE = "quickstart.md"


def on_files(files: Any, config: Any) -> Any:
    from mkdocs.structure.files import File  # the tests of quickstart() run without mkdocs

    files.append(File.generated(config, PAGE, content=quickstart(README.read_text())))
    return files


def quickstart(readme: str) -> str:
    """The section as a page in docs/: its links are told from there."""
    found = SECTION.search(readme)
    if found is None:
        raise ValueError("README.md has no section on five minutes with your own app")
    from_docs = re.sub(r"\]\((?![a-z]+:|#)", "](../", found[1])
    return "# " + from_docs.replace("](../docs/", "](")
