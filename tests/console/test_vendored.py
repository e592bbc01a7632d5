"""The third-party files that the page serves are those that npm published, and there are no others."""

from hashlib import sha256
from pathlib import Path

import console

FOLDER = Path(console.__file__).parent / "static/vendor"


def listed() -> dict[str, tuple[str, str]]:
    """(package and version, SHA-256) by file."""
    lines = (FOLDER / "VENDORED").read_text().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    return {file: (package, digest) for file, package, _, digest in rows}


def test_each_file_is_the_one_that_was_published() -> None:
    found = {
        path.name: sha256(path.read_bytes()).hexdigest()
        for path in FOLDER.iterdir()
        if path.name != "VENDORED"
    }
    assert found == {file: digest for file, (_, digest) in listed().items()}


def test_each_package_has_its_licence_beside_it_and_its_version_inside() -> None:
    packages = {package for package, _ in listed().values()}
    assert {package for file, (package, _) in listed().items() if file.endswith(".LICENSE")} == packages
    for file, (package, _) in listed().items():
        if file.endswith(".js"):
            assert package.rpartition("@")[2] in (FOLDER / file).read_text()
