"""`slicewise models`: what is installed, and a model's card."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from slicewise.cli.common import add_common_options
from slicewise.cli.terminal import printable

if TYPE_CHECKING:
    from slicewise.evaluation.model_card import Card
    from slicewise.package import ModelPackage

EPILOG = """\
example:
  slicewise models
  slicewise models runs/first
  slicewise models ich-phantom-small --json
"""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds `models`."""
    parser = subparsers.add_parser(
        "models",
        help="list the shipped models, or show a model's card",
        description="List the models that ship with slicewise, or show the card of one MODEL.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", nargs="?", metavar="NAME", help="shipped model, model package or run folder")
    parser.add_argument("--json", action="store_true", help="machine-readable output")
    add_common_options(parser)
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Runs `models`."""
    import json

    from slicewise.package import DEFAULT_MODEL, load_package, shipped_models

    if arguments.name is not None:
        package = load_package(arguments.name)
        if arguments.json:
            print(json.dumps(_content(package), indent=1))
        else:
            # Words of a package are those of whoever made it: none of them may steer the terminal.
            for line in _card(package):
                print(printable(line))
        return 0
    packages = [load_package(name) for name in shipped_models()]
    if arguments.json:
        print(json.dumps([_content(package) for package in packages], indent=1))
        return 0
    for package in packages:
        manifest = package.manifest
        default = " (default)" if manifest.name == DEFAULT_MODEL else ""
        print(f"{manifest.name}{default}  version {manifest.version}: {manifest.task.title}")
    return 0


def _content(package: ModelPackage) -> dict[str, object]:
    import msgspec

    content = msgspec.to_builtins(package.manifest)
    # Hashes of patients, studies and images are for `evaluate` and `train` alone, not for lists and logs.
    for name in ("seen_patients", "seen_content"):
        content["provenance"].pop(name, None)
    card = _read_card(package)
    measured = {} if card is None else {"card": msgspec.to_builtins(card)}
    return {"digest": package.digest, "bytes": _size(package), **content, **measured}


def _read_card(package: ModelPackage) -> Card | None:
    from slicewise.package import CARD

    if CARD not in package.files:  # then nothing heavy is loaded
        return None
    from slicewise.evaluation.model_card import read_card

    return read_card(package)


def _size(package: ModelPackage) -> int:
    return sum(len(content) for content in package.files.values())


def _card(package: ModelPackage) -> Iterator[str]:
    manifest = package.manifest
    task, provenance = manifest.task, manifest.provenance
    yield f"{manifest.name}, version {manifest.version}"
    yield f"  task            {task.title} ({task.name})"
    yield f"  labels          {', '.join(task.label_names)}"
    windows = ", ".join(f"{item.name} {item.center:g}/{item.width:g}" for item in task.channels)
    yield f"  input           windows {windows}, in {task.preprocessing.unit}"
    pooling = f", {manifest.encoder.pooling} pooling" if manifest.encoder.pooling else ""
    yield f"  stage 1         {manifest.encoder.name}{pooling}, descriptors of {manifest.descriptor_size}"
    fusion = manifest.fusion
    members = f", mean of {fusion.members} members" if fusion.members > 1 else ""
    chain = ", Markov chain along the axis" if fusion.chain else ""
    yield f"  stage 2         {fusion.name} on {fusion.inputs} inputs{members}{chain}"
    yield f"  size            {_size(package) / 1e6:.1f} MB, weights in {manifest.weights}"
    yield f"  trained on      {provenance.trained_on}"
    yield f"  patients        {', '.join(f'{count} {part}' for part, count in provenance.patients.items())}"
    yield f"  dataset digest  {provenance.dataset_digest}"
    yield f"  trained with    {', '.join(f'{name} {version}' for name, version in provenance.versions.items())}"
    yield f"  intended use    {task.intended_use}"
    for limitation in manifest.limitations:
        yield f"  limitation      {limitation}"
    yield f"  thresholds      {_listed(manifest.thresholds)}"
    yield f"                  set by: {manifest.threshold_rule}"
    if manifest.study_thresholds:
        yield f"  of studies      {_listed(manifest.study_thresholds)}"
        yield f"                  set by: {manifest.study_threshold_rule}"
    for name, value in manifest.metrics.items():
        yield f"  {name}: {value:.4f}"
    yield f"  licence         {manifest.license}"
    yield f"  digest          {package.digest}"
    yield from _measured(package)


def _listed(thresholds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in thresholds.items())


def _measured(package: ModelPackage) -> Iterator[str]:
    card = _read_card(package)
    if card is None:
        return
    from slicewise.evaluation.card_text import card_text

    yield ""
    yield from card_text(card, package.manifest.task, package.manifest.calibration).splitlines()
    notice = package.files.get("NOTICE", b"").decode("utf-8", errors="replace")
    if notice:
        yield ""
        yield from notice.splitlines()
