"""An ablation of your own: sharedris sweep run examples/own_ablation.py; sharedris report examples/own_ablation.py.

Rows are labels and changes of the default configuration; docs/sweeps.md explains them.
"""

from sweeps.spec import Change, Row, Sweep, decoder, fpn

SWEEP = Sweep(
    name="own_ablation",
    title="one stage or four, and a slower start",
    tables={
        "own": (
            Row(label="as it is"),
            Row(label="one stage", changes=(fpn(stages=(12,)),)),
            Row(label="two decoder layers", changes=(decoder(layers=2),)),
            Row(label="slower", changes=(Change(part="optim", fields={"learning_rate": 5e-4}),)),
        )
    },
)
