"""Sentences that name nothing in the image: an empty mask by its pixels alone, or by a head that decides (ours).

The paper has no such row. Both rows are scored by N-acc, T-acc, gIoU and cIoU (docs/protocols.md) on a set that has
samples without a target; on another set these columns are absent.

Command:   make sweep-no_target DATA=toyg_none; with prepared data also DATA=grefcoco_unc, DATA=rrefcoco_unc
Hardware:  2 CPU cores at the tiny scale.
Time:      estimated, about 5 minutes at the default tiny scale on 2 cores.
Expected:  after EPOCHS=3, seed 0, toyg_none/val: N-acc 39.61 and T-acc 82.71 without the head, 43.00 and 80.32 with it.
           Such a short training does not rank the rows.
"""

from sweeps.spec import Row, Sweep, no_target

ROWS = (
    Row(label="No head"),
    Row(label="No-target head (ours)", changes=(no_target(kind="head"),)),
)

SWEEP = Sweep(name="no_target", title="samples without a target: a head that decides", tables={"no_target": ROWS})
