"""Floating-point types, their numbers in order, and rounding to them.

bfloat16 is float32 rounded to its upper sixteen bits after every operation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Array = Any  # a numpy array; numpy itself is imported where it is used


@dataclass(frozen=True, slots=True)
class FloatType:
    """A floating-point type: its width, its largest finite number as bits, and what numpy computes it in."""

    name: str
    bits: int
    largest: int
    computed_in: str

    def numbers(self, keys: Array) -> Array:
        """Return the numbers at `keys`, which count the type's finite numbers in order, 0 at zero."""
        import numpy as np

        unsigned = np.abs(keys).astype(np.uint64) | np.where(
            keys < 0, np.uint64(1) << np.uint64(self.bits - 1), np.uint64(0)
        )
        width = np.dtype(self.computed_in).itemsize * 8
        return (unsigned << np.uint64(width - self.bits)).astype(f"u{width // 8}").view(self.computed_in)

    def rounded(self, values: Array) -> Array:
        """Return `values` rounded to this type, to nearest, ties to even."""
        import numpy as np

        if self.name != "bfloat16":
            return values.astype(self.computed_in)
        bits = values.astype(np.float32).view(np.uint32).astype(np.uint64)
        kept = ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & np.uint64(0xFFFF0000)).astype(
            np.uint32
        )
        return np.where(np.isfinite(values), kept.view(np.float32), values)

    def grid(self) -> Array:
        """Return the keys to probe: every number of a 16-bit type, every 2^k-th of a wider one."""
        import numpy as np

        positive = np.arange(0, self.largest + 1, 1 << (self.bits - 16), dtype=np.int64)
        return np.unique(np.concatenate([-positive, positive, [-self.largest, self.largest]]))


TYPES = (
    FloatType("float16", 16, 0x7BFF, "float16"),
    FloatType("bfloat16", 16, 0x7F7F, "float32"),
    FloatType("float32", 32, 0x7F7FFFFF, "float32"),
    FloatType("float64", 64, 0x7FEFFFFFFFFFFFFF, "float64"),
)
FLOAT32 = TYPES[2]
