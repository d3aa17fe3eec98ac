"""Put a report together: tables with their statistics, pictures and the page, from the files below a runs folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from pipeline.data.readers.quality_flags import QualityFlags
from pipeline.files import write_file
from pipeline.published.tables import read_bibliography, read_published
from pipeline.records import RecordError
from reports.bootstrap_samples import Resampled, resample_runs
from reports.cost_cells import CostBook
from reports.csv_table import to_csv
from reports.figures import Album, draw_all
from reports.json_table import to_json
from reports.latex import to_document, to_latex
from reports.layout import Table
from reports.load import Runs, load_costs, load_runs
from reports.methods import build_methods
from reports.overview import has_measured_rows, has_own_numbers, overview
from reports.page import Page, Part, make_entry, render_page, render_table
from reports.paper import NUMERALS, SPECS, TableSpec, read_notes, split_name
from reports.provenance import run_cards
from reports.ranks import build_ranks, mark_ranks, rank_table
from reports.recipe_words import training_in_words
from reports.registry import TABLES
from reports.render import to_markdown
from reports.report_recipe import ReportRecipe, choose_recipe
from reports.run_selection import RunSelection, Wanted, select_runs
from reports.significance import build_differences, build_protocols
from reports.stats import DRAWS
from reports.sweep_table import build_sweep_table
from reports.sweep_tables import own_tables
from reports.tables import Built, build_ablation
from reports.unflagged import with_unflagged
from reports.variation import build_variation, with_visible
from sweeps.registry import SWEEPS
from sweeps.spec import Sweep

TITLE = "Shared-RIS: the paper's tables, published and measured"


@dataclass(kw_only=True)
class Report:
    """Everything that was built; `problems` has one line for each file that could not be used."""

    runs: Runs
    costs: CostBook
    built: list[Built]
    recipe: ReportRecipe
    beside: dict[str, list[Table]] = field(default_factory=dict)  # its statistics, by table name
    resampled: dict[str, Resampled] = field(default_factory=dict)  # scores of its runs with their draws, by table name
    problems: list[str] = field(default_factory=list)

    @property
    def tables(self) -> list[Table]:
        """All tables in order, each followed by its differences and protocols."""
        found: list[Table] = []
        for each in self.built:
            found += [each.table, *self.beside.get(each.table.name, [])]
        return found


def build_tables(
    root: Path,
    names: list[str],
    wanted: Wanted,
    *,
    statistics: bool,
    draws: int = DRAWS,
    runs: Runs | None = None,
    sweeps: Mapping[str, Sweep] | None = None,
    flags: QualityFlags | None = None,
) -> Report:
    """Build the tables named, with their differences and protocols where `statistics` is true.

    Args:
        root: folder with records/, samples/, costs/.
        names: of the paper's tables, and of those of sweeps.
        wanted: which runs.
        statistics: whether differences, ranks, variation and protocols are added as tables.
        draws: of the bootstrap.
        runs: already loaded from the root, for several reports on it.
        sweeps: by name; those of the registry by default.
        flags: adds columns on the expressions that are not flagged.
    """
    runs, sweeps = runs or load_runs(root), SWEEPS if sweeps is None else sweeps
    costs, cost_problems = load_costs(root)
    book = CostBook(costs)
    recipe = choose_recipe(runs, wanted)
    built = [build_one(name, _runs_for(name, runs, recipe), book, wanted, sweeps) for name in names]
    report = Report(runs=runs, costs=book, built=built, recipe=recipe, problems=[*runs.problems, *cost_problems])
    if flags is not None:
        found = [with_unflagged(each, runs, flags) for each in built]
        report.built = [each for each, _ in found]
        report.problems += [problem for _, problems in found for problem in problems]
    _add_statistics(report, draws, beside=statistics)
    report.problems = list(dict.fromkeys(report.problems))
    return report


def _runs_for(name: str, every: Runs, recipe: ReportRecipe) -> Runs:
    """Return the runs that a table may show: those of the report's recipe, in a table of the paper."""
    try:
        numeral, _ = split_name(name)
    except RecordError:  # the table of a user's sweep, which may change the recipe; its caption names it
        return every
    return recipe.runs_of_methods if SPECS[numeral].metric else recipe.runs


def _add_statistics(report: Report, draws: int, *, beside: bool) -> None:
    """Mark what is certain in each ablation, and add its tables of statistics where `beside` is true.

    Runs that several tables show are read and resampled once.
    """
    ablations = {number: each for number, each in enumerate(report.built) if not each.spec.metric}
    groups: dict[tuple[str, ...], list[str]] = {}
    for each in ablations.values():
        groups.setdefault(_group(each), []).extend(each.choice.rows["run_id"])
    resampled = {
        group: resample_runs(report.runs, list(dict.fromkeys(run_ids)), group[0], group[1], draws=draws)
        for group, run_ids in groups.items()
    }
    for number, each in ablations.items():
        of_group = report.resampled[each.table.name] = resampled[_group(each)]
        ranks = rank_table(each, of_group)
        report.built[number] = with_visible(mark_ranks(each, ranks), of_group)
        if beside:
            report.beside[each.table.name] = [
                build_differences(each, of_group, draws),
                build_ranks(each, of_group, ranks),
                build_variation(each, of_group),
                build_protocols(each, report.runs),
            ]
    if beside:
        report.problems += [problem for group in resampled.values() for problem in group.problems]


