"""What makes a training step of stage 1 quick on the CPU.

    python benchmarks/cpu_step.py ENCODER ... [--size 208] [--batch 32] [--steps 10] [--rounds 3]

Bare steps on one random batch in four ways, in turn, each in a process of its own: float32; bfloat16; bfloat16 with
depthwise convolutions in float32; the same with an allocator that keeps freed memory, as `slicewise train` runs.
"""

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import torch
from torch.nn import functional

from slicewise.config import EncoderConfig
from slicewise.models.depthwise import keep_depthwise_in_float32
from slicewise.models.encoder import build_encoder
from slicewise.training.allocator import keep_freed_memory

LABELS = 6
WARM_UP = 2


class Way(NamedTuple):
    """How a step runs."""

    name: str
    bfloat16: bool = True
    depthwise_float32: bool = False
    keeps_memory: bool = False


WAYS = (
    Way("float32", bfloat16=False),
    Way("bfloat16"),
    Way("depthwise float32", depthwise_float32=True),
    Way("and memory kept", depthwise_float32=True, keeps_memory=True),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="+", metavar="ENCODER", help="name of timm")
    parser.add_argument("--size", type=int, default=208, help="rows and columns (%(default)s)")
    parser.add_argument("--batch", type=int, default=32, help="slices a step (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="of every measurement (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    arguments = parser.parse_args()
    print(f"slices/s, {torch.get_num_threads()} threads, batch {arguments.batch}, {arguments.size} px")
    print(f"| encoder | {' | '.join(way.name for way in WAYS)} | last / second |")
    print("|---|" + "---|" * (len(WAYS) + 1))
    for encoder in arguments.encoders:
        found = [
            [in_its_own_process(way, encoder, arguments.size, arguments.batch, arguments.steps) for way in WAYS]
            for _ in range(arguments.rounds)
        ]
        rates = " | ".join(f"{statistics.median(values):.1f}" for values in zip(*found, strict=True))
        gain = statistics.median(values[-1] / values[1] for values in found)
        print(f"| `{encoder}` | {rates} | {gain:.2f} |", flush=True)


def in_its_own_process(way: Way, encoder: str, size: int, batch: int, steps: int) -> float:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(slices_a_second, way, encoder, size, batch, steps).result()


def slices_a_second(way: Way, encoder: str, size: int, batch: int, steps: int) -> float:
    if way.keeps_memory:
        keep_freed_memory()
    network = build_encoder(EncoderConfig(name=encoder, pooling="gem"), channels=3, size=size, labels=LABELS)
    network = network.train().to(memory_format=torch.channels_last)
    if way.depthwise_float32:
        keep_depthwise_in_float32(network)
    channels = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.rand(batch, LABELS).round()
    for step in range(WARM_UP + steps):
        if step == WARM_UP:
            begun = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=way.bfloat16):
            outputs = network(channels)
        assert outputs.maps is not None
        of_labels = functional.binary_cross_entropy_with_logits(outputs.slice_logits.float(), labels)
        (of_labels + outputs.maps.float().sigmoid().mean()).backward()
        network.zero_grad(set_to_none=True)
    return steps * batch / (time.perf_counter() - begun)


if __name__ == "__main__":
    main()
