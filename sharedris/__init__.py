"""The model of "A Simple Baseline with Single-encoder for Referring Image Segmentation", without the pipeline."""
