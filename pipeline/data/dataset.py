"""The samples a run reads: one prepared split, or the training splits of several sets without leakage."""

from pipeline.data.combined import CombinedDataset, Removed, training_dataset
from pipeline.data.samples import ReferDataset, Sample, SampleInfo

__all__ = ["CombinedDataset", "ReferDataset", "Removed", "Sample", "SampleInfo", "training_dataset"]
