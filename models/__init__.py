"""Models: the input contract, the ONNX scorer, the registry, training and evaluation."""
