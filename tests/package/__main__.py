"""`make package`: the files that are published, their size, and the Pythons on which they install and index.

Writes `.local/package.zip`, as `func azure functionapp publish` sends it: for `az functionapp deployment source
config-zip` and the portal. Exits with 1 if a Python fails, or none is there.
"""

import sys
import tempfile
import time
import zipfile
from pathlib import Path

from tests.package.core_tools import published
from tests.package.environment import PackageUnusable, install_and_index, interpreter

ROOT = Path(__file__).parents[2]
ARCHIVE = ROOT / ".local" / "package.zip"
PYTHONS = ("3.11", "3.12", "3.13")


def main() -> int:
    files = published(ROOT)
    for path in files:
        print(path)
    ARCHIVE.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(ARCHIVE, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in files:
            archive.write(ROOT / path, path)
        size = sum(entry.file_size for entry in archive.infolist())
    print(f"\n{len(files)} files, {size:,} bytes; {ARCHIVE.relative_to(ROOT)}: {ARCHIVE.stat().st_size:,} bytes")
    outcomes = [_report(version) for version in PYTHONS]
    if not any(outcomes):
        print(f"None of Python {', '.join(PYTHONS)} was used: the package is untried.", file=sys.stderr)
    return 0 if any(outcomes) and False not in outcomes else 1


def _report(version: str) -> bool | None:
    """Whether the package installs and indexes; None without that Python."""
    python = interpreter(version)
    if python is None:
        print(f"Python {version}: not on this machine")
        return None
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "package"
        with zipfile.ZipFile(ARCHIVE) as archive:
            archive.extractall(package)
        try:
            indexed = install_and_index(package, python, Path(folder) / "environment")
        except PackageUnusable as unusable:
            print(f"Python {version}: {unusable}", file=sys.stderr)
            return False
    functions = ", ".join(f"{name} ({trigger})" for name, trigger in sorted(indexed.triggers.items()))
    print(
        f"Python {version}: {indexed.installed} packages installed by hash, {functions} indexed in "
        f"{indexed.import_seconds:.2f} s; {time.monotonic() - started:.0f} s in all"
    )
    return True


if __name__ == "__main__":
    sys.exit(main())
