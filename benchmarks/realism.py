"""How much the phantom looks like real head CT: the same measures of both, as a table and as pictures.

Both go through slicewise's own path: a Volume, then preprocess. Measured between the vertex and the skull base, where
the shading correction finds brain:

- HU within the skull once its shading is corrected, and how much of it is cerebrospinal fluid, near the bone (sulci)
  and deep (ventricles)
- noise of the most even patches of brain: its SD and its power over spatial frequency
- correlation of each slice with the next one, of the brain and of the noise alone
- edge of the inner table, and brain by its distance to the bone (cupping)

python benchmarks/realism.py SCANS [--studies 8] [--seed 1] [--output realism] [--set KEY=VALUE]
needs: pip install slicewise[plots]
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import pyplot as plt
from PIL import Image
from scipy import ndimage

from slicewise.imaging.inventory import take_inventory
from slicewise.imaging.load import load_volume
from slicewise.imaging.preprocess import preprocess
from slicewise.imaging.series import choose_series
from slicewise.imaging.shading import NODE_MM, Cupping, correct_shading, fit_cupping
from slicewise.imaging.skull import BONE_HU, Skull, find_skull
from slicewise.phantom.parameters import PhantomParameters, override_parameters
from slicewise.phantom.study import generate_study
from slicewise.task import PreprocessingParameters, load_task
from slicewise.volume import FloatImages, Volume

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

GRID = PreprocessingParameters(
    pixel_mm=1.0, size=208, slab_mm=5.0, body_threshold=-200.0, opening_mm=8.0, head_box="skull"
)
HU_EDGES = np.arange(-10.0, 81.0, 2.0)
FLUID_HU = 15.0
DEPTH_EDGES_MM = np.array([2.5, 4.0, 6.0, 8.0, 10.0, 13.0, 16.0, 20.0, 25.0, 30.0, 40.0])
DEPTH_MM = (DEPTH_EDGES_MM[1:] + DEPTH_EDGES_MM[:-1]) / 2
EDGE_MM = np.arange(-6.0, 6.25, 0.5)
FREQUENCIES = np.arange(0.05, 1.05, 0.05)
PATCH_MM = 12.0
LEVELS = (0.30, 0.42, 0.54, 0.66, 0.78, 0.90)
WINDOWS = {"brain 40/80": (40.0, 80.0), "subdural 80/200": (80.0, 200.0), "bone 600/2800": (600.0, 2800.0)}


@dataclass(frozen=True, eq=False)
class Measures:
    """What is measured of one series.

    Attributes:
        numbers: One figure a measure.
        histogram: Density of HU within the skull, over `HU_EDGES`.
        by_depth: Median HU of brain over `DEPTH_EDGES_MM` from the bone.
        edge: Median HU over `EDGE_MM` from the surface of the bone, brain on the positive side.
        noise_power: Radial noise power in HU^2 mm^2 over `FREQUENCIES` a mm.
    """

    numbers: Mapping[str, float]
    histogram: Floats
    by_depth: Floats
    edge: Floats
    noise_power: Floats


def measure(volume: Volume) -> Measures:
    prepared = preprocess(volume, GRID)
    values = prepared.values.astype(np.float32)
    skull = find_skull(values, prepared.positions_mm, (1.0, 1.0), NODE_MM)
    cupping = fit_cupping(skull) or Cupping(np.nan, np.nan, np.nan)
    flat, _ = correct_shading(values, prepared.positions_mm, 1.0, limit_hu=40.0, deep_hu=30.0, deep_limit_hu=15.0)
    levels = skull.brain_slices
    inside, distance = on_pixels(skull, skull.inside)[levels] > 0.5, on_pixels(skull, skull.distance_mm)[levels]
    images, flat = (field[levels][:, : inside.shape[1], : inside.shape[2]] for field in (values, flat))
    within = inside & (distance > 2.5)
    fluid = (flat < FLUID_HU) & (flat > -20)
    brain = within & (flat > FLUID_HU) & (flat < 80)
    density = np.histogram(flat[within], HU_EDGES, density=True)[0]
    edge = edge_profile(volume)
    noise_sd, noise_power = noise(volume)
    detail = images - ndimage.gaussian_filter(images, (0, 2.0, 2.0))
    numbers = {
        "flat HU within the skull, most frequent": float(HU_EDGES[density.argmax()] + 1.0),
        "flat HU within the skull, 10th percentile": float(np.quantile(flat[within], 0.1)),
        "flat HU within the skull, 90th percentile": float(np.quantile(flat[within], 0.9)),
        "fluid within 15 mm of the bone, %": 100 * float(fluid[within & (distance < 15)].mean()),
        "fluid deeper than that, %": 100 * float(fluid[within & (distance >= 15)].mean()),
        "noise SD of even brain, HU": noise_sd,
        "mean frequency of the noise, 1/mm": float(FREQUENCIES @ (noise_power * FREQUENCIES))
        / float(FREQUENCIES @ noise_power),
        "correlation of the brain with the next slice": correlation(flat, brain),
        "correlation of the noise with the next slice": correlation(detail, brain & (distance > 15)),
        "distance between slices, mm": float(np.median(np.diff(prepared.positions_mm))),
        "highest HU of the skull's edge": float(np.nanmax(edge)),
        "inner table: 500 to 100 HU within, mm": width(edge, 500.0, 100.0),
        "cupping: excess at the bone, HU": cupping.excess_hu,
        "cupping: decay, mm": cupping.decay_mm,
        "brain far from the bone, HU": cupping.deep_hu,
    }
    return Measures(numbers, density, by_depth(images, brain, distance), edge, noise_power)


def on_pixels(skull: Skull, field: npt.NDArray[np.generic]) -> FloatImages:
    """Every node's value on each of its pixels."""
    rows, columns = skull.pixels_a_node
    return np.repeat(np.repeat(field.astype(np.float32), rows, axis=1), columns, axis=2)


