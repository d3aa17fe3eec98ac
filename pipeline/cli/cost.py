"""`sharedris cost`: parameters and GMACs per component next to the paper's cells; optionally seconds and memory."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipeline.cli.common_options import known
from pipeline.cli.cost_options import Options
from pipeline.cli.machine_output import print_json
from pipeline.cost.flops import ComponentCost, measure_cost
from pipeline.cost.forward_timing import time_forward
from pipeline.cost.published import CELLS, TABLES, MeasuredCell, total
from pipeline.cost.readings import READINGS, Reading, measure_cell_under
from sharedris.baselines.config import ComparedModelConfig
from sharedris.errors import InputError
from sharedris.scales import SCALES

COMPARED = ("IV", "V", "VI", "X")
"""Tables with modules of other papers, whose open choices are listed in docs/compared.md."""


def run(options: Options) -> int:
    """Print the costs; exit code 0."""
    if options.measure and min(options.measure) < 1:
        raise InputError(f"--measure {min(options.measure)} is not a batch size", "Give 1 or more")
    reading = known(READINGS, options.reading, "--reading")
    config: ComparedModelConfig = known(SCALES, options.scale, "--scale")()
    costs = measure_cost(config)
    if options.table is not None and options.table not in TABLES:
        raise InputError(f"--table {options.table} is not known", f"Choose one of {', '.join(TABLES)}")
    cells = [measure_cell_under(reading, cell) for cell in CELLS if options.table in {None, cell.table}]
    timings = [dataclasses.asdict(time_forward(config, batch)) for batch in options.measure]
    if options.json:
        values = _as_json(config, costs, cells, timings)
        print_json({**values, "reading": options.reading, "reading_rule": reading.rule})
    else:
        _print_components(config, costs)
        _print_reading(reading)
        _print_cells(cells)
        _print_timings(timings)
    return 0


def _as_json(
    config: ComparedModelConfig, costs: list[ComponentCost], cells: list[MeasuredCell], timings: list[dict[str, float]]
) -> dict[str, Any]:
    return {
        "unit": "million parameters; GMACs (printed by the paper as GFLOPs)",
        "scale": config.scale,
        "variant": config.variant,
        "image_size": config.encoder.image_size,
        "text_tokens": config.encoder.text_tokens,
        "components": [dataclasses.asdict(cost) for cost in costs],
        "total": total(costs)._asdict(),
        "cells": [_cell_values(cell) for cell in cells],
        "timings": timings,
    }


def _cell_values(measured: MeasuredCell) -> dict[str, Any]:
    cell, (params_round, gmacs_round) = measured.cell, measured.rounds_to_it
    return {
        "table": cell.table,
        "label": cell.label,
        "meaning": cell.meaning,
        "scale": cell.config.scale,
        "published_million_params": cell.published_million_params,
        "million_params": measured.measured.million_params,
        "params_round_to_it": params_round,
        "published_gflops": cell.published_gflops,
        "gmacs": measured.measured.gmacs,
        "gmacs_round_to_it": gmacs_round,
    }


def _print_components(config: ComparedModelConfig, costs: list[ComponentCost]) -> None:
    size, tokens = config.encoder.image_size, config.encoder.text_tokens
    print(f"{config.scale}: {config.variant}")
    print(f"{size}x{size} pixels, T {tokens}, batch 1; GMACs are what the paper prints as GFLOPs\n")
    print(f"{'component':<12}{'M params':>10}{'GMACs':>10}")
    rows = [(cost.component, cost.million_params, cost.gmacs) for cost in costs] + [("total", *total(costs))]
    for name, million_params, gmacs in rows:
        print(f"{name:<12}{million_params:>10.2f}{gmacs:>10.2f}")


def _print_reading(reading: Reading) -> None:
    """Print what another reading than the default assumes; the components above are always the default's."""
    if reading is not READINGS["default"]:
        print(f"\ncells below: {reading.rule}")


def _print_cells(cells: list[MeasuredCell]) -> None:
    header = f"\n{'table':<6}{'cell':<27}{'meaning':<18}{'paper M':>8}{'M params':>10}{'diff':>7}{'rounds':>8}"
    print(header + f"{'paper G':>9}{'GMACs':>9}{'diff':>7}{'rounds':>8}")
    for measured in cells:
        cell, (params_round, gmacs_round) = measured.cell, measured.rounds_to_it
        million_params, gmacs = measured.measured
        paper, paper_gflops = cell.published_million_params, cell.published_gflops
        print(
            f"{cell.table:<6}{cell.label:<27}{cell.meaning:<18}"
            f"{'-' if paper is None else paper:>8}{million_params:>10.2f}"
            f"{'-' if paper is None else format(million_params - paper, '+.2f'):>7}{_yes(params_round):>8}"
            f"{'-' if paper_gflops is None else paper_gflops:>9}{gmacs:>9.2f}"
            f"{'-' if paper_gflops is None else format(gmacs - paper_gflops, '+.2f'):>7}{_yes(gmacs_round):>8}"
        )
    if {measured.cell.table for measured in cells} & set(COMPARED):
        print(f"\nwhat was assumed for the compared modules ({', '.join(COMPARED)}): docs/compared.md")


def _yes(answer: bool | None) -> str:
    return "-" if answer is None else "yes" if answer else "no"


def _print_timings(timings: list[dict[str, float]]) -> None:
    if timings:
        print(f"\n{'batch':<7}{'seconds per sample':>20}{'peak memory, MiB':>19}   (forward pass, fp32)")
    for row in timings:
        print(f"{row['batch']:<7}{row['seconds_per_sample']:>20.4f}{row['peak_memory_mib']:>19.0f}")
