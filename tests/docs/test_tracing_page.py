"""docs/tracing.md names every attribute that is sent."""

import re
from pathlib import Path

from records.exports import otlp

PAGE = (Path(__file__).parents[2] / "docs/tracing.md").read_text()


def test_every_attribute_stands_on_the_page_and_no_other() -> None:
    source = Path(otlp.__file__).read_text()
    sent = set(re.findall(r'"((?:gen_ai|canary|error|http|server)\.[a-z_.]+)"', source))
    sent = {f"{name}NAME" if name.endswith(".") else name for name in sent}
    named = set(re.findall(r"`((?:gen_ai|canary|error|http|server)\.[a-z_.]+(?:NAME)?)`", PAGE))
    assert named == sent
