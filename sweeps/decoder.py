"""Table VIII (a): how many shared transformer layers the mask decoder has.

Command:   make sweep-decoder
Hardware:  2 CPU cores at the tiny scale; the paper's rows are base models on 8 GPUs.
Time:      estimated, about 9 minutes at the default tiny scale on 2 cores.
Expected:  the paper's oIoU on RefCOCO+ val: 67.31, 68.42, 68.57, 68.27.
"""

from sweeps.spec import NO_FUSION, Row, Sweep, decoder

DEPTH = (
    Row(label="No Fusion", changes=(NO_FUSION,)),
    Row(label="1 (Ours)"),
    Row(label="2", changes=(decoder(layers=2),)),
    Row(label="3", changes=(decoder(layers=3),)),
)

SWEEP = Sweep(name="decoder", title="table VIII (a): depth of the Shared Mask Decoder", tables={"VIII-a": DEPTH})
