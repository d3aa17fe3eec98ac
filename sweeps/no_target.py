"""Sentences that name nothing in the image: an empty mask by its pixels alone, or by a head that decides (ours).

The paper has no such row. Both rows are scored by N-acc, T-acc, gIoU and cIoU (docs/protocols.md) on a set that has
samples without a target; on another set these columns are absent.

Command:   make sweep-no_target DATA=toyg_none; with prepared data also DATA=grefcoco_unc, DATA=rrefcoco_unc
Hardware:  2 CPU cores at the tiny scale.
Time:      estimated, about 5 minutes at the default tiny scale on 2 cores.
Expected:  without the head few masks are empty, so that N-acc is low and T-acc high; the head raises N-acc.
"""

from sweeps.spec import Row, Sweep, no_target

ROWS = (
    Row(label="No head"),
    Row(label="No-target head (ours)", changes=(no_target(kind="head"),)),
)

SWEEP = Sweep(name="no_target", title="samples without a target: a head that decides", tables={"no_target": ROWS})
