"""Expands `${NAME}` and `${NAME:-default}` in the config's values. `$${` is a literal `${`."""

import re
from collections.abc import Mapping

_REFERENCE = re.compile(
    r"(?P<escaped>\$\$\{)|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<fallback>:-(?:[^}$]|\$(?!\{))*)?\}|(?P<broken>\$\{)"
)


class BadReference(ValueError):
    """A malformed reference, or one to an unset variable without a default."""


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace the references in a text. As in a shell, `:-` applies to unset and empty variables.

    Raises BadReference; its message never contains a variable's value.
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
            raise BadReference(f"the variable {name} is not set; set it, or write ${{{name}:-default}}")
        return found

    return _REFERENCE.sub(value, text)
