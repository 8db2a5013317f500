"""What the shading correction leaves of cupping and takes from blood: pairs of phantoms that differ in one thing.

Printed is the difference of brain by its distance to the bone, over phantoms without blood, between a head with and the
same without cupping, as the network sees them with and without the correction: mean, and in brackets mean of the
absolute value. Then how far subdural and epidural blood changes what is subtracted.

    python benchmarks/shading.py [--studies 8] [--seed 77]
"""

from __future__ import annotations

import argparse
from itertools import pairwise

import msgspec
import numpy as np
import numpy.typing as npt

from slicewise.imaging.preprocess import ModelInput, preprocess
from slicewise.imaging.skull import find_skull
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import generate_study
from slicewise.task import load_task
from slicewise.volume import Volume

EDGES_MM = (1, 3, 6, 10, 15, 20, 30)
LEVELS = ((12.0, 8.0), (26.0, 13.0))
QUIET = (
    "geometry.matrix=256",
    "geometry.thin=0",
    "geometry.medium=0",
    "physics.noise_hu=[2.5, 2.5]",
    *(f"physics.{name}=0" for name in ("cupping", "hardening", "shading_hu", "offset_hu", "motion", "jump")),
)
CORRECTED = load_task("ich").preprocessing
PLAIN = msgspec.structs.replace(CORRECTED, cupping_limit_hu=0.0, deep_brain_limit_hu=0.0)
Values = npt.NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=8, help="pairs of every row (%(default)s)")
    parser.add_argument("--seed", type=int, default=77, help="(%(default)s)")
    arguments = parser.parse_args()
    spans = [f"{low}-{high} mm" for low, high in pairwise(EDGES_MM)]
    print(f"| distance to the bone | {' | '.join(spans)} |\n|{'---|' * (len(spans) + 1)}")
    for height, decay in LEVELS:
        cupped = (
            "physics.cupping=1",
            f"physics.cupping_hu=[{height}, {height}]",
            f"physics.cupping_decay_mm=[{decay}, {decay}]",
        )
        rows = [differences(arguments.seed, index, cupped) for index in range(arguments.studies)]
        for place, name in enumerate(("before", "after")):
            cells = [
                f"{np.mean(values):.1f} ({np.mean(np.abs(values)):.1f})"
                for values in (np.concatenate([row[place][span] for row in rows]) for span in range(len(spans)))
            ]
            print(f"| {height:g} HU, {decay:g} mm: {name} | {' | '.join(cells)} |")
    changes = [blood_change(arguments.seed, index) for index in range(arguments.studies)]
    print(f"blood beside the bone changes what is subtracted (mean at a distance) by {max(changes):.1f} HU at most")


def differences(seed: int, index: int, changes: tuple[str, ...]) -> tuple[list[Values], list[Values]]:
    """Returns, without and with the correction, the differences of brain in every span of distances."""
    without = volume(seed, index, ("hemorrhage.positive_share=0",))
    cupped = volume(seed, index, ("hemorrhage.positive_share=0", *changes))
    reference = preprocess(without, PLAIN)
    brain, distance = brain_of(reference)
    found = []
    for parameters in (PLAIN, CORRECTED):
        pair = [preprocess(one, parameters).values.astype(np.float64) for one in (without, cupped)]
        found.append(by_distance((pair[1] - pair[0])[brain], distance))
    return found[0], found[1]


def blood_change(seed: int, index: int) -> float:
    """Returns the mean difference of what is subtracted from brain, with and without blood beside the bone."""
    cupped = ("physics.cupping=1", "physics.cupping_hu=[15, 15]")
    bleeding = ("hemorrhage.positive_share=1", 'hemorrhage.subtypes=["subdural", "epidural"]')
    subtracted = []
    for changes in (("hemorrhage.positive_share=0",), bleeding):
        scan = volume(seed, index, (*cupped, *changes))
        before, after = (preprocess(scan, parameters) for parameters in (PLAIN, CORRECTED))
        brain, distance = brain_of(before)
        taken = (before.values - after.values).astype(np.float64)[brain]
        subtracted.append(np.array([values.mean() for values in by_distance(taken, distance)]))
    return float(np.abs(subtracted[1] - subtracted[0]).max())


def volume(seed: int, index: int, changes: tuple[str, ...]) -> Volume:
    return generate_study(seed, index, override_parameters(PhantomParameters(), (*QUIET, *changes))).volume


def brain_of(model_input: ModelInput) -> tuple[npt.NDArray[np.bool_], Values]:
    """Returns which pixels are brain, and their distances to the bone."""
    pixel_mm = PLAIN.pixel_mm
    values = model_input.values.astype(np.float32)
    skull = find_skull(values, model_input.positions_mm, (pixel_mm, pixel_mm), node_mm=pixel_mm)  # a pixel a node
    brain = skull.inside & (values > 15) & (values < 60) & skull.brain_slices[:, None, None]
    return brain, skull.distance_mm[brain].astype(np.float64)


def by_distance(values: Values, distance: Values) -> list[Values]:
    spans = pairwise(EDGES_MM)
    return [values[(distance >= low) & (distance < high)] for low, high in spans]


if __name__ == "__main__":
    main()
