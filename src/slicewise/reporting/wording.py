"""Results in plain words and as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from slicewise.results import ModelSummary, SeriesResult, SliceResult


@dataclass(frozen=True)
class Summary:
    """What was found in one series, in plain words.

    Attributes:
        lead: The one sentence to read.
        findings: One sentence a flagged label.
        rest: One sentence about the labels that were not flagged, "" if there are none.
    """

    lead: str
    findings: tuple[str, ...]
    rest: str


def summarise(series: SeriesResult, model: ModelSummary, *, positions_in_mm: bool) -> Summary:
    """Says which labels reached their threshold, on which slices, and how probable they are at most."""
    findings, rest = [], []
    for label, display in zip(model.labels, model.displays, strict=True):
        top = max(series.slices, key=lambda item: item.probabilities[label])
        where = slice_name(top, positions_in_mm=positions_in_mm)
        highest = probability_text(top.probabilities[label])
        flagged = [item.slice_index for item in series.slices if label in model.flagged(item.probabilities)]
        if flagged:
            findings.append(
                f"{display}: flagged on {len(flagged)} of {slices_text(len(series.slices))} "
                f"(index {ranges_text(sorted(flagged))}), highest probability {highest} at {where}."
            )
        else:
            threshold = probability_text(model.thresholds[label])
            rest.append(f"{display} (highest {highest} at {where}, threshold {threshold})")
    count = sum(bool(model.flagged(item.probabilities)) for item in series.slices)
    total = slices_text(len(series.slices))
    if not findings:
        return Summary(f"No label reached its threshold on any of {total}.", (), f"Not flagged: {'; '.join(rest)}.")
    return Summary(
        f"At least one label reached its threshold on {count} of {total}.",
        tuple(findings),
        f"Not flagged on any slice: {'; '.join(rest)}." if rest else "",
    )


def slice_name(item: SliceResult, *, positions_in_mm: bool) -> str:
    """Returns the index of a slice, with its position where that is known in mm."""
    return f"index {item.slice_index}" + (f" ({item.position_mm:.1f} mm)" if positions_in_mm else "")


def slices_text(count: int) -> str:
    """Returns a number of slices.

    >>> slices_text(1), slices_text(28)
    ('1 slice', '28 slices')
    """
    return f"{count} slice{'' if count == 1 else 's'}"


def probability_text(probability: float) -> str:
    """Returns a probability with three decimals; rounding never turns it into 0 or 1.

    >>> probability_text(0.9312), probability_text(0.99996), probability_text(0.0002)
    ('0.931', '>0.999', '<0.001')
    """
    if 0.999 < probability < 1:
        return ">0.999"
    if 0 < probability < 0.001:
        return "<0.001"
    return f"{probability:.3f}"


def ranges_text(indices: Iterable[int]) -> str:
    """Returns ascending indices with runs drawn together.

    >>> ranges_text([3, 10, 11, 12, 14, 15])
    '3, 10 to 12, 14 to 15'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ", ".join(_run_text(run) for run in runs)


def _run_text(run: Sequence[int]) -> str:
    return str(run[0]) if len(run) == 1 else f"{run[0]} to {run[-1]}"
