"""Models as graphs: ONNX files, read and run."""
