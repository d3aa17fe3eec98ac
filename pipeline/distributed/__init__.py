"""What the workers of one run share: process group, gradients, batch statistics."""
