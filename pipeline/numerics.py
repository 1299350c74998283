"""The libraries whose functions Table 2 probes: NumPy with SciPy, and PyTorch if it is installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

from db.errors import UsageError
from pipeline.float_types import Array, FloatType

Rounding = Callable[[Array], Array]


class Library(Protocol):
    """What computes a function of Table 2 and its derivative; `div` divides 1 by x."""

    @property
    def name(self) -> str:
        """The library, as the table names it."""

    def __hash__(self) -> int:
        """Ranges are kept by library."""

    def value(self, function: str, kind: FloatType, x: Array) -> Array:
        """Return the function at the numbers x of a floating-point type."""

    def derivative(self, function: str, kind: FloatType, x: Array) -> Array:
        """Return its derivative there, as automatic differentiation evaluates it."""


@dataclass(frozen=True)
class NumPy:
    """NumPy's functions and SciPy's lgamma, each operation rounded to the type."""

    name: str = "NumPy"

    def value(self, function: str, kind: FloatType, x: Array) -> Array:
        """Return the function at x."""
        return _value(function, x, kind.rounded)

    def derivative(self, function: str, kind: FloatType, x: Array) -> Array:
        """Return the derivative at x, operation by operation as a backward pass does it."""
        return _derivative(function, x, kind.rounded)


def _value(function: str, x: Array, rounded: Rounding) -> Array:
    """Return `function` at x; `div` divides 1 by x."""
    import numpy as np

    if function == "lgamma":
        from scipy.special import gammaln

        # SciPy says +inf for lgamma of every pole; below 0 its loops are exact only in float64.
        return rounded(gammaln(x.astype(np.float64)))
    if function == "div":
        return rounded(1 / x)
    return rounded(getattr(np, {"acos": "arccos"}.get(function, function))(x))


def _derivative(function: str, x: Array, rounded: Rounding) -> Array:
    """Return the derivative of `function` at x, operation by operation as a backward pass does it."""
    import numpy as np

    if function == "lgamma":
        from scipy.special import psi

        return rounded(psi(x.astype(np.float64)))
    if function == "div":
        return rounded(rounded(1 / x) / x)
    if function in ("exp", "expm1"):
        return rounded(np.exp(x))
    if function == "log":
        return rounded(1 / x)
    if function == "log1p":
        return rounded(1 / rounded(1 + x))
    if function == "sqrt":
        return rounded(1 / rounded(2 * rounded(np.sqrt(x))))
    if function == "acos":
        return rounded(1 / rounded(np.sqrt(rounded(1 - rounded(x * x)))))
    raise ValueError(f"function {function!r} has no derivative here")


@dataclass(frozen=True)
class PyTorch:
    """PyTorch's own kernels on the CPU, and its autograd: the derivative is what `backward` leaves."""

    name: str = "PyTorch"

    def value(self, function: str, kind: FloatType, x: Array) -> Array:
        """Return the function at x."""
        return _to_array(_of_tensor(function, _to_tensor(kind, x)))

    def derivative(self, function: str, kind: FloatType, x: Array) -> Array:
        """Return the gradient of the sum of the function over x."""
        tensor = _to_tensor(kind, x).requires_grad_()
        _of_tensor(function, tensor).sum().backward()
        return _to_array(tensor.grad)


def _of_tensor(function: str, tensor: Any) -> Any:
    import torch

    return 1 / tensor if function == "div" else getattr(torch, function)(tensor)


def _to_tensor(kind: FloatType, x: Array) -> Any:
    import torch

    return torch.from_numpy(x).to(getattr(torch, kind.name))


def _to_array(tensor: Any) -> Array:
    import torch

    values = tensor.detach()
    return (values.float() if values.dtype == torch.bfloat16 else values).numpy()


NUMPY: Library = NumPy()
OTHERS = ("torch",)  # the names of further libraries, as `tables --probe` takes them


def library(name: str) -> Library:
    """Return the library of one of OTHERS; UsageError where it is not installed."""
    if not find_spec(name):
        raise UsageError(f"--probe {name} needs the extra nanmine[{name}]")
    return PyTorch()
