"""Members whose batch norms are folded into their weights, for tools/bench/repair.ts: a small convolutional net on
Fashion-MNIST. `near-*`: checkpoints of one run at a constant rate. `far-*`: runs of their own from one early checkpoint.

Usage: python repair_members.py FOLDER_OF_IDX_FILES OUT_FOLDER [--images 20000] [--epochs 3]
Needs PyTorch 2.9 and onnx.
"""

import argparse
import copy
import gzip
import os

import numpy
import torch
from torch import nn


def read(folder, name, skip):
    path = os.path.join(folder, name)
    opener = gzip.open if os.path.exists(path + ".gz") else open
    with opener(path + ".gz" if opener is gzip.open else path, "rb") as file:
        return numpy.frombuffer(file.read(), numpy.uint8, offset=skip)


def net():
    def block(inputs, outputs, stride):
        return [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]

    layers = [*block(1, 16, 1), *block(16, 32, 2), *block(32, 32, 1), *block(32, 64, 2), *block(64, 64, 1)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def train(model, images, labels, epochs, rate, seed):
    torch.manual_seed(seed)
    optimizer = torch.optim.SGD(model.parameters(), rate, momentum=0.9, weight_decay=5e-4)
    model.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(images)).split(128):
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model


def export(model, path):
    torch.onnx.export(
        copy.deepcopy(model).eval(), torch.zeros(1, 1, 28, 28), path, opset_version=17, dynamo=False,
        input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "n"}, "logits": {0: "n"}},
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("--images", type=int, default=20000)
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    pixels = read(args.data, "train-images-idx3-ubyte", 16).reshape(-1, 1, 28, 28)[: args.images]
    images = (torch.from_numpy(pixels.copy()).float() / 255 - 0.2860) / 0.3530
    labels = torch.from_numpy(read(args.data, "train-labels-idx1-ubyte", 8)[: args.images].astype(numpy.int64))
    torch.manual_seed(0)
    start = train(net(), images, labels, 1, 0.1, 0)
    model = copy.deepcopy(start)
    for k in range(3):
        export(train(model, images, labels, 1, 0.05, 10 + k), os.path.join(args.out, f"near-{k}.onnx"))
    for k in range(3):
        model = train(copy.deepcopy(start), images, labels, args.epochs, 0.1, 20 + k)
        export(model, os.path.join(args.out, f"far-{k}.onnx"))
