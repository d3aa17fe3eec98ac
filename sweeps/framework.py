"""Table X: our framework against the instance-segmentation framework of BEiT-3.

Command:   make sweep-framework
Hardware:  the paper's rows are base models on 8 GPUs.
Time:      about 4 minutes at the default tiny scale on 2 cores.
Expected:  the paper's oIoU on RefCOCO+ val: 67.23, 68.42.
"""

from sweeps.spec import Row, Sweep, system

FRAMEWORKS = (
    Row(label="ViT-DET", changes=(system(kind="vitdet"),)),
    Row(label="Shared-RIS (Ours)"),
)

SWEEP = Sweep(name="framework", title="table X: frameworks", tables={"X": FRAMEWORKS})
