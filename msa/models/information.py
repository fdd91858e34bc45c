"""MMIM's estimators of mutual information (Han et al., EMNLP 2021).

Between text and another modality, by a lower bound: I(X; Y) >= E[log q(y|x)] + H(Y).
Between the fused vector and a modality, by contrastive predictive coding.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ENTROPY_FLOOR = 1e-4
"""Added to the variances of the entropy: a point mass has no finite one."""


def log_likelihood(y: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Log density of vectors under diagonal Gaussians, mean over the batch.

    Parameters
    ----------
    y, mean, log_variance : Tensor, shape (B, d)

    Returns
    -------
    scalar Tensor
    """
    squares = (y - mean) ** 2 * (-log_variance).exp()
    return -(squares + log_variance + math.log(2 * math.pi)).sum(-1).mean() / 2


def signed_entropy(y: Tensor, labels: Tensor) -> Tensor:
    """Entropy of a Gaussian per sign of the label, averaged, up to a constant.

    (log det S_pos + log det S_neg) / 4 with full covariances; a label of 0 belongs to
    neither side. A side of fewer than two samples has no spread to measure: it counts 0
    and has no gradient.

    Parameters
    ----------
    y : Tensor, shape (..., n, d)
    labels : Tensor, shape (n,)

    Returns
    -------
    Tensor, shape (...)
    """
    sides = torch.stack([labels > 0, labels < 0]).to(y.dtype)  # (2, n)
    count = sides.sum(1)
    share = sides / count.clamp(min=1)[:, None]
    off = y[..., None, :, :] - (share @ y)[..., None, :]  # (..., 2, n, d)
    covariance = (share[..., None] * off).transpose(-1, -2) @ off
    floor = ENTROPY_FLOOR * torch.eye(y.shape[-1], device=y.device)
    # No error check: the floor keeps it positive definite, and asking would wait for
    # the device.
    factor, _ = torch.linalg.cholesky_ex(covariance + floor)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)  # (..., 2)
    return (log_det * (count > 1)).sum(-1) / 4


class Bound(nn.Module):
    """q(y|x), a Gaussian whose mean and log-variance two small networks give."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.mean, self.log_variance = (
            nn.Sequential(nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width))
            for _ in range(2)
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Log-likelihood of y (B, width) given x (B, inputs), a scalar."""
        return log_likelihood(y, self.mean(x), self.log_variance(x))


class Contrast(nn.Module):
    """Contrastive predictive coding of a modality's vector from the fused one."""

    def __init__(self, fused: int, width: int) -> None:
        super().__init__()
        self.predict = nn.Linear(fused, width)

    def forward(self, z: Tensor, x: Tensor) -> Tensor:
        """Cross-entropy of finding each sample's own vector in the batch, a scalar.

        Parameters
        ----------
        z : Tensor, shape (B, fused)
        x : Tensor, shape (B, width)
        """
        scores = F.normalize(self.predict(z)) @ F.normalize(x).T  # (B, B), cosines
        return F.cross_entropy(scores, torch.arange(len(x), device=x.device))
