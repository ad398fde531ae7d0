"""Looks at a machine and at a cluster, and returns what it found."""
