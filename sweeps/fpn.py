"""Table VII (a): which stages of the encoder the Shared FPN takes.

Command:   make sweep-fpn            (DATA=, MODEL=, SEEDS=, EPOCHS=, WORKERS=, RAY_ADDRESS=)
Hardware:  2 CPU cores at the tiny scale; the paper's rows are base models on 8 GPUs.
Time:      about 10 minutes at the default tiny scale on 2 cores, data and installation included.
Expected:  toyplus_unc/val, protocol original: mIoU 0.45 or more for {3, 6, 9, 12}. The paper's, on RefCOCO+ val:
           oIoU 66.25, 67.74, 68.13, 68.42.
"""

from sweeps.spec import NO_FPN, Row, Sweep, fpn

STAGES = (
    Row(label="No FPN", changes=(NO_FPN,)),
    Row(label="{6, 12}", changes=(fpn(stages=(6, 12)),)),
    Row(label="{4, 8, 12}", changes=(fpn(stages=(4, 8, 12)),)),
    Row(label="{3, 6, 9, 12}"),
)

SWEEP = Sweep(name="fpn", title="table VII (a): stages of the Shared FPN", tables={"VII-a": STAGES})
