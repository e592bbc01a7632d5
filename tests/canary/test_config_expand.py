import pytest

from canary.config.yaml_document import BadReference, expand


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("${NAME}", "value"),
        ("https://${NAME}/v1", "https://value/v1"),
        ("${NAME}${NAME}", "valuevalue"),
        ("${UNSET:-default}", "default"),
        ("${EMPTY:-default}", "default"),
        ("${EMPTY}", ""),
        ("${UNSET:-}", ""),
        ("${NAME:-default}", "value"),
        ("${UNSET:-http://host:1/a-b}", "http://host:1/a-b"),
        ("$NAME costs 5$", "$NAME costs 5$"),
        ("$${NAME}", "${NAME}"),
    ],
)
def test_references_take_their_value_or_default(text: str, expanded: str) -> None:
    assert expand(text, {"NAME": "value", "EMPTY": ""}) == expanded


def test_a_value_is_not_expanded_again() -> None:
    assert expand("${NAME}", {"NAME": "${OTHER}"}) == "${OTHER}"


def test_an_unset_name_without_default_is_refused_by_name() -> None:
    with pytest.raises(
        BadReference, match=r"the variable KEY is not set; set it, or write \$\{KEY:-default\}"
    ):
        expand("${KEY}", {})


@pytest.mark.parametrize("text", ["${", "${}", "${1A}", "${NAME:?message}", "${NAME", "${NA ME}"])
def test_what_only_looks_like_a_reference_is_refused(text: str) -> None:
    with pytest.raises(BadReference, match="cannot read this"):
        expand(text, {"NAME": "value"})
