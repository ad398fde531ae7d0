"""What fixtures rows of faults share with other tests."""

from tests.guarded import guarded

__all__ = ["guarded"]
