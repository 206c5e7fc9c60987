"""The models that step.ts and throughput.ts measure, with a batch for each.

Any of torchvision by name; vit_tiny_16 and vit_small_16; bert_base and bert_mini (transformers, sequence classification;
the size is the sequence length); lstm and gru (text classifiers, as long as the size).
"""

import json
import pathlib
import warnings

import torch
import torchvision

CLASSES = 1000
VIT = {"vit_tiny_16": (3, 192), "vit_small_16": (6, 384)}
RECURRENT = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU}
WORDS = 1000
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
    if name in RECURRENT:
        return TextClassifier(RECURRENT[name])
    if name in VIT:
        heads, width = VIT[name]
        return torchvision.models.VisionTransformer(224, 16, 12, heads, width, 4 * width)
    model = torchvision.models.get_model(name, weights=None)
    for module in model.modules():
        # Dropout and stochastic depth draw numbers of their own: without them all sides compute the same losses.
        if isinstance(module, (torch.nn.Dropout, torchvision.ops.StochasticDepth)):
            module.p = 0.0
    return model


class TextClassifier(torch.nn.Module):
    """Embedding, two recurrent layers of 256 units, and classes from the last state."""

    def __init__(self, layer: type[torch.nn.RNNBase]):
        super().__init__()
        self.embedding = torch.nn.Embedding(WORDS, 256)
        self.layers = layer(256, 256, num_layers=2)
        self.head = torch.nn.Linear(256, CLASSES)

    def forward(self, tokens):
        states, _ = self.layers(self.embedding(tokens).transpose(0, 1))
        return self.head(states[-1])


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
    if name in RECURRENT:
        return {"tokens": torch.randint(0, WORDS, (batch, size))}, labels
    if name in BERT:
        tokens = torch.randint(0, 30000, (batch, size))
        return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}, labels
    return {"input": torch.randn(batch, 3, size, size)}, labels


def export(name: str, batch: int, size: int, folder: pathlib.Path) -> None:
    """Writes model.onnx, a file for each tensor of the batch, and batch.json, which describes them."""
    model = make_model(name).eval()
    inputs, labels = make_batch(name, batch, size)
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
    for port, tensor in [*inputs.items(), ("target", labels)]:
        (folder / f"{port}.bin").write_bytes(tensor.numpy().tobytes())
        described.append({"name": port, "dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape)})
    (folder / "batch.json").write_text(json.dumps({"inputs": described[:-1], "target": described[-1]}))
