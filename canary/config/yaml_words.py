"""What is wrong with a text that is no YAML, in words for its author: the line, what stands there, and what
would be right. Values are not quoted: one may be a key."""

import re
from collections.abc import Sequence

import yaml

from common.numbers import count

_KEY = re.compile(
    r"(?P<items>(?:- +)*)(?P<key>['\"]?[\w./@-]{1,40}['\"]?)(?P<colon> *:(?=\s|$))?(?P<rest>.*)"
)
_GLUED = re.compile(r"(?:- +)*[\w-]+:[^\s/]")
_QUOTES = "put it in quotes"
_SIGN = {"%": "a percent sign", "@": "an @", "`": "a backtick", "*": "an asterisk", "&": "an &", "!": "a !"}


def words_of(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """The line that its author must change, and what is wrong there."""
    if isinstance(error, yaml.reader.ReaderError):
        line = text.count("\n", 0, error.position) + 1
        return line, f"the character #x{int(error.character):04x} may not stand in YAML: remove it"
    mark = error.problem_mark or error.context_mark if isinstance(error, yaml.MarkedYAMLError) else None
    if not isinstance(error, yaml.MarkedYAMLError) or mark is None:
        return None, f"this is not YAML: {error}".replace("\n", " ")
    lines = text.splitlines() or [""]
    at = min(mark.line, len(lines) - 1)
    known = _of_a_tab(lines, at, mark.column) or _of_signs(error, lines, at) or _of_flow(error, lines, at)
    if known is None and (
        "not allowed here" in (error.problem or "") or "block end" in (error.problem or "")
    ):
        known = _of_indentation(lines, at, mark.column)
    if known is not None:
        return known
    said = ", ".join(part for part in (error.context, error.problem) if part)
    return at + 1, f"{_shown(lines[at])} cannot be read as YAML: {said}"


def _of_a_tab(lines: Sequence[str], at: int, column: int) -> tuple[int, str] | None:
    line = lines[at]
    blank = line[: len(line) - len(line.lstrip())]
    if "\t" in blank:
        above = _above(lines, at)
        opens = above is not None and (lines[above].rstrip().endswith(":"))
        spaces = 0 if above is None else _columns(lines[above])[-1] + (2 if opens else 0)
        by = f": indent it by {count(spaces, 'space')}" if spaces else ""
        return at + 1, f"a tab stands before {_shown(line)}, and YAML is indented by spaces{by}"
    if line[column : column + 1] == "\t" or "\t" in line[:column].lstrip()[-1:]:
        return at + 1, f"a tab stands in {_shown(line)}: put a space there"
    return None


def _of_signs(error: yaml.MarkedYAMLError, lines: Sequence[str], at: int) -> tuple[int, str] | None:
    """What begins or ends a value that needs quotes."""
    said = f"{error.context} {error.problem}"
    sign = re.search(r"character '([^\w\s])' that cannot start", said)
    if sign is not None or "an alias" in said or "undefined alias" in said or "scanning an anchor" in said:
        begins = _SIGN.get(sign[1] if sign is not None else "*" if "alias" in said else "&", "such a sign")
        return at + 1, f"a value in {_shown(lines[at])} begins with {begins}: {_QUOTES}"
    if "scanning a block scalar" in said:
        return at + 1, f"the value of {_shown(lines[at])} begins with > or |: {_QUOTES}"
    if "unknown escape" in said:
        return at + 1, f"a backslash stands in double quotes in {_shown(lines[at])}: use single quotes"
    if "quoted scalar" in said and error.context_mark is not None:
        began = error.context_mark.line
        return began + 1, f"a quote that begins in {_shown(lines[began])} is never closed: close it"
    if "document start" in said and at:
        return 1, f"{_shown(lines[0])} is indented: the keys of a file begin at the left"
    if "another document" in said:
        return at + 1, "a second document begins here with `---`: a config is one"
    return None


def _of_flow(error: yaml.MarkedYAMLError, lines: Sequence[str], at: int) -> tuple[int, str] | None:
    """A bracket that is not closed, or a comma that is missing."""
    if "flow" not in (error.context or "") or error.context_mark is None:
        return None
    opening, closing = ("{", "}") if "mapping" in (error.context or "") else ("[", "]")
    began = error.context_mark.line
    if began == at:
        return at + 1, f"a comma or a `{closing}` is missing in {_shown(lines[at])}"
    return began + 1, f"the `{opening}` in {_shown(lines[began])} is never closed: add `{closing}`"


def _of_indentation(lines: Sequence[str], at: int, column: int) -> tuple[int, str] | None:
    """A line that stands where nothing of its kind may: by its indentation, or by the line above it."""
    line, above = lines[at], _above(lines, at)
    place = _columns(line)[-1]
    if ": " in line[place:column]:
        return at + 1, f"the value of {_shown(line)} has a colon and a space in it: {_QUOTES}"
    if above is None:
        return None
    before = lines[above]
    inside = _columns(line)[0] >= _columns(before)[-1]
    if inside and _GLUED.match(before.strip()):
        return above + 1, f"a space is missing behind the colon in {_shown(before)}"
    if inside and (found := _KEY.fullmatch(before.strip())) and not found["colon"] and not found["rest"]:
        return above + 1, f"a colon is missing behind {_shown(before)}"
    indented = f"{_shown(line)} is indented by {count(_columns(line)[0], 'space')}"
    is_item = line.lstrip().startswith("- ")
    beside = [
        (each[0] if is_item else each[-1], number)
        for number, each in _open(lines, at)
        if not is_item or len(each) > 1
    ]
    if not beside:
        return at + 1, f"{_shown(line)} is an item of a list, and beside it stand keys: write it as a key"
    spaces, number = min(beside, key=lambda each: (abs(each[0] - _columns(line)[0]), -each[0]))
    what = "item" if is_item else "key"
    after = f"{_shown(lines[number])} (line {number + 1})"
    return at + 1, f"{indented}: with {spaces} it is the next {what} after {after}"


def _above(lines: Sequence[str], at: int) -> int | None:
    """The nearest line before with something in it."""
    return next((each for each in range(at - 1, -1, -1) if _says(lines[each])), None)


def _says(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _columns(line: str) -> list[int]:
    """Where the line begins, and behind each `- ` of it."""
    found = [len(line) - len(line.lstrip())]
    while match := re.match(r"- +", line[found[-1] :]):
        found.append(found[-1] + match.end())
    return found


def _open(lines: Sequence[str], at: int) -> list[tuple[int, list[int]]]:
    """The lines before whose blocks may go on at this one, each with its columns: the innermost first."""
    found: list[tuple[int, list[int]]] = []
    for number in range(at - 1, -1, -1):
        columns = _columns(lines[number])
        if _says(lines[number]) and (not found or columns[0] < found[-1][1][0]):
            found.append((number, columns))
    return found


def _shown(line: str) -> str:
    """The line's key, without its value."""
    found = _KEY.match(line.strip())
    if found is None or (not found["colon"] and found["rest"] and not found["rest"].startswith(":")):
        return "this line"
    more = ": …" if found["rest"].strip() else ":" if found["colon"] else ""
    return f"`{found['items']}{found['key']}{more}`"
