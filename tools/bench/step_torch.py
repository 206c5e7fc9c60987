"""PyTorch's side of step.ts: exports a torchvision model, `lstm` or `gru` with one batch, and trains it eagerly on request.

    python step_torch.py export --model resnet18 --batch 16 --size 224 --folder DIR
    python step_torch.py steps  --model resnet18 --threads 2 --folder DIR

`steps` answers each line of its input with one training step and a line of JSON.
"""

import argparse
import json
import pathlib
import sys
import time
import warnings

import torch
import torchvision

MOMENTUM, LEARNING_RATE = 0.9, 0.01
WORDS = 1000


class TextClassifier(torch.nn.Module):
    """Embedding, two recurrent layers of 256 units, and the last state's classes."""

    def __init__(self, layer: type[torch.nn.RNNBase]):
        super().__init__()
        self.embedding = torch.nn.Embedding(WORDS, 256)
        self.layers = layer(256, 256, num_layers=2)
        self.head = torch.nn.Linear(256, 10)

    def forward(self, tokens):
        states, _ = self.layers(self.embedding(tokens).transpose(0, 1))
        return self.head(states[-1])


RECURRENT = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}


def make_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if name in RECURRENT:
        return TextClassifier(RECURRENT[name])
    model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        # Dropout draws numbers of its own: without it both sides compute the same losses.
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def make_batch(name: str, batch: int, size: int):
    """Images of size x size, or texts of size words."""
    torch.manual_seed(1)
    if name in RECURRENT:
        return torch.randint(0, WORDS, (batch, size)), torch.randint(0, 10, (batch,))
    return torch.randn(batch, 3, size, size), torch.randint(0, 1000, (batch,))


def export(args) -> None:
    folder = pathlib.Path(args.folder)
    model = make_model(args.model).eval()
    images, labels = make_batch(args.model, args.batch, args.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            (images,),
            str(folder / "model.onnx"),
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=["input"],
            output_names=["logits"],
        )
    (folder / "input.bin").write_bytes(images.numpy().tobytes())
    (folder / "target.bin").write_bytes(labels.numpy().tobytes())
    (folder / "batch.json").write_text(json.dumps({"batch": args.batch, "size": args.size, "shape": list(images.shape), "dtype": str(images.dtype).removeprefix("torch.")}))


def peak_mb() -> float:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("no VmHWM")


def steps(args) -> None:
    torch.set_num_threads(args.threads)
    spec = json.loads((pathlib.Path(args.folder) / "batch.json").read_text())
    images, labels = make_batch(args.model, spec["batch"], spec["size"])
    model = make_model(args.model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    criterion = torch.nn.CrossEntropyLoss()
    print(json.dumps({"ready": True, "version": torch.__version__, "peakMb": peak_mb()}), flush=True)
    for _ in sys.stdin:
        start, cpu = time.perf_counter(), time.process_time()
        loss = criterion(model(images), labels)
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
    {"export": export, "steps": steps}[args.command](args)


main()
