"""Two versions by their outcomes of the same requests: pairs, measures, report; pure."""

from modelmora.comparing.answers import Answer, Kind
from modelmora.comparing.measures import Compared, agreement, compared
from modelmora.comparing.pairing import Pairing, Sample
from modelmora.comparing.report import (
    MEASURES,
    Asked,
    Case,
    Comparison,
    Needs,
    Report,
    Side,
    Spread,
)

__all__ = [
    "MEASURES",
    "Answer",
    "Asked",
    "Case",
    "Compared",
    "Comparison",
    "Kind",
    "Needs",
    "Pairing",
    "Report",
    "Sample",
    "Side",
    "Spread",
    "agreement",
    "compared",
]
