"""Copies of requests: made for versions that answer nobody, run behind all else, and compared."""
