"""What engines compute, as it is answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from modelmora.errors import Code, RequestError


def finite(parts: Sequence[Any]) -> np.ndarray[Any, Any]:
    """Rows of numbers as one array of FP32, in C order.

    Raises RequestError where a number in it is none.
    """
    numbers = np.ascontiguousarray(parts, dtype="<f4")
    if not np.isfinite(numbers).all():
        message = "the model computed NaN or infinity; its weights may be damaged"
        raise RequestError(Code.INFERENCE_FAILED, message)
    return numbers
