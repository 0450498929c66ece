"""A Gaussian process on the logarithm of what the physics leaves over.

Its covariance is a Matern function (5/2) of scaled features, a part that all measurements
of one signature share, and the noise of a measurement. Beyond the training data the
correction stays what it was at their edge, and its standard deviation goes to that of the
physics: kernels settle as they grow, and how well is not known.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Scales:
    """Standard deviations of the logarithm, and lengths of the feature groups."""

    amplitude: float
    signature: float
    noise: float
    lengths: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class GaussianProcess:
    """A process conditioned on training data."""

    scales: Scales
    groups: tuple[int, ...]  # of each feature, its place in `scales.lengths`
    features: Floats
    alpha: Floats
    variances: Floats  # each row's own: what its signature shares, and noise
    whitening: Floats  # inverse of the lower Cholesky factor of the training covariance
    places: dict[Hashable, int] = field(repr=False)  # of each signature

    @classmethod
    def restored(
        cls,
        scales: Scales,
        groups: tuple[int, ...],
        features: Floats,
        alpha: Floats,
        variances: Floats,
        signatures: Sequence[Hashable],
    ) -> GaussianProcess:
        """The process of saved coefficients; its covariance follows from the features."""
        places: dict[Hashable, int] = {it: place for place, it in enumerate(signatures)}
        whitening = _whitening(scales, groups, features, variances)
        return cls(scales, groups, features, alpha, variances, whitening, places)

    def correct(self, features: Floats, signatures: Sequence[Hashable]) -> tuple[Floats, Floats]:
        """Mean and standard deviation of the correction, the noise of a measurement included."""
        scales = self.scales
        cross = self._covariance_with(features, signatures)
        explained = self.whitening @ cross.T
        variance = scales.amplitude**2 + scales.signature**2 - (explained**2).sum(axis=0)
        deviation: Floats = np.sqrt(np.maximum(variance, 0.0) + scales.noise**2)
        held = np.clip(features, self.features.min(axis=0), self.features.max(axis=0))
        return self._covariance_with(held, signatures) @ self.alpha, deviation

    def _covariance_with(self, features: Floats, signatures: Sequence[Hashable]) -> Floats:
        """Of new rows with the training rows."""
        scales = self.scales
        cross = matern(distances(features, self.features, self.groups, scales), scales)
        for row, signature in zip(cross, signatures, strict=True):
            place = self.places.get(signature)
            if place is not None:
                row[place] += scales.signature**2
        return cross


def distances(first: Floats, second: Floats, groups: tuple[int, ...], scales: Scales) -> Floats:
    """Squared distances in lengths."""
    lengths = np.array([scales.lengths[group] for group in groups])
    a, b = first / lengths, second / lengths
    squared: Floats = (a**2).sum(1)[:, None] + (b**2).sum(1)[None, :] - 2.0 * a @ b.T
    return np.maximum(squared, 0.0)


def matern(squared: Floats, scales: Scales) -> Floats:
    """Covariance at squared distances."""
    r = math.sqrt(5.0) * np.sqrt(squared)
    result: Floats = scales.amplitude**2 * (1.0 + r + r**2 / 3.0) * np.exp(-r)
    return result


def condition(
    scales: Scales,
    groups: tuple[int, ...],
    features: Floats,
    residuals: Floats,
    n_measured: Floats,
    signatures: Sequence[Hashable],
) -> GaussianProcess:
    """The process given medians of `n_measured` measurements per signature."""
    variances = scales.signature**2 + scales.noise**2 / n_measured + 1e-10
    whitening = _whitening(scales, groups, features, variances)
    alpha = whitening.T @ (whitening @ residuals)
    places: dict[Hashable, int] = {it: place for place, it in enumerate(signatures)}
    return GaussianProcess(scales, groups, features, alpha, variances, whitening, places)


def _whitening(
    scales: Scales, groups: tuple[int, ...], features: Floats, variances: Floats
) -> Floats:
    covariance = matern(distances(features, features, groups, scales), scales)
    inverse: Floats = np.linalg.inv(np.linalg.cholesky(covariance + np.diag(variances)))
    return inverse
