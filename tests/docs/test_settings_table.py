"""The table of docs/settings.md is the one that the code makes."""

import re

import pytest

from dev.settings_table import BEGIN, PAGE, PageUnusable, table, with_table
from medtech.settings import Settings
from medtech.setup.catalogue import catalogue
from medtech.setup.platform import CONSUMER_GROUP, DEFAULT_CONSUMER_GROUP, DEFAULT_SCHEDULE, PLATFORM_SETTINGS, SCHEDULE


def test_the_table_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page), "Run `.venv/bin/python -m dev settings-table`."


def test_every_setting_has_a_row() -> None:
    rows = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| [^|]+ \|$", table(), re.MULTILINE)
    assert rows == [*(each.name for each in PLATFORM_SETTINGS), *(name.upper() for name in Settings.model_fields)]


@pytest.mark.parametrize("setting", catalogue(), ids=lambda setting: setting.name)
def test_every_setting_says_what_it_means(setting: object) -> None:
    assert setting.description.endswith(".")  # type: ignore[attr-defined]


def test_defaults_of_triggers_are_those_of_the_declarations() -> None:
    declared = (PAGE.parents[1] / "function_app.py").read_text(encoding="utf-8")
    for setting, default in ((CONSUMER_GROUP, DEFAULT_CONSUMER_GROUP), (SCHEDULE, DEFAULT_SCHEDULE)):
        assert f'os.environ.get("{setting.name}") or "{default}"' in declared


def test_the_rest_of_the_page_stays() -> None:
    page = PAGE.read_text(encoding="utf-8")
    stale = page.replace("| `WINDOW_SECONDS` | 300 |", "| `WINDOW_SECONDS` | 3 |")
    assert stale != page
    assert with_table(stale) == page


def test_a_page_without_a_place_for_the_table_is_left_alone() -> None:
    with pytest.raises(PageUnusable, match=re.escape(BEGIN)):
        with_table("# Settings\n")
