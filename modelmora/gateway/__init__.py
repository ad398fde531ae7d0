"""Callers who want to wait: REST and gRPC in, the same topics as everyone, one answer out."""
