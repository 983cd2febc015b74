"""The bill of materials: what Azure Functions installs beside the app, as CycloneDX 1.6 JSON.

    python -m dev.sbom [FILE]      FILE is sbom.json unless said otherwise

It is made of `requirements.txt` alone, as that is read on the Python and system that the app runs on in Azure, so every
machine makes the same bytes of the same checkout: each package with the hashes that its installation is checked
against, and which package needs it.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from dev.processes import ROOT
from medtech import __version__

REQUIREMENTS = ROOT / "requirements.txt"
APP = "medtech"

IN_AZURE = {
    "implementation_name": "cpython",
    "os_name": "posix",
    "platform_machine": "x86_64",
    "platform_python_implementation": "CPython",
    "platform_system": "Linux",
    "python_full_version": "3.13.0",
    "python_version": "3.13",
    "sys_platform": "linux",
}
"""As infra/app.bicep has it. `requirements.txt` also names what other Pythons need."""

_VIA = re.compile(r"^ +# +(?:via +)?(?!via$)(\S+)", re.MULTILINE)
"""Who needs a package, one a line, in the comment after it."""


def main() -> int:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "sbom.json"
    document = bill_of_materials(REQUIREMENTS.read_text(encoding="utf-8"))
    path.write_text(document, encoding="utf-8")
    print(f"{path.name}: {len(json.loads(document)['components'])} packages, {APP} {__version__}")
    return 0


def bill_of_materials(requirements: str) -> str:
    """The document for the text of a `requirements.txt` with hashes, as uv writes it.

    Raises ValueError where it would not be valid CycloneDX.
    """
    installed = list(_installed(requirements))
    bill = _read_by_cyclonedx("".join(block for _, block in installed))
    app = f"pkg:pypi/{APP}@{__version__}"
    bill["metadata"]["component"] |= {"bom-ref": app, "version": __version__}
    for component in bill["components"]:
        # The line in the file, and its text: both change with every package before it.
        component["bom-ref"] = component["purl"]
        del component["description"]
    purls = {APP: app} | {component["name"]: component["purl"] for component in bill["components"]}
    needs: dict[str, list[str]] = {purl: [] for purl in purls.values()}
    for name, block in installed:
        for parent in filter(purls.get, _VIA.findall(block)):
            needs[purls[parent]].append(purls[name])
    bill["dependencies"] = [{"ref": ref, "dependsOn": sorted(on)} for ref, on in sorted(needs.items())]
    document = json.dumps(bill, indent=2, sort_keys=True) + "\n"
    if (fault := JsonStrictValidator(SchemaVersion.V1_6).validate_str(document)) is not None:
        raise ValueError(f"The bill of materials is not valid CycloneDX: {fault!r:.1000}")
    return document


def _installed(requirements: str) -> Iterator[tuple[str, str]]:
    """(name, lines) of each package that Azure installs."""
    for block in re.split(r"^(?=\S)", requirements, flags=re.MULTILINE):
        if not block.strip():
            continue
        requirement = Requirement(block.partition("\\")[0].strip())
        if requirement.marker is None or requirement.marker.evaluate(IN_AZURE):
            yield canonicalize_name(requirement.name), block


def _read_by_cyclonedx(requirements: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", "requirements", "--output-reproducible"]
    command += ["--spec-version", "1.6", "--pyproject", str(ROOT / "pyproject.toml"), "-"]
    answer = subprocess.run(command, input=requirements, capture_output=True, text=True, check=True, cwd=ROOT)
    bill: dict[str, Any] = json.loads(answer.stdout)
    return bill


if __name__ == "__main__":
    sys.exit(main())
