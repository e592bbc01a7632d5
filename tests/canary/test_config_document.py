from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canary.config.errors import ConfigError, Path
from canary.config.yaml_document import ConfigDocument, read


def messages(document: ConfigDocument) -> list[str]:
    return [str(problem) for problem in document.problems]


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as refused:
        read(text, "canary.yaml", {})
    return str(refused.value)


def test_scalars_stay_the_text_that_was_written() -> None:
    text = "{date: 2024-08-06, flag: on, octal: 010, minutes: 1:30, number: 1.0, quoted: '5', none: none}"
    assert read(text, "canary.yaml", {}).root.plain(set(), {}) == {
        "date": "2024-08-06",
        "flag": "on",
        "octal": "010",
        "minutes": "1:30",
        "number": "1.0",
        "quoted": "5",
        "none": "none",
    }


def test_an_empty_value_is_none() -> None:
    assert read("a:\nb: null\nc: ~\nd: ''", "canary.yaml", {}).root.plain(set(), {}) == {
        "a": None,
        "b": None,
        "c": None,
        "d": "",
    }


def test_every_path_knows_its_line() -> None:
    lines = read("a: 1\nb:\n  - c: 2\n    d: 3\n  -\n    - 4\n", "canary.yaml", {}).lines
    assert lines[("a",)] == 1
    assert lines[("b",)] == 2
    assert lines[("b", 0)] == 3
    assert lines[("b", 0, "d")] == 4
    assert lines[("b", 1, 0)] == 6


def test_a_problem_with_what_is_not_there_stands_at_the_nearest_thing_that_is() -> None:
    problem = read("a: 1\nb:\n  c: 2\n", "canary.yaml", {}).problem(("b", "d", 0), "is missing")
    assert str(problem) == "canary.yaml:2: b.d[0]: is missing"


def test_values_are_expanded_but_comments_are_not() -> None:
    document = read("a: '${A}/v1'  # not ${B}\n", "canary.yaml", {"A": "x"})
    assert document.root.plain(set(), {}) == {"a": "x/v1"}
    assert document.problems == ()


def test_unset_names_are_reported_with_line_and_their_values_are_spoilt() -> None:
    document = read("a: 1\nb: ['${A}', '${B}']\n", "canary.yaml", {})
    assert messages(document) == [
        "canary.yaml:2: b[0]: the variable A is not set; set it, or write ${A:-default}",
        "canary.yaml:2: b[1]: the variable B is not set; set it, or write ${B:-default}",
    ]
    assert document.spoilt == {("b", 0), ("b", 1)}


def test_duplicate_keys_are_refused_and_the_first_is_named() -> None:
    document = read("a:\n  b: 1\n  c: 2\n  b: 3\n", "canary.yaml", {})
    assert messages(document) == ["canary.yaml:4: a.b: duplicate key; the first is in line 2"]


def test_leaving_out_a_list_item_keeps_the_others_places() -> None:
    places: dict[Path, Path] = {}
    plain = read("a: [x, y, z]", "canary.yaml", {}).root.plain({("a", 1)}, places)
    assert plain == {"a": ["x", "z"]}
    assert places[("a", 1)] == ("a", 2)


def test_an_alias_stands_for_its_anchor() -> None:
    plain = read("a: &times {total: 5s}\nb: *times\n", "canary.yaml", {}).root.plain(set(), {})
    assert plain == {"a": {"total": "5s"}, "b": {"total": "5s"}}


def test_an_alias_inside_its_own_anchor_is_refused() -> None:
    assert messages(read("a: &loop\n  - *loop\n", "canary.yaml", {})) == [
        "canary.yaml:1: a[0]: this alias is inside its own anchor"
    ]


def test_tags_that_would_build_objects_are_refused() -> None:
    document = read("a: !!python/object/apply:os.system ['true']\nb: !secret x\n", "canary.yaml", {})
    assert messages(document) == [
        "canary.yaml:1: a: YAML tags such as tag:yaml.org,2002:python/object/apply:os.system are not "
        "supported",
        "canary.yaml:2: b: YAML tags such as !secret are not supported",
    ]


