"""Adam (Kingma and Ba 2015) as Keras 3 runs it, over dense layers, without a gradient array.

A 8192 x 256 kernel makes Adam bound by memory: value, gradient and two moments are 32 MiB a step. So the gradient
is made block by block and used while it is in the cache, and the moments are kept in a form that saves two passes:

    M = m / (1 - beta1),  V = v / (1 - beta2):   M <- beta1 M + g,   V <- beta2 V + g^2
    w <- w - alpha m / (sqrt(v) + eps)
       = w - [alpha (1 - beta1) / sqrt(1 - beta2)] M / (sqrt(V) + eps / sqrt(1 - beta2))
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

BETA_1 = 0.9
BETA_2 = 0.999
EPSILON = 1e-7
BLOCK_VALUES = 128 * 1024
FLUSH_EVERY = 64
FLUSH_BELOW = np.float32(1e-30)


class Adam:
    """Moments of a stack of dense layers, and the step that changes their kernels and biases in place."""

    def __init__(self, kernels: Sequence[Floats], biases: Sequence[Floats], *, learning_rate: float) -> None:
        self.kernels, self.biases = kernels, biases
        self.learning_rate = learning_rate
        self.steps = 0
        self._scale = np.float32(0)
        self._epsilon = np.float32(EPSILON / np.sqrt(1 - BETA_2))
        self._moments = [[(np.zeros_like(w), np.zeros_like(w)) for w in group] for group in (kernels, biases)]
        self._rows = [max(1, min(len(kernel), BLOCK_VALUES // kernel.shape[1])) for kernel in kernels]
        largest = max(rows * kernel.shape[1] for rows, kernel in zip(self._rows, kernels, strict=True))
        self._gradient, self._scratch = np.empty(largest, np.float32), np.empty(largest, np.float32)

    def begin_step(self) -> None:
        """Count a step; every kernel and bias is to be updated once before the next."""
        self.steps += 1
        # float32 as in Keras, where 1 - 0.999^t is off by 1e-5 of itself at first.
        step = np.float32(self.steps)
        correction_1 = np.float32(1) - np.float32(BETA_1) ** step
        correction_2 = np.float32(1) - np.float32(BETA_2) ** step
        alpha = self.learning_rate * float(np.sqrt(correction_2) / correction_1)
        self._scale = np.float32(alpha * (1 - BETA_1) / np.sqrt(1 - BETA_2))

    def update_kernel(self, depth: int, inputs: Floats, delta: Floats) -> None:
        """Move kernel ``depth`` by the gradient inputs^T delta, ``inputs`` (n, in), ``delta`` (n, units)."""
        kernel, (first, second) = self.kernels[depth], self._moments[0][depth]
        for start in range(0, len(kernel), self._rows[depth]):
            rows = slice(start, start + self._rows[depth])
            value = kernel[rows]
            gradient = self._gradient[: value.size].reshape(value.shape)
            np.matmul(inputs[:, rows].T, delta, out=gradient)
            self._apply(value, gradient, first[rows], second[rows])

    def update_bias(self, depth: int, delta: Floats) -> None:
        """Move bias ``depth`` by the gradient sum(delta), ``delta`` (n, units)."""
        first, second = self._moments[1][depth]
        self._apply(self.biases[depth], delta.sum(axis=0), first, second)

    def _apply(self, value: Floats, gradient: Floats, first: Floats, second: Floats) -> None:
        """One Adam step in place; ``gradient`` is used up."""
        step = self._scratch[: value.size].reshape(value.shape)
        first *= np.float32(BETA_1)
        first += gradient
        np.square(gradient, out=gradient)
        second *= np.float32(BETA_2)
        second += gradient
        if self.steps % FLUSH_EVERY == 0:
            # The moments of a unit that went silent decay into subnormal floats, which cost 30 times a normal one.
            first[np.abs(first) < FLUSH_BELOW] = 0
            second[second < FLUSH_BELOW] = 0
        np.sqrt(second, out=step)
        step += self._epsilon
        np.divide(first, step, out=step)
        step *= self._scale
        value -= step
