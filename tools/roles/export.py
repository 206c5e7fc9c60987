"""Exports architectures by all exporters, and writes what each weight of the file truly is.

    python export.py OUT [--exporters=ts13,ts17,dynamo,...] [NAME...]

For each name and exporter: OUT/<name>@<exporter>/model.onnx and truth.json, which
gives every float initializer and constant its share of elements that are those of a
parameter that trains, of another tensor of the module, and of its classifier. Random
weights make that exact: no two elements of the module are equal, whatever an exporter
transposed, cut or joined. Where model.onnx is there, only truth.json is written.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, numpy_helper
from torch import nn

from architectures import build, names

# ts13 is what most files of the last years are: folded for inference. ts17 keeps batch norms; raw is
# not folded and has its weights as inputs too; half is ts17 in float16; data has them in another file.
EXPORTERS = ("ts13", "ts17", "dynamo", "raw", "half", "dynamo_raw", "data")
CLASSES = 10
HEADS = re.compile(r"(module\.)?(fc|head|classifier|aux)", re.IGNORECASE)


def scatter(module: nn.Module) -> None:
    """Gives every element of every parameter and of running statistics a value of its own."""
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter += 0.02 * torch.randn_like(parameter)
        for name, buffer in module.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer += 0.1 * torch.rand_like(buffer)


def export(module: nn.Module, inputs: tuple[torch.Tensor, ...], exporter: str, path: Path) -> None:
    if exporter in ("dynamo", "dynamo_raw", "data"):
        program = torch.onnx.export(module, inputs, dynamo=True, verbose=False, optimize=exporter != "dynamo_raw")
        program.save(str(path), external_data=exporter == "data")
        return
    keep = torch.onnx.TrainingMode.EVAL if exporter in ("ts13", "half") else torch.onnx.TrainingMode.PRESERVE
    torch.onnx.export(
        module, inputs, str(path), opset_version=13 if exporter == "ts13" else 17, training=keep, dynamo=False,
        dynamic_axes=None, input_names=[f"input_{i}" for i in range(len(inputs))],
        do_constant_folding=exporter != "raw", keep_initializers_as_inputs=exporter == "raw",
    )


def to_half(path: Path) -> None:
    """Rounds all that is float32 in a file."""
    model = onnx.load(str(path))

    def convert(tensor: TensorProto) -> None:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

    def walk(graph: onnx.GraphProto) -> None:
        for tensor in graph.initializer:
            convert(tensor)
        for value in [*graph.input, *graph.output, *graph.value_info]:
            if value.type.tensor_type.elem_type == TensorProto.FLOAT:
                value.type.tensor_type.elem_type = TensorProto.FLOAT16
        for node in graph.node:
            for attribute in node.attribute:
                if attribute.HasField("t"):
                    convert(attribute.t)
                if attribute.HasField("g"):
                    walk(attribute.g)
                if node.op_type == "Cast" and attribute.i == TensorProto.FLOAT:
                    attribute.i = TensorProto.FLOAT16

    walk(model.graph)
    onnx.save(model, str(path))


def elements(tensors) -> np.ndarray:
    parts = [t.detach().float().numpy().ravel() for t in tensors if t.dtype.is_floating_point]
    # Every exporter writes zeros and ones of its own: they say nothing about where a number came from.
    return np.setdiff1d(np.concatenate(parts), [0, 1]) if parts else np.zeros(0, np.float32)


def classifiers(module: nn.Module):
    """The parameters of the layers that give the classes; no other layer has as many outputs."""
    for name, part in module.named_modules():
        outputs = getattr(part, "out_features", getattr(part, "out_channels", None))
        if outputs == CLASSES and HEADS.match(name) and isinstance(part, (nn.Linear, nn.Conv2d)):
            yield from part.parameters()


def tensors_of(graph: onnx.GraphProto):
    for tensor in graph.initializer:
        yield tensor.name, tensor
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.name == "value":
                yield node.output[0], attribute.t
            if attribute.HasField("g"):
                yield from tensors_of(attribute.g)


def truth(module: nn.Module, path: Path) -> dict:
    learned = [p for p in module.parameters() if p.requires_grad]
    fixed = [p for p in module.parameters() if not p.requires_grad]
    known = {
        "parameter": elements(learned),
        "buffer": elements([*fixed, *module.buffers()]),
        "classifier": elements(classifiers(module)),
    }
    found = {}
    for name, tensor in tensors_of(onnx.load(str(path)).graph):
        values = numpy_helper.to_array(tensor, str(path.parent))
        if values.dtype not in (np.float32, np.float16, np.float64) or values.size == 0:
            continue
        values = values.astype(np.float32).ravel()
        shares = {kind: float(np.isin(values, those).mean()) for kind, those in known.items()}
        found[name] = {**shares, "size": int(values.size)}
    return found


def main(out: Path, exporters: list[str], wanted: list[str]) -> None:
    for name in wanted:
        for exporter in exporters:
            folder = out / f"{name.replace(':', '-')}@{exporter}"
            path = folder / "model.onnx"
            if (folder / "truth.json").exists() or (folder / "failed").exists():
                continue
            folder.mkdir(parents=True, exist_ok=True)
            try:
                torch.manual_seed(0)
                module, inputs = build(name, exporter != "ts13")
                module.eval()
                scatter(module)
                if exporter == "half" or not path.exists():
                    export(module, inputs, exporter, path)
                known = truth(module, path)
                if exporter == "half":
                    to_half(path)
                (folder / "truth.json").write_text(json.dumps(known))
                print(f"{name} {exporter}: done", flush=True)
            except Exception as error:  # one that cannot be exported must not stop the others
                first = next((line for line in str(error).splitlines() if line), "")
                message = f"{name} {exporter}: {type(error).__name__} {first[:200]}"
                (folder / "failed").write_text(message)
                print(message, flush=True)


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    option = "--exporters="
    chosen = [a.removeprefix(option).split(",") for a in sys.argv if a.startswith(option)]
    wanted = [a for a in sys.argv[2:] if not a.startswith(option)]
    main(Path(sys.argv[1]), chosen[0] if chosen else list(EXPORTERS), wanted or names())
