"""Models that read or draw images; only what reads their files is imported by a node."""
