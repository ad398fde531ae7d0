"""The door that speaks the Open Inference Protocol, version 2, with extensions of Triton."""
