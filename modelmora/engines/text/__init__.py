"""Engines of `txt2txt`: GGUF through llama.cpp, safetensors through transformers."""
