"""Makes docs/commands.md from the help of every command, as tests/golden/frozen/help.txt holds it.

    python -m docs.site.commands_page

tests/test_frozen.py compares that file with what `--help` prints, and tests/test_site.py the page with the file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HELP = ROOT / "tests" / "golden" / "frozen" / "help.txt"
PAGE = ROOT / "docs" / "commands.md"
OPTIONS, ARGUMENTS = "options", "positional arguments"
OF_EVERY_COMMAND = ("-h, --help", "--plugin STR", "--verbose", "--quiet")

INTRO = """# Commands

All commands of `sharedris`, from what `--help` of each prints. `python -m docs.site.commands_page` makes this page.

`sharedris report` without a second word means `report tables`, `sharedris runs` means `runs list`, and
`sharedris score` means `score masks`. Value types: `STR` a text, `INT` a whole number, `FLOAT` a number, `PATH` a file,
`DIR` a folder; `{None}` means that the word `None` is a value too; brackets stand for something that may be left out or
repeated.
"""
EVERY = """## Options of every command

Each command has these, so the tables below leave them out.
"""
FIELDS = """## The fields of a run

`sharedris train` and most `sharedris sweep` commands have these options: each field of a run's configuration, and where
it happens. `sharedris train --print-config` writes the configuration as a file that `--config` reads. The defaults
shown are those of the tiny scale.
"""


@dataclass
class Help:
    """What one command prints: a sentence, and per section its text and (spelling, meaning) of each option."""

    sentence: str = ""
    sections: dict[str, tuple[list[str], list[tuple[str, str]]]] = field(default_factory=dict)


def read_help(text: str) -> dict[str, Help]:
    """Return command -> help; groups, which have no section, are left out."""
    found = {}
    for block in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, _, rest = block.partition(" --help\n")
        parts = re.split(r"^ ((?:[\w.-]+ )*options|positional arguments) *\n -+ *\n", rest, flags=re.MULTILINE)
        if len(parts) == 1:
            continue
        sentence = " ".join(parts[0].split("\n\n", 1)[1].split())
        sections = {name: read_section(body) for name, body in zip(parts[1::2], parts[2::2], strict=True)}
        found[command] = Help(sentence, sections)
    return found


def read_section(body: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Return the text of a section and its options. An option begins two spaces in; its meaning is further in."""
    text, rule, options = body.partition("  " + "-" * 98)
    if not rule:
        text, options = "", body
    rows: list[list[str]] = []
    for line in options.splitlines():
        indent = len(line) - len(line.lstrip())
        spelling, _, meaning = line.strip().partition("  ")
        if not line.strip():
            continue
        if indent == 2 and not spelling.startswith("..."):
            rows.append([spelling, meaning.strip()])
        elif indent == 2:  # the rest of a spelling that is wider than the terminal
            rows[-1][0] += f" {spelling}"
        else:
            rows[-1][1] += f" {line.strip()}"
    paragraphs = [" ".join(each.split()) for each in text.split("\n" + " " * 100 + "\n")]
    return [each for each in paragraphs if each], [(spelling, " ".join(meaning.split())) for spelling, meaning in rows]


def table(rows: list[tuple[str, str]]) -> str:
    """Return options as a Markdown table."""
    lines = [f"| {code(spelling)} | {cell(meaning)} |" for spelling, meaning in rows]
    return "\n".join(["| option | meaning |", "|---|---|", *lines]) + "\n"


def code(text: str) -> str:
    """Return a text in code type; Markdown has no sign for a bar in the code of a cell."""
    return f"<code>{text.replace('|', '&#124;')}</code>" if "|" in text else f"`{text}`"


def cell(text: str) -> str:
    """Return a text that a cell can hold: no column ends in it, and no sign in it is read as markup."""
    if "`" in text:  # entities are not read in code
        return text.replace("|", "\\|")
    for sign, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("*", "&#42;"), ("|", "&#124;")):
        text = text.replace(sign, entity)
    return text


def make_page(text: str) -> str:
    """Return the page."""
    commands = read_help(text)
    run = {
        name: section
        for name, section in commands["sharedris train"].sections.items()
        if name not in (OPTIONS, ARGUMENTS)
    }
    common = [row for row in commands["sharedris train"].sections[OPTIONS][1] if row[0] in OF_EVERY_COMMAND]
    parts = [INTRO, EVERY, table(common)]
    group = ""
    for command, each in commands.items():
        if (first := command.split()[1]) != group:
            group = first
            parts.append(f"## {first}\n")
        parts += [f"### {command}\n", f"{each.sentence}\n"]
        rows = [row for name in (ARGUMENTS, OPTIONS) for row in each.sections.get(name, ([], []))[1]]
        rows = [row for row in rows if row[0] not in OF_EVERY_COMMAND]
        parts += [table(rows)] if rows else []
        if run.keys() <= each.sections.keys():
            parts.append("Also every [field of a run](#the-fields-of-a-run).\n")
    parts.append(FIELDS)
    for name, (paragraphs, rows) in run.items():
        parts += [f"### {name}\n", *(f"{each}\n" for each in paragraphs), table(rows)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(make_page(HELP.read_text(encoding="utf-8")), encoding="utf-8")
