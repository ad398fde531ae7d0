"""The real scheduler under a simulated clock: what traffic waits, loads and holds (pure)."""

from modelmora.simulate.node import Played, Simulation
from modelmora.simulate.reference import belady, first_in_first_out, in_turn
from modelmora.simulate.trace import Asked, Cost, Trace, lines_of, read_trace

__all__ = [
    "Asked",
    "Cost",
    "Played",
    "Simulation",
    "Trace",
    "belady",
    "first_in_first_out",
    "in_turn",
    "lines_of",
    "read_trace",
]
