"""The documentation can be built and read: links lead somewhere, what pages show works, nothing is forgotten."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from leasekit.backends.consul.store import ConsulStore
from leasekit.backends.etcd.store import EtcdStore
from leasekit.backends.raft.client.store import RaftStore
from leasekit.backends.sqlite import SqliteStore
from leasekit.cli import exit_codes
from leasekit.store import Capabilities
from support import pages
from support.binaries import REPOSITORY as ROOT
from support.tree import source_files

# Of processor time it takes a few seconds only.
_BUILT_WITHIN_S = 200
pytestmark = pytest.mark.timeout(_BUILT_WITHIN_S + 100)

DOCS = ROOT / "docs"
CONFIG = DOCS / "site" / "mkdocs.yml"
PAGES = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md"))
# Their programs run as they stand; those of fencing.md and writing-a-backend.md take things for granted, and have
# tests of their own.
RUNNING = (
    "index.md",
    "quickstart.md",
    "choosing-a-store.md",
    "singleton.md",
    "cron.md",
    "operations.md",
    "observability.md",
    "how-it-works.md",
)
PROGRAMS = [
    pytest.param(program, id=f"{page}-{number}")
    for page in RUNNING
    if page in PAGES
    for number, program in enumerate(pages.blocks((DOCS / page).read_text(), "python"))
]
TYPED = [page for page in PAGES if pages.blocks((DOCS / page).read_text(), "console")]
COMMANDS = sorted({command for page in PAGES for command in pages.commands((DOCS / page).read_text())})


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", CONFIG, "-d", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_BUILT_WITHIN_S,
        check=False,
    )
    # Not `--quiet`: that would keep warnings from being counted, too.
    told = [line for line in (build.stdout + build.stderr).splitlines() if not line.startswith("INFO ")]
    assert (build.returncode, told) == (0, [])
    return folder


class Loaded(HTMLParser):
    """What a browser fetches for a page without being asked to."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        # A link in the text is followed by the reader, not by the browser.
        address = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        if address:
            self.addresses.append(address)


def test_the_site_is_built_without_a_warning(site: Path) -> None:
    assert [page for page in PAGES if not (site / page).with_suffix(".html").exists()] == []


def test_the_site_is_read_without_a_network(site: Path) -> None:
    html = {path: path.read_text() for path in site.rglob("*.html")}
    assert len(html) > len(PAGES)
    loaded = {address for text in html.values() for address in Loaded(text).addresses}
    styles = "".join(path.read_text() for path in site.rglob("*.css"))
    loaded |= {address.strip("'\"") for address in re.findall(r"url\(([^)]*)\)", styles)}
    assert any(address.endswith(".css") for address in loaded)
    assert [address for address in loaded if re.match(r"(https?:)?//", address)] == []


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    reference = (site / "cli.html").read_text()
    for command in ("run", "is-leader", "fence rebase", "raft serve", "raft simulate"):
        assert f'id="leasekit-{command.replace(" ", "-")}"' in reference
    for option in ("--store", "--conflict-exit-code", "--election-ms", "--max-skew"):
        assert option in reference


def test_every_page_is_in_the_navigation() -> None:
    def places(entry: object) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry if isinstance(entry, list) else []
        return [place for part in parts for place in places(part)]

    listed = places(yaml.safe_load(CONFIG.read_text())["nav"])
    assert sorted(place for place in listed if not place.startswith("repository/")) == PAGES
    assert len(set(listed)) == len(listed)


@pytest.mark.parametrize("page", [*PAGES, "../README.md", "../ARCHITECTURE.md", "../CHANGELOG.md"])
def test_a_page_names_no_place_of_the_machine_it_was_written_on(page: str) -> None:
    text = (DOCS / page).read_text()
    assert re.findall(r"/(?:work|root|home|Users)/\S+", text) == []


