"""Table VI: single encoder against dual encoders, whole systems.

Command:   make sweep-backbones
Hardware:  the paper's rows are base models on 8 GPUs.
Time:      the row that is built: about 3 minutes at the default tiny scale on 2 cores.
Expected:  the paper's oIoU on RefCOCO+ val: 65.53, 64.54, 67.44, 63.98, 67.64, 68.42.
"""

from sweeps.spec import Row, Sweep

SYSTEMS = (
    Row(label="RISCLIP (CLIP + CLIP)", built=False),  # no public code: its row stays published-only
    Row(label="CGFormer (Swin + BERT)", built=False),
    Row(label="CGFormer (BEiT-3)", built=False),
    Row(label="DMMI (Swin + BERT)", built=False),
    Row(label="DMMI (BEiT-3)", built=False),
    Row(label="Shared-RIS (Ours)"),
)

SWEEP = Sweep(name="backbones", title="table VI: single and dual encoders", tables={"VI": SYSTEMS})
