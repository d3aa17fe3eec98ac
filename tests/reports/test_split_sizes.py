"""The sizes of the splits that the reports compare scores on."""

from reports.paper import FULL_SPLITS


def test_every_split_of_a_printed_score_has_its_published_size() -> None:
    assert len(FULL_SPLITS) == 9
    assert (FULL_SPLITS["refcoco_unc/testA"], FULL_SPLITS["refcocog_google/val"]) == (5657, 9536)
