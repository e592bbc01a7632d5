"""mkdocs.yml leads to every page, and the site's hook turns what only GitHub shows into what a site shows."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOOKS = runpy.run_path(str(DOCS / "site/hooks.py"))


class _Loader(yaml.SafeLoader):
    """Reads past mkdocs' own tags: `!ENV` and Python objects."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def test_every_page_stands_once_in_the_navigation() -> None:
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)["nav"]
    named = pages(nav)
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(there)


def pages(part: object) -> list[str]:
    """The pages of a part of the navigation, in their order."""
    if isinstance(part, dict):
        return pages([*part.values()])
    return [page for each in part for page in pages(each)] if isinstance(part, list) else [str(part)]


def test_the_site_loads_nothing_from_elsewhere() -> None:
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)
    assert config["theme"]["font"] is False
    assert "extra_javascript" not in config
    assert [name for name in config["extra_css"] if not (DOCS / name).exists()] == []
    assert "url(" not in (DOCS / "site/site.css").read_text()


def test_its_packages_are_locked_in_the_versions_that_canary_has() -> None:
    docs, all_others = (pins(name) for name in ("requirements-docs.lock", "requirements.lock"))
    assert "mkdocs-material" in docs
    assert {name for name in docs.keys() & all_others.keys() if docs[name] != all_others[name]} == set()


def pins(lock: str) -> dict[str, str]:
    return dict(re.findall(r"^([\w.-]+)==([^ ;]+)", (ROOT / lock).read_text(), re.MULTILINE))


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/someone/canary.git", "https://github.com/someone/canary"),
        ("https://name:token@github.com/someone/canary", "https://github.com/someone/canary"),
        ("git@github.com:someone/canary.git", "https://github.com/someone/canary"),
        ("ssh://git@git.example/team/canary", "https://git.example/team/canary"),
        ("/srv/git/canary", None),
        ("", None),
    ],
)
def test_a_remote_becomes_an_address_without_a_secret(remote: str, address: str | None) -> None:
    assert HOOKS["web_address"](remote) == address


@pytest.mark.parametrize(
    ("link", "with_sources", "without"),
    [
        ("[x](../proxy/sse.py)", "[x](https://git.example/c/proxy/sse.py)", "x"),
        ("[x](../README.md#test)", "[x](https://git.example/c/README.md#test)", "x"),
        ("[x](judge.md#privacy)", "[x](judge.md#privacy)", "[x](judge.md#privacy)"),
        ("[x](https://a.example)", "[x](https://a.example)", "[x](https://a.example)"),
        ("[x](#here)", "[x](#here)", "[x](#here)"),
        ("[x](adr/)", "[x](adr/0001-flat-packages.md)", "[x](adr/0001-flat-packages.md)"),
        ("```\n[x](../a.py)\n```", "```\n[x](../a.py)\n```", "```\n[x](../a.py)\n```"),
    ],
)
def test_a_link_out_of_the_folder_leads_to_the_repository_or_is_text(
    link: str, with_sources: str, without: str
) -> None:
    outward = HOOKS["outward"]
    assert outward(link, "architecture.md", "https://git.example/c") == with_sources
    assert outward(link, "architecture.md", None) == without


def test_a_link_is_read_from_the_place_of_its_page() -> None:
    there = HOOKS["outward"](
        "[x](../../proxy/sse.py) [y](../sdks.md)", "guides/README.md", "https://g.example"
    )
    assert there == "[x](https://g.example/proxy/sse.py) [y](../sdks.md)"


def test_a_pipe_in_a_tables_code_has_no_backslash() -> None:
    assert HOOKS["plain_pipes"](r"| `a\|b` | c \| d |") == r"| `a|b` | c \| d |"
    assert HOOKS["plain_pipes"](r"`a\|b`") == r"`a\|b`"


def test_a_pages_line_in_llms_txt_is_the_first_sentence_of_its_prose() -> None:
    page = "# Title\n\n- [a](#a) · b\n\n```sh\nmake\n```\n\n**Bold** start of [a page](b.md). Then more."
    assert HOOKS["first_sentence"](page) == "Bold start of a page."