def by_depth(images: FloatImages, brain: Mask, distance: FloatImages) -> Floats:
    rings = [brain & (distance > low) & (distance <= high) for low, high in pairwise(DEPTH_EDGES_MM)]
    return np.array([np.median(images[ring]) if ring.sum() > 50 else np.nan for ring in rings])


def correlation(images: FloatImages, mask: Mask) -> float:
    found = []
    for index in range(len(images) - 1):
        both = mask[index] & mask[index + 1]
        if both.sum() > 500:
            found.append(np.corrcoef(images[index][both], images[index + 1][both])[0, 1])
    return float(np.mean(found)) if found else float("nan")


def original_brain_slices(volume: Volume) -> tuple[FloatImages, Mask, FloatImages]:
    """The slices through the middle of the brain as they were read, what the skull encloses, its distance to bone."""
    skull = find_skull(volume.values, volume.positions_mm, volume.pixel_spacing_mm, NODE_MM)
    chosen = skull.brain_slices
    inside, distance = on_pixels(skull, skull.inside)[chosen] > 0.5, on_pixels(skull, skull.distance_mm)[chosen]
    return volume.values[chosen, : inside.shape[1], : inside.shape[2]], inside, distance


def edge_profile(volume: Volume) -> Floats:
    images, inside, distance = original_brain_slices(volume)
    profiles = []
    for image, enclosed, far in zip(images, inside, distance, strict=True):
        bone = image > BONE_HU
        spacing = volume.pixel_spacing_mm
        beyond, within = (ndimage.distance_transform_edt(side, sampling=spacing) for side in (~bone, bone))
        signed = np.where(bone, spacing[0] / 2 - within, beyond - spacing[0] / 2)
        # The inner side of the bone: the nearest enclosed place is nearer than the outside.
        inner = ndimage.distance_transform_edt(~(enclosed & (far > 3)), sampling=spacing) < 10
        place = np.rint((signed[inner] - EDGE_MM[0]) / 0.5).astype(int)
        usable = (place >= 0) & (place < len(EDGE_MM))
        total, count = (
            np.bincount(place[usable], weights=weights, minlength=len(EDGE_MM))
            for weights in (image[inner][usable], None)
        )
        profiles.append(np.where(count > 20, total / np.maximum(count, 1), np.nan))
    return np.median(profiles, axis=0).astype(np.float64)


def width(edge: Floats, high: float, low: float) -> float:
    """Distance over which the edge falls from one value to another."""
    known = np.flatnonzero(np.isfinite(edge))
    known = known[known >= np.nanargmax(edge)]
    falling, at = edge[known], EDGE_MM[known]
    return float(np.interp(-low, -falling, at) - np.interp(-high, -falling, at))


