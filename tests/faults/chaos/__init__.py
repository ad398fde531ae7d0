"""Faults at random under a load that does not stop: `python -m tests.faults.chaos --help`."""
