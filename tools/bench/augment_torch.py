"""torchvision's side of augment.ts: answers each line of its input, the name of a stage, with one round of it.

    python augment_torch.py --folder DIR --size 224 --batch 32
"""

import argparse
import json
import pathlib
import sys
import time

import torch
import torchvision
from PIL import Image
from torchvision.transforms import v2

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def load(path):
    return Image.open(path).convert("RGB")


def chain(size, *middle):
    return v2.Compose(
        [
            v2.RandomResizedCrop(size),
            v2.RandomHorizontalFlip(),
            *middle,
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(MEAN, STD),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--batch", type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(1)
    files = sorted(pathlib.Path(args.folder).rglob("*.jpg"))
    chains = {
        "crop": chain(args.size),
        "jitter": chain(args.size, v2.ColorJitter(0.4, 0.4, 0.4, 0.1)),
        "rand-augment": chain(args.size, v2.RandAugment(2, 9)),
    }
    mixup = v2.MixUp(alpha=0.2, num_classes=2)

    def decode():
        for file in files:
            load(file)

    def batches(transform, mix=None):
        for start in range(0, len(files), args.batch):
            part = files[start : start + args.batch]
            images = torch.stack([transform(load(file)) for file in part])
            if mix:
                mix(images, torch.zeros(len(part), dtype=torch.int64))

    stages = {"decode": decode, "mixup": lambda: batches(chains["crop"], mixup)}
    stages |= {name: lambda transform=transform: batches(transform) for name, transform in chains.items()}
    print(json.dumps({"ready": True, "version": torchvision.__version__}), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        stages[line.strip()]()
        print(json.dumps({"seconds": time.perf_counter() - start, "samples": len(files)}), flush=True)


main()
