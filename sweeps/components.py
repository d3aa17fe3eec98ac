"""Table III: what the Shared FPN and the Shared Mask Decoder each bring.

Command:   make sweep-components
Hardware:  2 CPU cores at the tiny scale; the paper's rows are base models on 8 GPUs.
Time:      estimated, about 9 minutes at the default tiny scale on 2 cores.
Expected:  the paper's oIoU on RefCOCO+ val: 65.12, 67.31, 66.25, 68.42.
"""

from sweeps.spec import NO_FPN, NO_FUSION, Row, Sweep

COMPONENTS = (
    Row(label="neither", changes=(NO_FPN, NO_FUSION)),
    Row(label="Shared FPN", changes=(NO_FUSION,)),
    Row(label="Shared Decoder", changes=(NO_FPN,)),
    Row(label="Shared FPN + Shared Decoder"),
)

SWEEP = Sweep(name="components", title="table III: components", tables={"III": COMPONENTS})