@pytest.mark.parametrize("page", PAGES)
def test_files_that_are_pointed_to_are_there(page: str) -> None:
    links = re.findall(r"\]\(([^)#\s:]+)[)#]", (DOCS / page).read_text())
    assert [link for link in links if not ((DOCS / page).parent / link).exists()] == []


def test_pages_look_the_same_on_the_site_and_in_the_repository(site: Path) -> None:
    # MkDocs reads lists, tables and fences by other rules than everybody else.
    commonmark = MarkdownIt("commonmark").enable("table")
    for page in PAGES:
        text = (DOCS / page).read_text()
        if "::: mkdocs-click" in text:
            continue  # a part of it is made by the site
        there = (site / page).with_suffix(".html").read_text()
        there = there.partition('itemprop="articleBody">')[2].partition("<footer>")[0]
        assert _elements(there) == _elements(commonmark.render(text)), page


def _elements(html: str) -> Counter[str]:
    kinds = ("p", "ul", "ol", "li", "table", "tr", "pre", "code", "img", "h2", "h3")
    return Counter(name for name in re.findall(r"<(\w+)", html) if name in kinds)


def test_every_part_of_the_house_is_in_the_plan() -> None:
    house = (ROOT / "ARCHITECTURE.md").read_text().partition("```")[2].partition("```")[0]
    parts = [
        path.stem for path in (ROOT / "leasekit").iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    ]
    assert "schedule" in parts
    assert [part for part in parts if not part.startswith("__") and not re.search(rf"\b{part}\b", house)] == []


def test_what_each_extra_is_for_is_said() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    dependencies = (ROOT / "ARCHITECTURE.md").read_text().partition("## Dependencies")[2].lower()
    assert [name for name in extras if name != "all" and name not in dependencies] == []


def test_exit_codes_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| ([0-9][^|]*)\|", (DOCS / "cli.md").read_text(), re.MULTILINE)
    told = {int(code) for row in rows for code in re.findall(r"\d+", row)}
    meant = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}
    assert meant == told


def test_variables_are_those_of_the_code() -> None:
    told = set(re.findall(r"LEASEKIT_[A-Z_]+", (DOCS / "cli.md").read_text()))
    code = "".join(file.read_text() for file in source_files().values())
    assert set(re.findall(r"\bLEASEKIT_[A-Z]+(?:_[A-Z]+)*\b", code)) - {"LEASEKIT_RAFT"} == told


@pytest.mark.parametrize("page", ["../README.md", "choosing-a-store.md", "operations.md"])
@pytest.mark.parametrize(
    "capabilities", [SqliteStore.capabilities, EtcdStore.capabilities, RaftStore.capabilities, ConsulStore.capabilities]
)
def test_bounds_are_those_of_the_stores(page: str, capabilities: Capabilities) -> None:
    times = "" if capabilities.expiry_factor == 1 else f"{capabilities.expiry_factor:g} x "
    assert f"| {times}ttl + {capabilities.expiry_late_s:g} s |" in (DOCS / page).read_text()


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_as_it_stands(program: str, tmp_path: Path) -> None:
    run = pages.run_program(program, tmp_path)
    assert (run.returncode, run.stderr) == (0, "")


@pytest.mark.parametrize("page", TYPED)
def test_a_terminal_says_what_the_page_shows(page: str, tmp_path: Path) -> None:
    exchanges = pages.exchanges((DOCS / page).read_text())
    with pages.terminal(tmp_path) as terminal:
        said = [(each.command, pages.shape(terminal.type(each.command), tmp_path)) for each in exchanges]
    assert said == [(each.command, pages.shape(each.shown)) for each in exchanges]


def test_there_are_programs_commands_and_terminals() -> None:
    assert len(PROGRAMS) >= 8
    assert len(COMMANDS) >= 20
    assert "quickstart.md" in TYPED


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_is_one_that_exists(command: str) -> None:
    assert pages.unknown_words(command) == []
