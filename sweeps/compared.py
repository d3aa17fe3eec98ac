"""Tables IV and V: modules of other papers in place of ours.

Command:   make sweep-compared
Hardware:  2 CPU cores at the tiny scale; the paper's rows are base models on 8 GPUs.
Time:      about 16 minutes at the default tiny scale on 2 cores, half of it for CGFormer and DMMI.
Expected:  the paper's oIoU on RefCOCO+ val: 66.25, 66.91, 67.49, 68.42 (IV) and 67.31, 67.40, 67.70, 68.42 (V).
"""

from sweeps.spec import NO_FPN, NO_FUSION, Row, Sweep, decoder, fpn

FPN_METHODS = (
    Row(label="No FPN", changes=(NO_FPN,)),
    Row(label="FPN in CRIS", changes=(fpn(kind="cris", stages=(6, 9, 12)),)),
    Row(label="PWAM in LAVT", changes=(fpn(kind="pwam"),)),
    Row(label="Shared FPN (Ours)"),
)
DECODER_METHODS = (
    Row(label="No Fusion", changes=(NO_FUSION,)),
    Row(label="CGFormer", changes=(decoder(kind="cgformer"),)),
    Row(label="DMMI", changes=(decoder(kind="dmmi"),)),
    Row(label="Shared Decoder (Ours)"),
)

SWEEP = Sweep(
    name="compared",
    title="tables IV and V: modules of other papers",
    tables={"IV": FPN_METHODS, "V": DECODER_METHODS},
)
