"""What MkDocs does not do by itself: the version in the header, links out of docs/, llms.txt."""

import re
import subprocess
import tomllib
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
QUICKSTART = "README.md#five-minutes-with-your-own-app"
"""What docs/site/quickstart.py makes a page of."""
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_PICTURE = re.compile(r'<picture><source [^>]*srcset="([^"]+)"><img alt="([^"]+)" src="([^"]+)"></picture>')
_SSH = re.compile(r"(?:ssh://)?git@([\w.-]+)[:/](.+)")


def web_address(remote: str) -> str | None:
    """Where a browser finds a git remote, without a user's name or token; None if it is no server."""
    if found := _SSH.fullmatch(remote):
        host, path = found.groups()
    else:
        parts = urlsplit(remote)
        host, path = (parts.hostname or "", parts.path) if parts.scheme == "https" else ("", "")
    return f"https://{host}/{path.strip('/').removesuffix('.git')}" if host else None


def outward(markdown: str, source: str, sources: str | None) -> str:
    """Links from the page `source` to files outside docs/ lead to `sources`; without one, their text is left.

    A link to a folder, which GitHub lists, leads to its first page, beside which the site shows the others.
    """

    def lead(found: re.Match[str]) -> str:
        text, target = found.groups()
        place = normpath(str(PurePosixPath("docs", source).parent / target))
        if "://" in target or target.startswith("#"):
            return found[0]
        if place == QUICKSTART:
            return f"[{text}]({relpath('docs/quickstart.md', PurePosixPath('docs', source).parent)})"
        if not place.startswith("docs/"):
            return f"[{text}]({sources}/{place})" if sources else text
        first = min((ROOT / place).glob("*.md"), default=None) if target.endswith("/") else None
        return f"[{text}]({target}{first.name})" if first else found[0]

    return "".join(
        part if part.startswith("```") else _LINK.sub(lead, part) for part in _CODE.split(markdown)
    )


def plain_pipes(markdown: str) -> str:
    """GitHub wants a pipe in a table's code escaped, Python-Markdown shows the backslash."""
    rows = (
        re.sub(r"`[^`]*`", lambda code: code[0].replace(r"\|", "|"), line) if line.startswith("|") else line
        for line in markdown.split("\n")
    )
    return "\n".join(rows)


def by_theme(markdown: str) -> str:
    """GitHub chooses a picture by the system's theme, Material by its own, which a reader may switch."""

    def both(found: re.Match[str]) -> str:
        dark, words, light = found.groups()
        return f"![{words}]({light}#only-light)![{words}]({dark}#only-dark)"

    return _PICTURE.sub(both, markdown)


def first_sentence(markdown: str) -> str:
    """The first sentence of a page's first paragraph, its links as text."""
    paragraphs = re.split(r"\n\s*\n", _CODE.sub("", markdown))
    prose = next((each for each in paragraphs if re.match(r"[\w*`\[\"“]", each)), "")
    line = re.sub(r"\*+(?=\w)|(?<=\w)\*+", "", _LINK.sub(r"\1", " ".join(prose.split())))
    return re.split(r"(?<=[.!?:]) ", line)[0]


def git(*words: str) -> str:
    """What git says; nothing where there is no git or no checkout."""
    try:
        return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except FileNotFoundError:
        return ""


def on_config(config: Any) -> Any:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    commit, address = git("rev-parse", "HEAD"), web_address(git("config", "--get", "remote.origin.url"))
    config.extra["sources"] = f"{address}/blob/{commit}" if address else None
    config.site_name = f"canary {version}"
    config.copyright = f"canary {version}" + (f", built from commit {commit[:12]}" if commit else "")
    return config


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    return plain_pipes(outward(by_theme(markdown), page.file.src_uri, config.extra["sources"]))


def on_nav(nav: Any, config: Any, files: Any) -> Any:
    config.extra["order"] = nav.items
    return nav


def on_post_build(config: Any) -> None:
    site = Path(config.site_dir)
    (site / "llms.txt").write_text(llms_txt(config.extra["order"], config))
    pages = [page for item in config.extra["order"] for page in pages_of(item)]
    (site / "llms-full.txt").write_text("\n\n".join(page.markdown for page in pages))


def pages_of(item: Any) -> list[Any]:
    return [item] if item.is_page else [page for child in item.children or () for page in pages_of(child)]


def llms_txt(order: list[Any], config: Any) -> str:
    """https://llmstxt.org: a title, what it is, and each page with its first sentence, by section."""
    lines = [f"# {config.site_name}", "", f"> {config.site_description.strip()}", ""]
    for item in order:
        lines += [f"## {item.title}", ""]
        lines += [
            f"- [{page.title}]({page.canonical_url or page.url or '.'}): {first_sentence(page.markdown)}"
            for page in pages_of(item)
        ]
        lines.append("")
    return "\n".join(lines)
