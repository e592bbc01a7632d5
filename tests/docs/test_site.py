"""mkdocs.yml leads to every page, and the site's hook turns what only GitHub shows into what a site shows."""

import re
import runpy
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HOOKS, OFFLINE, VERSIONS, QUICKSTART = (
    runpy.run_path(str(DOCS / f"site/{name}.py")) for name in ("hooks", "offline", "versions", "quickstart")
)


class _Loader(yaml.SafeLoader):
    """Reads past mkdocs' own tags: `!ENV` and Python objects."""


_Loader.add_multi_constructor("", lambda loader, suffix, node: None)


def test_every_page_stands_once_in_the_navigation() -> None:
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(), _Loader)["nav"]
    named = pages(nav)
    there = {str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")}
    assert sorted(named) == sorted(there | {"quickstart.md"})


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


@pytest.mark.parametrize(
    "load",
    [
        '<script async src="https://cdn.example/mermaid.js">',
        "<script src=//cdn.example/a.js>",
        '<img alt="x" src="http://cdn.example/a.png">',
        '<link rel="preconnect" href="https://fonts.example">',
        '<link href="https://fonts.example/css" rel="stylesheet">',
        '@import "https://fonts.example/css"',
        "src: url(https://fonts.example/a.woff2)",
        '<pre class="mermaid">',
        '<image href="https://cdn.example/a.png"/>',
    ],
)
def test_a_load_from_elsewhere_ends_a_strict_build(load: str) -> None:
    assert OFFLINE["loads_elsewhere"](f"before {load} after") != []


@pytest.mark.parametrize(
    "fine",
    [
        '<a href="https://elsewhere.example">read on</a>',
        '<link rel="canonical" href="https://docs.example/page/">',
        '<link href="https://docs.example/2/" rel="next">',
        '<script src="assets/javascripts/bundle.js"></script><a href="https://elsewhere.example">x</a>',
        '<svg xmlns="http://www.w3.org/2000/svg">',
        "clip-path: url(#window)",
        "&lt;script src=&quot;https://cdn.example/a.js&quot;&gt;",
    ],
)
def test_a_link_or_a_file_of_the_site_is_no_load_from_elsewhere(fine: str) -> None:
    assert OFFLINE["loads_elsewhere"](fine) == []


def test_a_build_counts_its_warnings() -> None:
    builds = re.findall(r"mkdocs build.*", (ROOT / "Makefile").read_text())
    assert builds == ["mkdocs build --strict"] * 2  # with --quiet it would count none


def test_no_page_has_a_diagram_that_the_theme_would_fetch_a_renderer_for() -> None:
    assert [path for path in DOCS.rglob("*.md") if "```mermaid" in path.read_text()] == []


def test_the_versions_are_listed_newest_first_for_the_selector() -> None:
    assert VERSIONS["versions"](["0.9.0", "0.10.0", "assets", "next"]) == [
        {"version": "0.10.0", "title": "0.10.0", "aliases": ["latest"]},
        {"version": "0.9.0", "title": "0.9.0", "aliases": []},
    ]


def test_the_readmes_five_minutes_are_a_page_with_links_from_its_place() -> None:
    readme = (
        "# x\n\n## Five minutes with your own app\n\n[a](docs/b.md) ![c](docs/d.svg) [e](f) [g](#h)\n\n## Z\n"
    )
    page = QUICKSTART["quickstart"](readme)
    assert page == "# Five minutes with your own app\n\n[a](b.md) ![c](d.svg) [e](../f) [g](#h)\n\n"


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
        ("[x](../proxy/answers/sse.py)", "[x](https://git.example/c/proxy/answers/sse.py)", "x"),
        ("[x](../README.md#test)", "[x](https://git.example/c/README.md#test)", "x"),
        ("[x](judge.md#privacy)", "[x](judge.md#privacy)", "[x](judge.md#privacy)"),
        ("[x](https://a.example)", "[x](https://a.example)", "[x](https://a.example)"),
        ("[x](#here)", "[x](#here)", "[x](#here)"),
        ("[x](../README.md#five-minutes-with-your-own-app)", "[x](quickstart.md)", "[x](quickstart.md)"),
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
        "[x](../../proxy/answers/sse.py) [y](../sdks.md)", "guides/README.md", "https://g.example"
    )
    assert there == "[x](https://g.example/proxy/answers/sse.py) [y](../sdks.md)"


def test_a_picture_by_the_systems_theme_is_one_by_the_sites() -> None:
    picture = '<picture><source media="(m)" srcset="a-dark.png"><img alt="An a" src="a.png"></picture>'
    assert HOOKS["by_theme"](picture) == "![An a](a.png#only-light)![An a](a-dark.png#only-dark)"


def test_a_pipe_in_a_tables_code_has_no_backslash() -> None:
    assert HOOKS["plain_pipes"](r"| `a\|b` | c \| d |") == r"| `a|b` | c \| d |"
    assert HOOKS["plain_pipes"](r"`a\|b`") == r"`a\|b`"


def test_a_pages_line_in_llms_txt_is_the_first_sentence_of_its_prose() -> None:
    page = "# Title\n\n- [a](#a) · b\n\n```sh\nmake\n```\n\n**Bold** start of [a page](b.md). Then more."
    assert HOOKS["first_sentence"](page) == "Bold start of a page."
