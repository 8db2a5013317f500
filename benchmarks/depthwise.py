"""What a step of stage 1 gains on the CPU when depthwise convolutions stay in float32 under bfloat16.

Bare training steps on one random batch, in turn: float32, bfloat16, bfloat16 with depthwise convolutions in float32.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from slicewise.config import EncoderConfig
from slicewise.models.depthwise import keep_depthwise_in_float32
from slicewise.models.encoder import build_encoder

LABELS = 6
ROUNDS = 3
# bfloat16, and depthwise convolutions kept in float32.
WAYS = ((False, False), (True, False), (True, True))


def main() -> None:
    """Prints slices a second and ratios as a row of a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("encoders", nargs="+", help="names of timm")
    parser.add_argument("--size", type=int, default=208, help="rows and columns (208)")
    parser.add_argument("--batch", type=int, default=32, help="slices a step (32)")
    parser.add_argument("--steps", type=int, default=10, help="steps of every measurement (10)")
    arguments = parser.parse_args()
    print(f"{torch.get_num_threads()} threads, batch {arguments.batch}, {arguments.size} px, {ROUNDS} rounds")
    print("| encoder | float32 | bfloat16 | bfloat16, depthwise float32 | gain over bfloat16 | over float32 |")
    print("|---|---|---|---|---|---|")
    for name in arguments.encoders:
        rates = measure(name, arguments.size, arguments.batch, arguments.steps)
        full, half, kept = (statistics.median(values) for values in rates)
        print(
            f"| `{name}` | {full:.1f} | {half:.1f} | {kept:.1f} | {kept / half:.2f} | {kept / full:.2f} |", flush=True
        )


def measure(name: str, size: int, batch: int, steps: int) -> tuple[list[float], ...]:
    """Returns slices a second of the three ways, one value a round."""
    ways = [step_of(name, size, batch, bfloat16=bfloat16, kept=kept) for bfloat16, kept in WAYS]
    rates: tuple[list[float], ...] = tuple([] for _ in ways)
    for _ in range(ROUNDS):
        for step, found in zip(ways, rates, strict=True):
            step()
            begun = time.perf_counter()
            for _ in range(steps):
                step()
            found.append(steps * batch / (time.perf_counter() - begun))
    return rates


def step_of(name: str, size: int, batch: int, *, bfloat16: bool, kept: bool) -> Callable[[], None]:
    """Returns what runs one step, forward and backward."""
    network = build_encoder(EncoderConfig(name=name, pooling="gem"), channels=3, size=size, labels=LABELS)
    network = network.train().to(memory_format=torch.channels_last)
    if kept:
        keep_depthwise_in_float32(network)
    channels = torch.rand(batch, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.rand(batch, LABELS).round()

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            outputs = network(channels)
        loss = functional.binary_cross_entropy_with_logits(outputs.slice_logits.float(), labels)
        assert outputs.maps is not None
        loss = loss + outputs.maps.float().sigmoid().mean()
        network.zero_grad(set_to_none=True)
        loss.backward()

    return step


if __name__ == "__main__":
    main()
