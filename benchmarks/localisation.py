"""How often what a model points at is the finding: peaks of its maps, or of occlusion, against known masks.

    python benchmarks/localisation.py MODEL DATASET [--by-occlusion] [--split test] [--output localisation.json]
    needs: pip install slicewise[train]

Only slices count that have the label, are flagged for it by the model, and have a mask of it. "By chance"
is a place taken at random where there is a body. Occlusion is far slower: a slice takes some thirty encodings.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec

from slicewise import Detector
from slicewise.data.store import Dataset
from slicewise.errors import SlicewiseError
from slicewise.evaluation.evaluate import RESAMPLES
from slicewise.evaluation.localisation import find_peaks, localisation_table, localise, with_masks
from slicewise.evaluation.model_card import MeasuredLocalisation
from slicewise.evaluation.scoring import select_records
from slicewise.files import write_bytes_atomically


def measure(arguments: argparse.Namespace) -> None:
    detector, dataset = Detector.load(arguments.model), Dataset.open(arguments.dataset)
    records = with_masks(dataset, select_records(detector, dataset, arguments.split))
    peaks = find_peaks(detector, dataset, records, by_occlusion=arguments.by_occlusion)
    found = localise(peaks, dataset.task.label_names, resamples=arguments.resamples)
    print("\n".join(localisation_table(found)))
    if arguments.output is not None:
        measured = MeasuredLocalisation(detector.package.digest, found.labels)
        write_bytes_atomically(arguments.output, msgspec.json.format(msgspec.json.encode(measured), indent=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="shipped model, model package or run folder")
    parser.add_argument("dataset", type=Path, help="prepared dataset with masks")
    parser.add_argument("--split", choices=("test", "all"), default="test")
    parser.add_argument("--by-occlusion", action="store_true", help="search by occlusion although there are maps")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the shares as JSON, for `slicewise package`")
    arguments = parser.parse_args()
    try:
        measure(arguments)
    except SlicewiseError as error:
        raise SystemExit(f"localisation: {error}") from error


if __name__ == "__main__":
    main()
