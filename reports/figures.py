"""All pictures of a report: which there are, what they are called, where they go."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from markupsafe import Markup
from matplotlib.figure import Figure

from pipeline.records import RecordError
from reports import attention, mask_gallery, pareto, plots, row_scores
from reports.bootstrap_samples import Resampled
from reports.cost_cells import CostBook
from reports.ground_truth import load_truth
from reports.labels import variant_label
from reports.load import Runs
from reports.registry import FIGURES, GROUPS, Plot, ReportData, read_histories
from reports.run_selection import RunSelection
from reports.style import save, save_pixels, themed
from reports.tables import Built

WIDE_PANELS = 2
"""A picture with more panels is as wide as the page, or its text would be too small to read."""


@dataclass(frozen=True, kw_only=True)
class ReportFigure:
    """One picture: `markup` goes into the page (inline SVG, or WebP in both themes), `file` is on disk."""

    name: str
    title: str
    markup: Markup
    file: str
    is_wide: bool = False
    tables: tuple[str, ...] = ()  # whose rows it shows


@dataclass(kw_only=True)
class FigureGroup:
    """Pictures that belong together, and a line for each that could not be drawn."""

    name: str
    title: str
    pictures: list[ReportFigure] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


class Album:
    """Collects pictures while writing them below a folder."""

    def __init__(self, folder: Path, *, pdf: bool = False) -> None:
        self._folder, self._pdf = folder, pdf
        self.groups: list[FigureGroup] = []

    def group(self, name: str, title: str) -> None:
        """Start a new group."""
        self.groups.append(FigureGroup(name=name, title=title))

    def plot(
        self,
        figure: Figure | None,
        name: str,
        title: str,
        *,
        is_wide: bool = False,
        needs: str = "runs",
        tables: tuple[str, ...] = (),
    ) -> None:
        """Add a plot as SVG; None means that there is nothing to draw, which the page states."""
        if figure is None:
            self.missing(f"{title}: not drawn, {needs} are missing.")
            return
        svg = save(figure, self._folder, name, pdf=self._pdf)
        # The SVG is matplotlib's, which escapes its labels; a title may come from a record.
        start = Markup('<svg role="img" aria-label="{}" ').format(title)
        markup = Markup(themed(svg).replace("<svg ", start, 1))  # noqa: S704
        file = f"figures/{name}.svg"
        self._add(ReportFigure(name=name, title=title, markup=markup, file=file, is_wide=is_wide, tables=tables))

    def pixels(self, figure: Figure | None, name: str, title: str, needs: str) -> None:
        """Add an image grid as PNG."""
        if figure is None:
            self.missing(f"{title}: not drawn, {needs} are missing.")
            return
        images = save_pixels(figure, self._folder, name)
        image = Markup('<img class="pixels {}" alt="{}" src="data:image/webp;base64,{}">')
        markup = Markup("").join(
            image.format(theme, title, base64.b64encode(data).decode()) for theme, data in images.items()
        )
        self._add(ReportFigure(name=name, title=title, markup=markup, file=f"figures/{name}.png", is_wide=True))

    def missing(self, line: str) -> None:
        """Say what could not be drawn."""
        self.groups[-1].missing.append(line)

    def _add(self, picture: ReportFigure) -> None:
        self.groups[-1].pictures.append(picture)


def draw_all(
    album: Album,
    built: list[Built],
    own: list[Built],
    choice: RunSelection,
    runs: Runs,
    costs: CostBook,
    *,
    prepared: Path,
    resampled: Mapping[str, Resampled],
    masks_of: list[str] | None = None,
) -> list[str]:
    """Draw every picture of the report; return the problems met.

    Args:
        album: where they go.
        built: the ablation tables of the paper.
        own: the tables of other sweeps, each with its own scores over cost and curves.
        choice: runs of all ablations together, which the pictures that are not of one table show.
        runs: records and samples.
        costs: measured costs.
        prepared: folder of the prepared sets, for images and ground truth.
        resampled: table -> scores of its runs with their draws, for intervals.
        masks_of: ids of the runs whose masks are shown; by default the baseline, the proposed model and others.
    """
    problems: list[str] = []
    album.group("ablations", "Ablations")
    for each in built:
        numeral = each.table.name
        if each.choice.rows.empty:
            album.missing(f"{each.table.title}: nothing run.")
        else:
            title = f"{each.table.title}: here and in the paper"
            figure = row_scores.row_scores(each, resampled.get(numeral))
            is_wide = figure is not None and len(figure.axes) > WIDE_PANELS
            album.plot(figure, f"scores-{numeral}", title, is_wide=is_wide, tables=(numeral,))
    for each in own:
        problems += _of_sweep(album, each, runs, resampled.get(each.table.name))
    data = ReportData(
        runs=runs,
        choice=choice,
        costs=costs,
        problems=problems,
        prepared=prepared,
        resampled=tuple({id(each): each for each in resampled.values()}.values()),
    )
    for group, title in GROUPS.items():
        named = {name: plot for name, plot in FIGURES.items() if plot.group == group}
        if named:
            album.group(group, title)
        for name, plot in named.items():
            _draw(album, name, plot, data)
    album.group("masks", "Masks")
    problems += _galleries(album, runs, choice, prepared, masks_of or [])
    album.group("attention", "Attention")
    problems += _attention(album, runs, choice)
    return problems


def _draw(album: Album, name: str, plot: Plot, data: ReportData) -> None:
    """Draw a plot of the registry; one of a plugin that fails is a problem, and the report goes on."""
    try:
        album.plot(plot.draw(data), name, plot.title, is_wide=plot.is_wide, needs=plot.needs, tables=plot.tables)
    except OSError:  # a full disk
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        data.problems.append(f"plot {name} cannot be drawn: {cause}")
        album.missing(f"{plot.title}: it cannot be drawn.")


def _of_sweep(album: Album, built: Built, runs: Runs, resampled: Resampled | None) -> list[str]:
    """Draw the pictures of one sweep that the paper does not have."""
    name, title, problems = built.table.name, built.table.title, list[str]()
    album.group(f"sweep-{name}", title)
    album.plot(row_scores.row_scores(built, resampled), f"scores-{name}", f"{title}: scores", tables=(name,))
    costs = pareto.sweep_pareto(built, resampled)
    album.plot(costs, f"pareto-{name}", f"{title}: scores against GMACs", is_wide=True, tables=(name,))
    curves = plots.training_curves(read_histories(runs, built.choice, problems))
    album.plot(curves, f"training-{name}", f"{title}: training curves", is_wide=True, tables=(name,))
    return problems


def _galleries(album: Album, runs: Runs, choice: RunSelection, prepared: Path, masks_of: list[str]) -> list[str]:
    if choice.rows.empty:
        album.missing("Masks (figures 9 and 12): nothing run.")
        return []
    try:
        truth = load_truth(prepared, choice.split)
    except RecordError as error:
        album.missing(f"Masks (figures 9 and 12): {error}.")
        return []
    predictions = mask_gallery.read_predictions(runs, choice, masks_of)
    for selection, meaning in mask_gallery.SELECTIONS.items():
        figure = mask_gallery.draw_gallery(predictions, truth, selection, choice)
        title = f"Masks: {meaning.format(main=predictions.labels.get(predictions.main, 'the runs'))}"
        album.pixels(figure, f"masks-{selection}", title, needs="per-sample rows")
    changed = [f"{name} is not shown: it is not the image that was prepared" for name in truth.changed]
    return [*predictions.problems, *changed]


def _attention(album: Album, runs: Runs, choice: RunSelection) -> list[str]:
    problems: list[str] = []
    by_run: dict[str, list[attention.AttentionSample]] = {}
    for variant, rows in plots.by_variant(choice):
        samples, found = attention.read_attention(runs.root, rows["run_id"].iloc[0])
        problems += found
        label = variant_label(variant)
        if samples:
            by_run[label] = samples
            name = f"attention-{len(by_run)}"
            album.pixels(
                attention.draw_components(samples, f"Attention of {label}"), name, f"Attention: {label}", "maps"
            )
    if not by_run:
        album.missing("Attention maps (figures 7, 8, 10, 11): none stored below RUNS/attention/RUN/*.npz.")
    compared = attention.draw_runs(by_run, "Attention of the last component, by run")
    if compared is not None:
        album.pixels(compared, "attention-compared", "Attention of the last component, by run", "maps")
    return problems
