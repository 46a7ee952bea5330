"""Covariance of a conditional logit whose pages are not independent: clustered by customer. Fits nothing.

The pages of one customer share what the model does not know of them. The inverse Hessian counts them as strangers; the
sandwich ``H^-1 (sum_c s_c s_c') H^-1`` adds their scores up first (Liang and Zeger, 1986), with the usual correction
for few clusters and coefficients, ``C / (C - 1) (N - 1) / (N - K)``, N the pages.
"""

from __future__ import annotations

import numpy as np

from pricing.demand.choices import Choices, Floats, Ints, group_sums, probabilities
from pricing.demand.logit import LogitFit, Prior, laplace


def clustered_covariance(choices: Choices, fit: LogitFit, prior: Prior, cluster: Ints) -> Floats:
    """(K, K) covariance of the shared coefficients of a fit without group effects.

    Args:
        choices: What was fitted.
        fit: Its optimum.
        prior: Its prior.
        cluster: (P,) cluster of each page, from 0. With fewer than two, or with as many coefficients as pages, nothing
            can be told and the inverse Hessian is returned.
    """
    bread = laplace(choices, fit, prior).shared
    found, code = np.unique(cluster, return_inverse=True)
    n_pages, n_features, n_clusters = choices.n_pages, choices.X.shape[1], int(found.size)
    if n_clusters < 2 or n_pages <= n_features:
        return bread
    q, _ = probabilities(choices.utility(fit.theta, fit.effects), choices.starts, choices.page)
    residual = choices.bought - choices.trials[choices.page] * q
    scores = group_sums(code[choices.page], choices.X * residual[:, None], n_clusters)
    correction = n_clusters / (n_clusters - 1) * (n_pages - 1) / (n_pages - n_features)
    covariance: Floats = correction * bread @ (scores.T @ scores) @ bread
    return covariance
