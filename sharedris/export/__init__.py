"""A trained model as one file that other programs run: torch's export format or ONNX."""
