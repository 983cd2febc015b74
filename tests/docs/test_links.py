"""Every link within the repository leads somewhere; others have the form of an address."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs import markdown
from tests.docs.markdown import ROOT, Page

PAGES = markdown.pages()


def faults(page: Page) -> list[str]:
    """What is wrong with the links of a page."""
    return [f"{page.name}, line {link.line}: {fault}" for link in page.links if (fault := _fault(page, link))]


def _fault(page: Page, link: markdown.Link) -> str:
    if not link.text.strip():
        return f"{link.target} has no {'alternative text' if link.image else 'text'}"
    address = urlsplit(link.target)
    if address.scheme:
        good = address.scheme == "https" and "." in address.netloc and not link.image
        return "" if good else f"{link.target} is no https address of a page"
    target = (page.path.parent / unquote(address.path)).resolve() if address.path else page.path
    if target != page.path and not (target.is_relative_to(ROOT) and target.exists()):
        return f"{link.target} does not exist"
    return (
        "" if not address.fragment or address.fragment in _anchors(page, target) else f"{link.target}: no such heading"
    )


def _anchors(page: Page, target: Path) -> set[str]:
    if target == page.path:
        return page.anchors
    return markdown.read(target).anchors if target.suffix == ".md" else set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Page) -> None:
    assert not faults(page)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_begins_with_its_only_title(page: Page) -> None:
    assert [heading.level for heading in page.headings].count(1) == 1
    assert page.headings[0].level == 1


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[a](nowhere.md)", "does not exist"),
        ("[a](../../outside.md)", "does not exist"),
        ("[a](settings.md#no-such-heading)", "no such heading"),
        ("[a](#no-such-heading)", "no such heading"),
        ("[a](demo.svg#part)", "no such heading"),
        ("![](demo.svg)", "has no alternative text"),
        ("![drawn](http://example.com/a.svg)", "no https address"),
        ("[a](http://example.com)", "no https address"),
        ("[a](https://localhost)", "no https address"),
        ("[](settings.md)", "has no text"),
    ],
)
def test_a_broken_link_is_found(text: str, fault: str) -> None:
    (found,) = faults(markdown.parse(ROOT / "docs" / "page.md", text))
    assert fault in found


@pytest.mark.parametrize("text", ["[a](settings.md#hostjson)", "[a](../README.md)", "![A run](demo.svg)"])
def test_a_good_link_is_no_fault(text: str) -> None:
    assert not faults(markdown.parse(ROOT / "docs" / "page.md", text))


def test_anchors_are_those_of_github() -> None:
    page = markdown.parse(Path("page.md"), "# `a_b`: C's *d*\n\n## Same\n\n## Same\n\n## [Linked](x.md), too\n")
    assert [heading.anchor for heading in page.headings] == ["a_b-cs-d", "same", "same-1", "linked-too"]


def test_every_page_for_users_is_in_the_index() -> None:
    index = markdown.read(ROOT / "docs" / "README.md")
    listed = {(index.path.parent / urlsplit(link.target).path).resolve() for link in index.links}
    assert {page.path for page in PAGES if page.path.parent == index.path.parent} - listed == {index.path}
