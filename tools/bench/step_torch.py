"""PyTorch's side of step.ts: exports a model (models.py) with one batch, and trains it eagerly on request.

    python step_torch.py export --model resnet18 --batch 16 --size 224 --folder DIR
    python step_torch.py steps  --model resnet18 --batch 16 --size 224 --threads 2 --folder DIR

`steps` answers each line of its input with one training step and a line of JSON.
"""

import argparse
import json
import pathlib
import sys
import time

import torch

from models import export, make_batch, make_model

MOMENTUM, LEARNING_RATE = 0.9, 0.01


def peak_mb() -> float:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def steps(args) -> None:
    torch.set_num_threads(args.threads)
    inputs, labels = make_batch(args.model, args.batch, args.size)
    model = make_model(args.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    print(json.dumps({"ready": True, "version": torch.__version__, "peakMb": peak_mb()}), flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        loss = criterion(model(*inputs.values()), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        value = loss.item()
        seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
        line = {"ms": seconds * 1e3, "cpuMs": cpu * 1e3, "loss": value, "peakMb": peak_mb()}
        print(json.dumps(line), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["export", "steps"])
    parser.add_argument("--model", default="resnet18")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", required=True)
    args = parser.parse_args()
    if args.command == "export":
        export(args.model, args.batch, args.size, pathlib.Path(args.folder))
    else:
        steps(args)


main()
