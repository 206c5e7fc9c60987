"""PyTorch's side of throughput.ts: exports a model with one batch, and trains it eagerly on request.

    python throughput_torch.py export --model resnet50 --batch 64 --size 224 --folder DIR
    python throughput_torch.py steps  --model resnet50 --precision tf32 --steps 20 --folder DIR

`steps` answers each line of its input with a round of training steps and a line of JSON. Models: see models.py.
"""

import argparse
import contextlib
import json
import pathlib
import sys
import time

import torch

from models import export, make_batch, make_model

MOMENTUM, LEARNING_RATE = 0.9, 0.001


def steps(args) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = args.precision != "float32"
    torch.backends.cudnn.allow_tf32 = args.precision != "float32"
    torch.backends.cudnn.benchmark = True
    inputs, labels = make_batch(args.model, args.batch, args.size)
    inputs = [tensor.to(device) for tensor in inputs.values()]
    labels = labels.to(device)
    model = make_model(args.model).train().to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    half = args.precision == "amp"
    scaler = torch.amp.GradScaler(device, enabled=half and device == "cuda")
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    print(json.dumps({"device": device, "version": torch.__version__}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        losses = []
        for _ in range(args.steps):
            with torch.autocast(device, dtype) if half else contextlib.nullcontext():
                loss = criterion(model(*inputs), labels)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            losses.append(loss.detach())
        values = [loss.item() for loss in losses]
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "losses": values}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["export", "steps"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", choices=["float32", "tf32", "amp"], default="tf32")
    parser.add_argument("--folder", required=True)
    args = parser.parse_args()
    if args.command == "export":
        export(args.model, args.batch, args.size, pathlib.Path(args.folder))
    else:
        steps(args)


main()
