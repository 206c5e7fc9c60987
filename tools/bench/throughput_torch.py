"""PyTorch's side of throughput.ts: exports a model with one batch, and trains it eagerly on request.

    python throughput_torch.py export --model resnet50 --batch 64 --size 224 --folder DIR
    python throughput_torch.py steps  --model resnet50 --precision tf32 --steps 20 --folder DIR

`steps` answers each line of its input with a round of training steps and a line of JSON. Models: any of torchvision by
name; vit_small_16; bert_base and bert_mini (transformers, sequence classification; --size is the sequence length).
"""

import argparse
import contextlib
import json
import pathlib
import sys
import time
import warnings

import torch
import torchvision

MOMENTUM, LEARNING_RATE = 0.9, 0.001
CLASSES = 1000
BERT = {"bert_base": (12, 768, 12, 3072), "bert_mini": (4, 256, 4, 1024)}


def make_model(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    model = untrained(name)
    # The exporter makes one tensor of weights that are equal, as scales and biases are before training: they would be tied.
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data.add_(0.01 * torch.randn_like(parameter))
    return model


def untrained(name: str) -> torch.nn.Module:
    if name in BERT:
        from transformers import BertConfig, BertForSequenceClassification

        layers, width, heads, inner = BERT[name]
        config = BertConfig(
            num_hidden_layers=layers,
            hidden_size=width,
            num_attention_heads=heads,
            intermediate_size=inner,
            num_labels=CLASSES,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
        return Logits(BertForSequenceClassification(config))
    if name == "vit_small_16":
        return torchvision.models.VisionTransformer(224, 16, 12, 6, 384, 1536)
    model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        # Dropout draws numbers of its own: without it all sides compute the same losses.
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


class Logits(torch.nn.Module):
    """A transformers model with tensors in and one tensor out."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model(input_ids=input_ids, attention_mask=attention_mask).logits


def make_batch(name: str, batch: int, size: int):
    torch.manual_seed(1)
    labels = torch.randint(0, CLASSES, (batch,))
    if name in BERT:
        tokens = torch.randint(0, 30000, (batch, size))
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}, labels
    return {"input": torch.randn(batch, 3, size, size)}, labels


def export(args) -> None:
    folder = pathlib.Path(args.folder)
    model = make_model(args.model).eval()
    inputs, labels = make_batch(args.model, args.batch, args.size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            model,
            tuple(inputs.values()),
            str(folder / "model.onnx"),
            dynamo=False,
            opset_version=17,
            training=torch.onnx.TrainingMode.PRESERVE,
            do_constant_folding=False,
            input_names=list(inputs),
            output_names=["logits"],
        )
    described = []
    for name, tensor in [*inputs.items(), ("target", labels)]:
        (folder / f"{name}.bin").write_bytes(tensor.numpy().tobytes())
        described.append({"name": name, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)})
    (folder / "batch.json").write_text(json.dumps({"inputs": described[:-1], "target": described[-1]}))


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
    {"export": export, "steps": steps}[args.command](args)


main()
