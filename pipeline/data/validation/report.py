"""The report of `sharedris data check` as text and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from pipeline.data.catalog import Counts
from pipeline.data.validation.checks import CheckResult, Finding

REPORT_VERSION = 1
_SHOWN_ITEMS = 5
_ALL_SHOWN = ("missing image", "undecodable image", "image size", "changed image")
"""Kinds whose every case is in the text: each is a file to fetch again."""


def report_text(result: CheckResult) -> str:
    """Return counts, findings and the verdict as lines."""
    lines = [f"{result.set_name} from {result.origin}", "", _counts_table(result), ""]
    for level in ("error", "warning", "note"):
        for finding in result.findings:
            if finding.level == level:
                lines += _finding_lines(finding)
    errors = sum(finding.level == "error" for finding in result.findings)
    verdict = f"{errors} finding(s) would change results" if errors else "no finding would change results"
    return "\n".join([*lines, "", verdict]) + "\n"


def _counts_table(result: CheckResult) -> str:
    lines = [f"{'split':<6}  {'images':>16}  {'refs':>16}  {'expressions':>18}   (published)"]
    for part in dict.fromkeys([*result.counts, *result.published]):
        got, known = result.counts.get(part, Counts()), result.published.get(part, Counts())
        cells = [
            f"{_number(got.images)} ({_number(known.images)})",
            f"{_number(got.refs)} ({_number(known.refs)})",
            f"{_number(got.expressions)} ({_number(known.expressions)})",
        ]
        lines.append(f"{part:<6}  {cells[0]:>16}  {cells[1]:>16}  {cells[2]:>18}")
    return "\n".join(lines)


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _finding_lines(finding: Finding) -> list[str]:
    lines = [f"{finding.level.upper():<8}{finding.kind}: {finding.message}"]
    shown = len(finding.items) if finding.kind in _ALL_SHOWN else _SHOWN_ITEMS
    lines += [f"          {item}" for item in finding.items[:shown]]
    if len(finding.items) > shown:
        lines.append(f"          and {len(finding.items) - shown:,} more; --json FILE lists all")
    return lines


def report_json(result: CheckResult) -> str:
    """Return everything, all items included, as JSON."""
    values = {
        "report_version": REPORT_VERSION,
        "set": result.set_name,
        "origin": result.origin,
        "ok": result.ok,
        "counts": {part: asdict(counts) for part, counts in result.counts.items()},
        "published": {part: asdict(counts) for part, counts in result.published.items()},
        "statistics": result.statistics,
        "findings": [asdict(finding) for finding in result.findings],
    }
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
