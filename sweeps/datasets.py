"""Tables I, II and IX: every data set, base and large, each set alone and the three combined.

Command:   make sweep-datasets MODEL=base            (the large rows bring their own scale)
           make sweep-datasets DATA=toy              (the synthetic counterparts, at MODEL=tiny, on a laptop)
Hardware:  the paper's rows take 8 GPUs; the synthetic ones 2 CPU cores.
Time:      estimated, 4 rows of about 3 minutes each at the tiny scale on 2 cores.
Expected:  the paper's base oIoU: RefCOCO val 74.83, RefCOCO+ val 68.42, RefCOCOg val(U) 68.66, val(G) 65.65.

The combined rows exclude from training every image that is in a val or test split of the combined sets. They are not
evaluated on refcocog_google/val, whose images are in the training split of refcocog_umd: the paper reports that cell
for its combined model and does not name what it excluded.
"""

from collections.abc import Mapping

from sweeps.spec import Change, Row, Sweep

EVALUATED: Mapping[str, tuple[str, ...]] = {
    "refcoco_unc": ("val", "testA", "testB"),
    "refcoco+_unc": ("val", "testA", "testB"),
    "refcocog_umd": ("val", "test"),
    "refcocog_google": ("val",),
}
COMBINED = ("refcoco_unc", "refcoco+_unc", "refcocog_umd")
TOYS: Mapping[str, tuple[str, ...]] = {
    "toy_unc": ("val", "testA", "testB"),
    "toyplus_unc": ("val", "testA", "testB"),
    "toyg_umd": ("val", "test"),
}


def trained_on(sets: tuple[str, ...], evaluated: Mapping[str, tuple[str, ...]]) -> Change:
    """Change the training sets, evaluating every split of each."""
    splits = tuple(f"{name}/{part}" for name in sets for part in evaluated[name])
    return Change(part="data", fields={"train_sets": sets, "evaluate_splits": splits})


def _rows(model: str, scale: str | None) -> tuple[Row, ...]:
    alone = tuple(
        Row(label=f"{model} on {name}", changes=(trained_on((name,), EVALUATED),), scale=scale) for name in EVALUATED
    )
    together = Row(label=f"{model} on all combined", changes=(trained_on(COMBINED, EVALUATED),), scale=scale)
    return (*alone, together)


SWEEP = Sweep(
    name="datasets",
    title="tables I, II and IX: every data set, alone and combined",
    tables={"I": (*_rows("Shared-RIS ViT-B", None), *_rows("Shared-RIS ViT-L", "large"))},
)

_TOY_ROWS = tuple(Row(label=f"Shared-RIS on {name}", changes=(trained_on((name,), TOYS),)) for name in TOYS)
TOY_SWEEP = Sweep(
    name="toys",
    title="the shape of tables I, II and IX on the synthetic sets",
    tables={"I": (*_TOY_ROWS, Row(label="Shared-RIS on all combined", changes=(trained_on(tuple(TOYS), TOYS),)))},
)
