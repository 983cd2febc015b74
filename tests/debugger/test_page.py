"""The page in a headless Chromium against the running app: each scenario of scenarios.mjs."""

import re
from pathlib import Path

import pytest

from dev.browser import Browser
from tests.end_to_end.ward import Ward

ROOT = Path(__file__).parents[2]
SCENARIOS = Path(__file__).parent / "scenarios.mjs"
NAMES = re.findall(r"^export async function (\w+)", SCENARIOS.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize("scenario", NAMES)
def test_page(scenario: str, browser: Browser, ward: Ward) -> None:
    assert browser.play(scenario, ward.stack) == []


def test_a_scenario_in_which_the_browser_complains_fails(browser: Browser, ward: Ward) -> None:
    """Else a violation of the Content-Security-Policy would go by."""
    faults = browser.play("_violate_the_policy", ward.stack)
    for directive in ("style-src", "connect-src"):
        assert any(f"Content-Security-Policy: {directive}" in fault for fault in faults), directive
