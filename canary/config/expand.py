"""`${NAME}` and `${NAME:-default}` in the config's values. `$${` stands for a plain `${`."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-[^}]*)?\}|(?P<broken>\$\{)"
)


class BadReference(ValueError):
    """A reference that names no variable, or one that is unset and has no default."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with its references replaced. As in a shell, `:-` covers variables that are unset or empty.

    Raises BadReference, whose message never holds a variable's value.
    """

    def value(match: re.Match[str]) -> str:
        if match["escaped"]:
            return "${"
        if match["broken"]:
            raise BadReference("cannot read this ${…}; write ${NAME} or ${NAME:-default}")
        name, fallback = match["name"], match["fallback"]
        found = environment.get(name)
        if fallback is not None:
            return found or fallback.removeprefix(":-")
        if found is None:
            raise BadReference(f"the environment has no {name}; set it, or write ${{{name}:-default}}")
        return found

    return _REFERENCE.sub(value, text)
