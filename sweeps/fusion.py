"""Tables VII (b) and VIII (b): how FPN and decoder fuse the two modalities.

Command:   make sweep-fusion
Hardware:  2 CPU cores at the tiny scale; the paper's rows are base models on 8 GPUs.
Time:      estimated, about 15 minutes at the default tiny scale on 2 cores (7 distinct models).
Expected:  the paper's oIoU on RefCOCO+ val: FPN 66.25, 66.98, 68.19, 68.42; decoder 67.31, 67.29, 68.30, 68.42.
"""

from sweeps.spec import NO_FPN, NO_FUSION, Row, Sweep, decoder, fpn

IN_FPN = (
    Row(label="No FPN", changes=(NO_FPN,)),
    Row(label="Cross-attention", changes=(fpn(kind="cross_attention"),)),
    Row(label="Bi-direction", changes=(fpn(kind="bi_direction"),)),
    Row(label="Shared self-attention"),
)
IN_DECODER = (
    Row(label="No Fusion", changes=(NO_FUSION,)),
    Row(label="Cross-attention", changes=(decoder(kind="cross_attention"),)),
    Row(label="Bi-direction", changes=(decoder(kind="bi_direction"),)),
    Row(label="Shared self-attention"),
)

SWEEP = Sweep(
    name="fusion",
    title="tables VII (b) and VIII (b): fusion modules",
    tables={"VII-b": IN_FPN, "VIII-b": IN_DECODER},
)
