"""`python -m tests.deploy` lints the chart and checks its objects against Kubernetes, for `make check`."""

import sys

import helm_python
import kubernetes_validate

from tests.deploy.chart import ALL, CHART, LEAST, OF_THE_OPERATOR, VERSIONS, rendered


def main() -> int:
    """0 when every finding is none."""
    found = [
        each for values in (LEAST, ALL) for each in helm_python.lint(CHART, values, strict=True)["errors"]
    ]
    for values in (LEAST, ALL):
        for each in rendered(values):
            if each["kind"] not in OF_THE_OPERATOR:
                for version in VERSIONS:
                    kubernetes_validate.validate(each, version, strict=True)
    sys.stderr.write("".join(f"{each}\n" for each in found))
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
