"""The bill of materials says what Azure installs, and nothing of the machine that made it."""

import json
import re
from typing import Any

import pytest

from dev.sbom import REQUIREMENTS, bill_of_materials
from medtech import __version__

TEXT = REQUIREMENTS.read_text(encoding="utf-8")
SMALL = """\
httpcore==1.0.9 \\
    --hash=sha256:2d400746a40668fc9dec9810239072b40b4484b640a8c38fd654a024c7a1bf55
    # via httpx
httpx==0.28.1 ; python_full_version >= '3.13' \\
    --hash=sha256:75e98c5f16b0f35b567856f597f06ff2270a374470a5c2392242528e3e3e42fc \\
    --hash=sha256:d909fcccc110f8c7faf814ca82a9a4d816bc5a6dbfea25d6591d6985b8ba59ad
    # via
    #   medtech (pyproject.toml)
    #   msrest
httpx==0.27.0 ; python_full_version < '3.13' \\
    --hash=sha256:71d5465162c13681bff01ad59b2cc68dd838ea1f10e51574bac27103f00c91a5
    # via medtech (pyproject.toml)
colorama==0.4.6 ; sys_platform == 'win32' \\
    --hash=sha256:4f1d9991f5acc0ca119f9d443620b77f9d6b33703e51011c16baf57afb285fc6
    # via medtech (pyproject.toml)
"""


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(bill_of_materials(TEXT))
    return document


def test_it_has_what_python_3_13_on_linux_installs_with_its_hashes() -> None:
    document = json.loads(bill_of_materials(SMALL))
    hashes = {
        component["purl"]: [each["content"][:8] for each in component["externalReferences"][0]["hashes"]]
        for component in document["components"]
    }
    assert hashes == {"pkg:pypi/httpcore@1.0.9": ["2d400746"], "pkg:pypi/httpx@0.28.1": ["75e98c5f", "d909fccc"]}
    assert {each["ref"]: each["dependsOn"] for each in document["dependencies"]} == {
        f"pkg:pypi/medtech@{__version__}": ["pkg:pypi/httpx@0.28.1"],
        "pkg:pypi/httpx@0.28.1": ["pkg:pypi/httpcore@1.0.9"],
        "pkg:pypi/httpcore@1.0.9": [],
    }


def test_it_is_of_this_version_of_the_app(bill: dict[str, Any]) -> None:
    app = bill["metadata"]["component"]
    assert (app["name"], app["version"], app["type"]) == ("medtech", __version__, "application")


def test_every_pinned_package_is_in_it_by_hash(bill: dict[str, Any]) -> None:
    pinned = set(re.findall(r"^([a-z0-9-]+)==", TEXT, re.MULTILINE))
    assert {component["name"] for component in bill["components"]} == pinned
    for component in bill["components"]:
        [distribution] = component["externalReferences"]
        assert all(each["alg"] == "SHA-256" for each in distribution["hashes"]) and distribution["hashes"]


def test_something_needs_every_package(bill: dict[str, Any]) -> None:
    needed = {each for entry in bill["dependencies"] for each in entry["dependsOn"]}
    assert needed == {component["bom-ref"] for component in bill["components"]}


def test_it_is_the_same_on_every_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """With another index, which may need a password, and no time or serial number of its own."""
    first = bill_of_materials(TEXT)
    monkeypatch.setenv("PIP_INDEX_URL", "https://name:password@index.example.org/simple")
    monkeypatch.setenv("HOME", "/home/somebody")
    assert bill_of_materials(TEXT) == first
    document = json.loads(first)
    assert "serialNumber" not in document and "timestamp" not in document["metadata"]
    hosts = {host for component in document["components"] for host in re.findall(r"//([^/]+)/", json.dumps(component))}
    assert hosts == {"pypi.org"}
    assert not re.search(r'"(/|file:|[A-Z]:\\\\)', first)
