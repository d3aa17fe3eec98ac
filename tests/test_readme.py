"""Every command, link and file name that a page shows is one that exists."""

from __future__ import annotations

import contextlib
import functools
import io
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pipeline.cli.commands import COMMANDS, below, find_command
from pipeline.cli.main import main
from pipeline.cli.old_spellings import in_new_spelling
from pipeline.cli.parsing import parse
from reports.sweep_tables import names_of
from sharedris.errors import InputError
from sweeps.registry import SWEEPS, find_sweep

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
    *sorted((ROOT / "benchmarks" / "results").glob("*.md")),
]
DOORS = {"sweeps": "sweep", "reports": "report"}
OURS = re.compile(r"(?:RAY_ADDRESS=\S+ )?(?:\.venv/bin/)?((?:make|sharedris|python -m (?:sweeps|reports))\b.*)")


def shell_lines(text: str) -> list[str]:
    """The lines that a reader would type: indented ones and those of shell blocks, joined where they continue."""
    indented = re.findall(r"^(?: {4}|\t)\$? ?(.*)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.MULTILINE)
    blocks = re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return "\n".join([*indented, *blocks]).replace("\\\n", " ").splitlines()


def commands_of(page: Path) -> list[str]:
    """The lines of a page that begin with one of our commands."""
    return [found.group(1) for line in shell_lines(page.read_text()) if (found := OURS.match(line))]


def check_command(line: str) -> None:
    """Fail where a shown command names a target, setting, sub-command, option, sweep or table that does not exist."""
    words = shlex.split(line, comments=True)
    if words[0] == "make":
        check_make(words[1:])
        return
    spelled, notes = in_new_spelling(words[1:] if words[0] == "sharedris" else [DOORS[words[2]], *words[3:]])
    assert not notes, f"{line}: an old spelling"
    path, rest = find_command(spelled)
    if path not in COMMANDS:
        assert rest in (["--help"], ["--version"]), line
        return
    if "--plugin" in words:  # whose modules, sweeps and tables may have any name
        made_up = {word.partition("=")[0] for word in rest if word.startswith("--")} - options_of(path)
        assert not made_up, f"{line}: {made_up}"
        return
    options = parse(path, rest)
    if path[0] == "sweep" and (name := getattr(options, "name", "")):
        assert name.endswith(".py") or find_sweep(name)
    for table in options.what if path == ("report", "tables") and options.what != ("all",) else ():
        names_of(table, SWEEPS)


def check_make(words: list[str]) -> None:
    """Fail for a target that make does not know, and for a setting that the Makefile does not read."""
    done = subprocess.run(["make", "-n", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for setting in re.findall(r"^([A-Z_]+)=", "\n".join(words), re.MULTILINE):
        assert re.search(rf"\b{setting}\b", (ROOT / "Makefile").read_text()), f"the Makefile reads no {setting}"


SHOWN = [(str(page.relative_to(ROOT)), line) for page in PAGES for line in commands_of(page)]


def test_the_readme_shows_its_two_commands() -> None:
    assert [line.split("  ")[0] for name, line in SHOWN if name == "README.md"] == ["make sweep-fpn", "make test"]


def test_the_pages_of_roles_show_commands() -> None:
    assert sum(name in ("docs/roles/first-hour.md", "docs/roles/every-day.md") for name, _ in SHOWN) >= 15


def test_the_readme_fits_a_screen() -> None:
    """A picture, a table and two commands; the rest is in docs/."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 60
    assert (ROOT / "docs" / "images" / "masks.png").stat().st_size < 150_000


@pytest.mark.parametrize(("page", "line"), SHOWN, ids=[f"{page}: {line[:60]}" for page, line in SHOWN])
def test_a_shown_command_exists(page: str, line: str) -> None:
    check_command(line)


@pytest.mark.parametrize(
    "line",
    [
        "sharedris train --made-up",
        "sharedris runs --made-up  # comment",
        "python -m sweeps run fpn --made-up",
        "python -m sweeps status fpn --made-up=1",
        "python -m reports VII-a --made-up",
        "python -m reports compare RUN RUN --made-up",
        "sharedris report reference check FOLDER --made-up",
    ],
)
def test_a_made_up_option_fails(line: str) -> None:
    with pytest.raises(InputError, match="--made-up"):
        check_command(line)


@pytest.mark.parametrize("line", ["make made-up", "make test MADE_UP=1", "python -m sweeps run made_up"])
def test_a_made_up_name_fails(line: str) -> None:
    with pytest.raises((AssertionError, ValueError), match=r"(?i)made.?up"):
        check_command(line)


def test_shell_blocks_are_read_whole() -> None:
    page = "```bash\nsharedris train \\\n    --made-up\n```\n\n    make lint\n\n```yaml\n    make made-up\n```\n"
    commands = [found.group(1).split() for line in shell_lines(page) if (found := OURS.match(line))]
    assert sorted(commands) == [["make", "lint"], ["sharedris", "train", "--made-up"]]


OPTION = re.compile(r"(?<![\w-])--[a-z][a-z.-]*")
INLINE = re.compile(r"`((?:sharedris|python -m (?:sweeps|reports)) [^`]*--[^`]*)`")


@functools.cache
def options_of(path: tuple[str, ...]) -> set[str]:
    """The options of a command, or of all commands of a group."""
    found: set[str] = set()
    for each in below(path):
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([*each, "--help"])
        found |= set(OPTION.findall(printed.getvalue()))
    return found


def made_up_options(span: str) -> set[str]:
    """The options of a command in running text that no command of the name has; its arguments may be placeholders."""
    words = span.split()
    given, _ = in_new_spelling(words[1:] if words[0] == "sharedris" else [DOORS[words[2]], *words[3:]])
    path: tuple[str, ...] = ()
    for word in given:
        if not below((*path, word)):
            break
        path = (*path, word)
    assert path, f"{span} names no command"
    return set(OPTION.findall(" ".join(given))) - options_of(path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_in_running_text_exist(page: Path) -> None:
    for span in INLINE.findall(" ".join(page.read_text().split())):
        assert not made_up_options(span), span


@pytest.mark.parametrize("span", ["sharedris runs tag RUN --made-up", "python -m reports [NAME] --made-up=X"])
def test_a_made_up_option_in_running_text_is_found(span: str) -> None:
    assert made_up_options(span) == {"--made-up"}


LONE = re.compile(r"`(--[a-z][\w.-]*)[^`]*`")
FOREIGN = {"--dashboard-host", "--entrypoint-num-cpus", "--entrypoint-resources", "--find-links", "--include-dashboard"}
"""Options of other programs that pages name: Ray's and pip's."""


@functools.cache
def all_options() -> set[str]:
    """Every option, from the page that tests/test_site.py compares with the help."""
    return set(re.findall(r"--[a-z][\w.-]*", (ROOT / "docs" / "commands.md").read_text()))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_options_without_a_command_exist(page: Path) -> None:
    """`--epochs 3` in running text is an option of some command.

    The changelog may name what was renamed, and the printed benches name options of their scripts.
    """
    if page.name != "CHANGELOG.md" and page.parent.name != "results":
        assert set(LONE.findall(page.read_text())) - all_options() - FOREIGN == set()


def anchors_of(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    headings = re.findall(r"^#+ +(.*)$", re.sub(r"^```.*?^```", "", page.read_text(), flags=re.M | re.S), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_link(page: Path, target: str) -> None:
    """Fail where a relative link leads to a file or a heading that does not exist."""
    name, _, anchor = target.partition("#")
    linked = (page.parent / name).resolve() if name else page
    assert linked.is_relative_to(ROOT), f"{target} leads out of the project"
    assert linked.exists(), f"{target} does not exist"
    assert not anchor or anchor in anchors_of(linked), f"{linked.name} has no heading #{anchor}"


LINKS = [
    (page, target)
    for page in PAGES
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    if not re.match(r"\w+:", target)
]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=[f"{page.name}: {target}" for page, target in LINKS])
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    check_link(page, target)


@pytest.mark.parametrize("target", ["docs/made-up.md", "README.md#made-up", "#made-up", "../made-up.md"])
def test_a_made_up_link_fails(target: str) -> None:
    with pytest.raises(AssertionError):
        check_link(ROOT / "README.md", target)


FOLDERS = ("sharedris", "pipeline", "sweeps", "reports", "tests", "docs", "benchmarks")
FILES = [str(path.relative_to(ROOT)) for folder in FOLDERS for path in (ROOT / folder).rglob("*")]


def files_named_by(text: str) -> list[str]:
    """The Python files, and the paths into our folders, that a page names in code type."""
    ours = rf"(?:{'|'.join(FOLDERS)})/[\w./+-]*"
    made_here = set(re.findall(r"<!-- (?:test|example): (\S+) -->", text))
    return [name for name in re.findall(rf"`({ours}|[\w/]+\.py)`", text) if name not in made_here]


NAMED = sorted({(page.name, name) for page in PAGES for name in files_named_by(page.read_text())})


@pytest.mark.parametrize(("page", "name"), NAMED, ids=[f"{page}: {name}" for page, name in NAMED])
def test_a_named_file_exists(page: str, name: str) -> None:
    found = (ROOT / name).exists() if name.endswith("/") else any(f"/{path}".endswith(f"/{name}") for path in FILES)
    assert found, f"{page} names {name}, which does not exist"


def test_the_architecture_names_every_room() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = [path.parent.relative_to(ROOT) for folder in FOLDERS[:4] for path in (ROOT / folder).rglob("__init__.py")]
    assert [str(room) for room in rooms if f"| `{room}/` |" not in text] == []