def noise(volume: Volume) -> tuple[float, Floats]:
    """SD and radial power of the noise in the most even fifth of the patches of brain far from the bone."""
    images, inside, distance = original_brain_slices(volume)
    spacing = volume.pixel_spacing_mm[0]
    side = round(PATCH_MM / spacing)
    patches = []
    for image, enclosed, far in zip(images, inside, distance, strict=True):
        usable = enclosed & (far > 12)
        for row in range(0, image.shape[0] - side, side // 2):
            for column in range(0, image.shape[1] - side, side // 2):
                window = (slice(row, row + side), slice(column, column + side))
                if usable[window].all() and 10 < np.median(image[window]) < 55:
                    patches.append(without_slope(image[window]))
    if not patches:
        return float("nan"), np.full(len(FREQUENCIES), np.nan)
    stack = np.array(patches)
    spread = stack.std(axis=(1, 2))
    stack = stack[spread <= np.quantile(spread, 0.2)]
    power = (np.abs(np.fft.fft2(stack)) ** 2).mean(axis=0) * spacing**2 / side**2
    frequency = np.fft.fftfreq(side, spacing)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radial = [power[np.abs(radius - at) < 0.04].mean() for at in FREQUENCIES]
    return float(np.median(stack.std(axis=(1, 2)))), np.array(radial)


def without_slope(patch: FloatImages) -> Floats:
    rows, columns = np.mgrid[: patch.shape[0], : patch.shape[1]] - (patch.shape[0] - 1) / 2
    centred = patch - patch.mean(dtype=np.float64)
    for axis in (rows, columns):
        centred = centred - axis * (centred * axis).sum() / (axis**2).sum()
    return np.asarray(centred, dtype=np.float64)


def real_volumes(path: Path) -> list[Volume]:
    task = load_task("ich")
    with take_inventory([path]) as inventory:
        return [
            load_volume(decision.series)[0]
            for study in inventory.studies()
            for decision in choose_series(study, task.series)
            if decision.chosen
        ]


def print_table(real: Sequence[Measures], phantom: Sequence[Measures]) -> None:
    print(f"| measure | real ({len(real)}) | phantom ({len(phantom)}): median | lowest to highest |")
    print("|---|---|---|---|")
    for name in real[0].numbers:
        theirs = np.median([item.numbers[name] for item in real])
        ours = np.array([item.numbers[name] for item in phantom])
        print(f"| {name} | {theirs:.2f} | {np.nanmedian(ours):.2f} | {np.nanmin(ours):.2f} to {np.nanmax(ours):.2f} |")


def draw_curves(real: Sequence[Measures], phantom: Sequence[Measures], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(8.4, 6.0), layout="constrained")
    panels = (
        ("histogram", HU_EDGES[:-1] + 1.0, "HU within the skull, shading corrected", "density", (-10, 80), None),
        ("by_depth", DEPTH_MM, "distance to the bone, mm", "brain, HU", (0, 36), None),
        ("edge", EDGE_MM, "distance to the surface of the bone, mm", "HU", (-6, 6), None),
        ("noise_power", FREQUENCIES, "spatial frequency, 1/mm", "noise power, HU² mm²", (0, 1), "log"),
    )
    for axis, (name, across, label, up, limits, scale) in zip(axes.flat, panels, strict=True):
        for item in phantom:
            axis.plot(across, getattr(item, name), color="tab:blue", alpha=0.35, linewidth=1)
        for item in real:
            axis.plot(across, getattr(item, name), color="black", linewidth=2)
        axis.set(xlabel=label, ylabel=up, xlim=limits)
        if scale:
            axis.set_yscale(scale)
    axes.flat[0].plot([], [], color="black", linewidth=2, label="real")
    axes.flat[0].plot([], [], color="tab:blue", label="phantom")
    axes.flat[0].legend(frameon=False)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def draw_slices(volumes: Sequence[Volume], window: tuple[float, float], path: Path) -> None:
    """One row a series, slices at the same height between the lowest and the highest one that shows skull."""
    rows = []
    for volume in volumes:
        values = preprocess(volume, GRID).values.astype(np.float32)
        skull = np.flatnonzero((values > BONE_HU).sum(axis=(1, 2)) > 800)
        chosen = [round(skull[0] + share * (skull[-1] - skull[0])) for share in LEVELS]
        grey = np.clip((values[chosen] - window[0]) / window[1] + 0.5, 0, 1)
        rows.append(np.concatenate(list(grey), axis=1))
    sheet = np.rint(31 * np.concatenate(rows)) * (255 / 31)  # 32 levels: the files stay small
    height, width_px = sheet.shape
    picture = Image.fromarray(sheet.astype(np.uint8)).resize((width_px * 5 // 8, height * 5 // 8), Image.Resampling.BOX)
    picture.quantize(32).save(path, optimize=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("--studies", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("realism"))
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as of slicewise phantom")
    arguments = parser.parse_args()
    real = real_volumes(arguments.scans)
    parameters = override_parameters(PhantomParameters(), ["hemorrhage.positive_share=0.0", *arguments.set])
    phantom = [generate_study(arguments.seed, index, parameters).volume for index in range(arguments.studies)]
    arguments.output.mkdir(parents=True, exist_ok=True)
    theirs, ours = [measure(volume) for volume in real], [measure(volume) for volume in phantom]
    print_table(theirs, ours)
    draw_curves(theirs, ours, arguments.output / "realism-curves.png")
    for name, window in WINDOWS.items():
        draw_slices([*real[:1], *phantom[:3]], window, arguments.output / f"realism-{name.split()[0]}.png")


if __name__ == "__main__":
    main()
