"""Table VI: single encoder against dual encoders, whole systems; and ours on a second single encoder.

Command:   make sweep-backbones
Hardware:  the paper's rows are base models on 8 GPUs.
Time:      about 13 minutes at the default tiny scale on 2 cores after `compared`, whose Shared-RIS it has in common,
           the counting of the paper's costs included.
Expected:  the paper's oIoU on RefCOCO+ val: 65.53, 64.54, 67.44, 63.98, 67.64, 68.42.
"""

from sweeps.spec import Row, Sweep, system

SYSTEMS = (
    Row(label="RISCLIP (CLIP + CLIP)", built=False),  # no public code: its row stays published-only
    Row(label="CGFormer (Swin + BERT)", changes=(system(kind="cgformer", encoder="swin_bert"),)),
    Row(label="CGFormer (BEiT-3)", changes=(system(kind="cgformer"),)),
    Row(label="DMMI (Swin + BERT)", changes=(system(kind="dmmi", encoder="swin_bert"),)),
    Row(label="DMMI (BEiT-3)", changes=(system(kind="dmmi"),)),
    Row(label="Shared-RIS (Ours)"),
    Row(label="Shared-RIS (ViT in ViLT's manner)", changes=(system(encoder="vilt"),)),  # not of the paper
)

SWEEP = Sweep(name="backbones", title="table VI: single and dual encoders", tables={"VI": SYSTEMS})
