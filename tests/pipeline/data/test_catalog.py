"""Names in full, and nothing else."""

import pytest

from pipeline.data.catalog import SETS, find_set, parse_split
from sharedris.errors import InputError


def test_published_parts_add_up() -> None:
    for name in ("refcoco_unc", "refcoco+_unc", "refcocog_umd"):
        published = SETS[name].published
        parts = [published[part] for part in SETS[name].splits]
        assert sum(part.refs or 0 for part in parts) == published["all"].refs
        assert sum(part.images or 0 for part in parts) == published["all"].images
        assert sum(part.expressions or 0 for part in parts) == published["all"].expressions


def test_short_name_is_refused_with_the_full_ones() -> None:
    with pytest.raises(InputError) as caught:
        find_set("refcocog")
    assert caught.value.remedy == "Name it in full: refcocog_umd or refcocog_google"


def test_google_test_split_says_why_it_does_not_exist() -> None:
    with pytest.raises(InputError, match="never released its test part"):
        parse_split("refcocog_google/test")


@pytest.mark.parametrize(
    "text", ["refcoco_unc", "refcoco_unc/", "/val", "a/b/c", "refcoco_unc/test", "../x/val", "a/.."]
)
def test_split_not_in_full_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_split(text)


def test_custom_split_is_taken() -> None:
    assert parse_split("mine/holdout") == ("mine", "holdout")
