"""Exports of trained models, checked on samples: the same masks as the model, with size, speed and lost score."""