def _group(built: Built) -> tuple[str, ...]:
    choice = built.choice
    return (choice.split, choice.protocol, choice.scale, choice.recipe)


def build_one(
    name: str, runs: Runs, costs: CostBook, wanted: Wanted, sweeps: Mapping[str, Sweep] | None = None
) -> Built:
    """Build one table of the paper or of a sweep by name."""
    sweeps = SWEEPS if sweeps is None else sweeps
    own = own_tables(sweeps).get(name)
    if own is not None:
        return build_sweep_table(own, runs, wanted)
    if name in TABLES:
        return _of_plugin(name, runs, wanted)
    numeral, _ = split_name(name)
    if SPECS[numeral].metric:
        return build_methods(name, runs, costs, wanted)
    return build_ablation(name, runs, costs, wanted, sweeps)


def _of_plugin(name: str, runs: Runs, wanted: Wanted) -> Built:
    """Build a table of the registry, which has neither published rows nor statistics."""
    try:
        table = dataclasses.replace(TABLES[name](runs, wanted), name=name)
    except RecordError:
        raise
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise RecordError(f"table {name!r} of a plugin cannot be made: {cause}", "Correct the plugin") from None
    spec = TableSpec(numeral=name, short=table.title, caption=table.caption, metric="own", published_split="")
    none = runs.records.iloc[:0]
    choice = RunSelection(protocol=wanted.protocol, rows=none, claims=none)
    return Built(table=table, choice=choice, published=pd.DataFrame({"variant": []}), spec=spec)


def write_tables(tables: list[Table], out: Path) -> None:
    """Write each table as Markdown, LaTeX, HTML, CSV and JSON, and the references that the LaTeX ones cite."""
    for table in tables:
        texts = {
            "md": to_markdown(table),
            "tex": to_latex(table),
            "csv": to_csv(table),
            "json": to_json(table),
            "html": render_table(table),
        }
        for suffix, text in texts.items():
            write_file(out / "tables" / f"{table.name}.{suffix}", text.encode())
    write_file(out / "tables" / "references.bib", read_bibliography().encode())


def write_report(
    report: Report,
    out: Path,
    prepared: Path,
    wanted: Wanted,
    masks_of: list[str] | None = None,
    *,
    pdf: bool = False,
) -> Path:
    """Write tables, pictures (masks of the named runs, or of the usual ones) and the page; return where it lies."""
    write_tables(report.tables, out)
    # Only a whole report writes the document: one table, written later into the same folder, must not replace it.
    write_file(out / "tables" / "document.tex", to_document(report.tables).encode())
    variants = [v for n in NUMERALS if not SPECS[n].metric for v in read_published(n)["variant"]]
    shown = report.recipe.runs
    choice = select_runs(shown.records, shown.claims, variants, wanted, published_split="refcoco+_unc/val")
    album = Album(out / "figures", pdf=pdf)
    ablations = [each for each in report.built if not each.spec.metric and each.is_of_paper]
    own = [each for each in report.built if not each.spec.metric and not each.is_of_paper]
    found = draw_all(
        album,
        ablations,
        own,
        choice,
        report.runs,
        report.costs,
        prepared=prepared,
        resampled=report.resampled,
        masks_of=masks_of,
    )
    report.problems = list(dict.fromkeys([*report.problems, *found]))
    page = Page(
        title=TITLE,
        subtitle=_subtitle(choice, wanted, report.recipe),
        overview=overview(report.built, report.recipe.runs_of_methods.records, report.resampled),
        parts=[_part(each, report.beside.get(each.table.name, []), album) for each in report.built],
        picture_groups=album.groups,
        runs=run_cards(report.runs),
        problems=report.problems,
    )
    path = out / "index.html"
    write_file(path, render_page(page).encode())
    return path


def _subtitle(choice: RunSelection, wanted: Wanted, recipe: ReportRecipe) -> list[str]:
    if choice.split:
        head = f"Recipe of every table: {recipe.words}. {training_in_words(choice)}"
        chosen = ["Every table's caption says on what its numbers were measured; colored numbers lead to their runs."]
    else:
        head = f"Nothing run yet under protocol {wanted.protocol}: the published numbers and the measured costs."
        chosen = []
    return [head, *chosen, *recipe.others, *read_notes("")]


def _part(built: Built, beside: list[Table], album: Album) -> Part:
    cells = built.published["variant"][built.published["variant"] != ""]
    name = built.table.name
    done = int(cells.isin(set(built.choice.rows["variant"])).sum())
    some = bool(len(built.choice.rows)) and not built.spec.metric
    pictures = [each for group in album.groups for each in group.pictures]
    return Part(
        name=name,
        title=f"{built.table.title}. {built.spec.short}" if built.is_of_paper else built.table.title,
        short=built.spec.short,
        state=f"{done}/{len(cells)}" if len(cells) else "",
        entries=[
            make_entry(built.table),
            *(make_entry(table, is_open=True) for table in beside if some and has_measured_rows(table)),
        ],
        others=built.choice.others,
        has_own_numbers=has_own_numbers(built),
        is_of_paper=built.is_of_paper,
        figures=[(each.name, each.title) for each in pictures if name in each.tables],
    )
