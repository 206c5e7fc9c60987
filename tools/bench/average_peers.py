"""Averages safetensors as people do without a tool for it: for tools/bench/average.ts. Sums are float64, as ours are.

Usage: python average_peers.py numpy|torch OUT IN...
"""

import sys

import numpy
import torch
from safetensors import safe_open
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import load_file, save_file as save_torch


def average_numpy(out, paths):
    """One tensor at a time, each member's converted to float64 and added."""
    with safe_open(paths[0], "np") as first:
        names = list(first.keys())
    means = {}
    files = [safe_open(path, "np").__enter__() for path in paths]
    for name in names:
        total = None
        for file in files:
            tensor = file.get_tensor(name)
            total = tensor.astype(numpy.float64) if total is None else total + tensor.astype(numpy.float64)
        means[name] = (total / len(paths)).astype(tensor.dtype)
    save_numpy(means, out)


def average_torch(out, paths):
    """One checkpoint at a time, added in place to sums in float64."""
    sums = {}
    dtypes = {}
    for path in paths:
        for name, tensor in load_file(path).items():
            dtypes[name] = tensor.dtype
            if name in sums:
                sums[name].add_(tensor)
            else:
                sums[name] = tensor.to(torch.float64)
    save_torch({name: (total / len(paths)).to(dtypes[name]) for name, total in sums.items()}, out)


if __name__ == "__main__":
    _, how, out, *paths = sys.argv
    {"numpy": average_numpy, "torch": average_torch}[how](out, paths)
