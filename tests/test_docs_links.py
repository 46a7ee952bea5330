"""Every link in the README and the documents leads somewhere, and every path they name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)|\b(?:src|srcset|href)=\"([^\"]+)\"")
NAMED = re.compile(
    r"`((?:fairtag|components|feature_repo|pipelines|serving|monitoring|benchmarks|k8s|docs|tests)/[\w./-]*)`"
)
NO_FILES = {
    "k8s/checksums.txt": "`k8s/kind.sh pin` writes it",
    "fairtag/data-spark-python": "the name of an image",
}
OUTSIDE = ("http://", "https://", "mailto:")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def prose(page: Path) -> str:
    """The page without its blocks of code."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    found = []
    for match in LINK.finditer(prose(page)):
        link = match[1] or match[2]
        if link.startswith(OUTSIDE):
            continue
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_somewhere(page):
    assert broken(page) == []


def test_a_link_that_leads_nowhere_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# One heading\n[a](page.md#one-heading) [b](page.md#two) [c](gone.md) [d](#one-heading)\n")
    assert broken(page) == ["page.md#two", "gone.md"]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_path_that_is_named_exists(page):
    places = (ROOT, ROOT / "k8s", page.parent)  # docs/cluster.md names what lies under k8s/
    named = [path for path in NAMED.findall(prose(page)) if path not in NO_FILES]
    assert [path for path in named if not any((place / path).exists() for place in places)] == []


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [PAGES[0]]
    while waiting:
        page = waiting.pop()
        reached.add(page)
        links = {
            (page.parent / (match[1] or match[2]).partition("#")[0]).resolve() for match in LINK.finditer(prose(page))
        }
        waiting += [link for link in links if link in PAGES and link not in reached]
    assert {name(page) for page in PAGES} == {name(page) for page in reached}
