"""Fourier transforms, factorisations, distances and solvers.

Factorisations count the leading terms of Golub and Van Loan, Matrix Computations (4th edition);
n is the smaller side of a matrix, m the larger.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

from irene.worker.ops.costs import Call, Cost, Operand, Rule, cost


def fft(call: Call, of_complex: int) -> tuple[Cost, ...]:
    """Of length n: 5 n log2 n per complex transform (Cooley and Tukey), half for real ones."""
    x, out = call.inputs[0], call.outputs[0]
    larger = max(x.shape, out.shape, key=math.prod)
    length = math.prod(larger[dim] for dim in call.args[1]) or 1
    flops = round(of_complex / 2 * math.prod(larger) * math.log2(max(2, length)))
    return (cost(call, "other", flops),)


def factorisation(call: Call, flops: Callable[[int, int], float]) -> tuple[Cost, ...]:
    # (*b, m, n)
    *batch, rows, columns = call.inputs[0].shape
    m, n = max(rows, columns), min(rows, columns)
    return (cost(call, "other", round(math.prod(batch) * flops(m, n))),)


def solve(call: Call, matrix_at: int, factor_flops: float, per_column: float) -> tuple[Cost, ...]:
    # (*b, n, n) and right sides (*b, n, k), or (*b, n)
    matrix, right = call.inputs[matrix_at], call.inputs[1 - matrix_at]
    n = matrix.shape[-1]
    batch = math.prod(matrix.shape[:-2])
    columns = right.n_elements // max(1, n)  # of all right sides
    return (cost(call, "other", round(batch * factor_flops * n**3 + per_column * n**2 * columns)),)


def distances(call: Call) -> tuple[Cost, ...]:
    # (*b, m, d) to (*b, n, d): subtract, square, add
    return (cost(call, "other", 3 * call.n_outputs * call.inputs[0].shape[-1]),)


def trilinear(call: Call) -> tuple[Cost, ...]:
    """Three inputs, expanded by new dimensions, multiplied and summed (`nn.Bilinear`)."""
    shapes = []
    for operand, expand in zip(call.args[:3], call.args[3:6], strict=True):
        assert isinstance(operand, Operand)
        shape = list(operand.shape)
        for dim in sorted(expand):
            shape.insert(dim, 1)
        shapes.append(shape)
    elements = math.prod(max(sizes) for sizes in zip(*shapes, strict=True))
    return (cost(call, "other", 3 * elements),)


TRANSFORM_RULES: dict[str, Rule] = {
    "_fft_c2c": partial(fft, of_complex=10),
    "_fft_r2c": partial(fft, of_complex=5),
    "_fft_c2r": partial(fft, of_complex=5),
    "linalg_cholesky_ex": partial(factorisation, flops=lambda _, n: n**3 / 3),
    **dict.fromkeys(
        ("linalg_lu_factor_ex", "linalg_lu", "_linalg_det", "_linalg_slogdet", "_lu_with_info"),
        partial(factorisation, flops=lambda m, n: m * n**2 - n**3 / 3),
    ),
    "linalg_inv_ex": partial(factorisation, flops=lambda _, n: 2 * n**3),
    # the factor, and the orthogonal matrix from its reflections
    "linalg_qr": partial(factorisation, flops=lambda m, n: 4 * (m * n**2 - n**3 / 3)),
    "geqrf": partial(factorisation, flops=lambda m, n: 2 * (m * n**2 - n**3 / 3)),
    "linalg_householder_product": partial(
        factorisation, flops=lambda m, n: 2 * (m * n**2 - n**3 / 3)
    ),
    "_linalg_svd": partial(
        factorisation, flops=lambda m, n: 4 * m**2 * n + 8 * m * n**2 + 9 * n**3
    ),
    "_linalg_eigh": partial(factorisation, flops=lambda _, n: 9 * n**3),
    "linalg_eig": partial(factorisation, flops=lambda _, n: 25 * n**3),
    "_linalg_eigvals": partial(factorisation, flops=lambda _, n: 10 * n**3),
    "_linalg_solve_ex": partial(solve, matrix_at=0, factor_flops=2 / 3, per_column=2.0),
    "linalg_solve_triangular": partial(solve, matrix_at=0, factor_flops=0.0, per_column=1.0),
    "triangular_solve": partial(solve, matrix_at=1, factor_flops=0.0, per_column=1.0),
    "cholesky_solve": partial(solve, matrix_at=1, factor_flops=0.0, per_column=2.0),
    "linalg_lu_solve": partial(solve, matrix_at=0, factor_flops=0.0, per_column=2.0),
    "_cdist_forward": distances,
    "_pdist_forward": distances,
    "_trilinear": trilinear,
}