def test_a_mapping_as_a_key_is_refused() -> None:
    assert messages(read("? {a: 1}\n: 2\n", "canary.yaml", {})) == ["canary.yaml:1: a key must be plain text"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "a:\n  - b: 1\n      c: 2\n",
            "3: `c: …` is indented by 6 spaces: with 4 it is the next key after `- b: …` (line 2)",
        ),
        (
            "a:\n  - b: 1\n   c: 2\n",
            "3: `c: …` is indented by 3 spaces: with 4 it is the next key after `- b: …` (line 2)",
        ),
        (
            "a:\n  - b: 1\n  c: 2\n",
            "3: `c: …` is indented by 2 spaces: with 4 it is the next key after `- b: …` (line 2)",
        ),
        (
            "a:\n  b: 1\n c: 2\n",
            "3: `c: …` is indented by 1 space: with 2 it is the next key after `b: …` (line 2)",
        ),
        (
            "a:\n  - b: 1\n\n   # c\n   - b: 2\n",
            "5: `- b: …` is indented by 3 spaces: with 2 it is the next item after `- b: …` (line 2)",
        ),
        (
            "a:\n  b: 1\n  - c: 2\n",
            "3: `- c: …` is an item of a list, and beside it stand keys: write it as a key",
        ),
        ("  a: 1\nb: 2\n", "1: `a: …` is indented: the keys of a file begin at the left"),
        (
            "a:\n\tb: 2\n",
            "2: a tab stands before `b: …`, and YAML is indented by spaces: indent it by 2 spaces",
        ),
        (
            "a:\n  - b: 1\n\tc: 2\n",
            "3: a tab stands before `c: …`, and YAML is indented by spaces: indent it by 4 spaces",
        ),
        ("a:\tb\n", "1: a tab stands in `a: …`: put a space there"),
        ("a:\n  b:1\n  c: 2\n", "2: a space is missing behind the colon in `b: …`"),
        ("a\n  c: 2\n", "1: a colon is missing behind `a`"),
        ("a: 1\nb: [1, 2\nc: 3\n", "2: the `[` in `b: …` is never closed: add `]`"),
        ("a: {b: 1 c: 2}\n", "1: a comma or a `}` is missing in `a: …`"),
        ('a: "b\n', "1: a quote that begins in `a: …` is never closed: close it"),
        ("a: %5\n", "1: a value in `a: …` begins with a percent sign: put it in quotes"),
        ("a: [*]\n", "1: a value in `a: …` begins with an asterisk: put it in quotes"),
        ("a: > 4\n", "1: the value of `a: …` begins with > or |: put it in quotes"),
        ("a: b: c\n", "1: the value of `a: …` has a colon and a space in it: put it in quotes"),
        ('a: "\\d"\n', "1: a backslash stands in double quotes in `a: …`: use single quotes"),
        ("a: 1\n---\nb: 2\n", "2: a second document begins here with `---`: a config is one"),
        ("a: 1\nb: \x00\n", "2: the character #x0000 may not stand in YAML: remove it"),
        ("a: !<x y>\n", "1: `a: …` cannot be read as YAML: while parsing a tag, expected '>', but found ' '"),
    ],
)
def test_what_is_no_yaml_is_told_by_its_line_what_stands_there_and_what_would_be_right(
    text: str, said: str
) -> None:
    for end in ("\n", "\r\n"):
        assert refusal(text.replace("\n", end)).replace("\r", "") == f"canary.yaml:{said}"


@given(st.text(alphabet="ab:- \t\n[]{}\"'%*&|>?!#,", max_size=40))
def test_whatever_stands_in_a_file_it_is_refused_in_words_or_read(text: str) -> None:
    with suppress(ConfigError):
        read(text, "canary.yaml", {})


def test_no_value_of_a_file_that_is_no_yaml_is_repeated() -> None:
    for line in ("api_key: sk-123: 4", "api_key: %sk-123", "api_key:sk-123\n  b: 1", 'api_key: "sk-123'):
        assert "sk-123" not in refusal(f"a:\n  {line}\n")


@pytest.mark.parametrize("text", ["- a\n", "word\n"])
def test_a_file_that_is_no_mapping_is_refused(text: str) -> None:
    assert refusal(text) == "canary.yaml:1: the file must be a mapping, such as `providers: …`"


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_is_an_empty_mapping(text: str) -> None:
    assert read(text, "canary.yaml", {}).root.plain(set(), {}) == {}
