"""The reports may not import the catalog of the data stage, so their copy of the splits' sizes is held to it here."""

from pipeline.data.catalog import find_set
from reports.paper import FULL_SPLITS


def test_the_reports_know_the_same_split_sizes_as_the_data_stage() -> None:
    for split, expressions in FULL_SPLITS.items():
        name, part = split.split("/")
        assert find_set(name).published[part].expressions == expressions, split
