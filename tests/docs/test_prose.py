"""The pages are plain English: none of the words that say nothing, and no dashes that hold two sentences together."""

import re

import pytest

from tests.docs import markdown
from tests.docs.markdown import Page

EMPTY_WORDS = ("easily", "leverage", "powerful", "robust", "seamless", "simply", "utilize")


@pytest.mark.parametrize("page", markdown.pages(), ids=lambda page: page.name)
def test_a_page_has_no_empty_words(page: Page) -> None:
    text = page.path.read_text(encoding="utf-8")
    assert not re.findall(rf"\b(?:{'|'.join(EMPTY_WORDS)})\w*|—", text, re.IGNORECASE)
