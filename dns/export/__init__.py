"""Hands a trained network on as ONNX files, whose numbers were compared with PyTorch's."""
