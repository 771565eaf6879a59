"""The example of the README and of ARCHITECTURE.md."""

import torch


def rosenbrock(x):
    a, b = x[1:] - x[:-1] ** 2, 1 - x[:-1]
    return torch.sum(100 * a * a + b * b)


def wave(x):
    return torch.sum(torch.sin(x) * x)
