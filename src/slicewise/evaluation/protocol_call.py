"""What an evaluation protocol is called with, and what it does then, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from slicewise.errors import UsageError
from slicewise.evaluation.evaluate import RESAMPLES
from slicewise.evaluation.published import ProtocolName
from slicewise.evaluation.triage import ReadingRoom

DEFAULT_HOLDOUT = 0.2
"""Share of the patients that the protocol rsna scores."""

TITLES: Mapping[ProtocolName, str] = {
    "rsna": "RSNA 2019: slices of patients held out of the challenge's training files",
    "cq500": "CQ500: studies by the majority of three readers",
    "bhx": "BHX: slices of CQ500 by boxes and readers",
}

_SHARED_STEPS = (
    "Every series was preprocessed as in prediction, and every original slice scored.",
    "The score of a study is the highest of its slices (Ngo et al. 2022).",
)
_UNSEEN = "the package of the model remembers none of them"
_ALL_SCORED = f"Every patient with a series that could be read was scored; {_UNSEEN}."
_CHALLENGE = "Labels are the challenge's, one a slice and finding; where its rows contradict each other it is unknown."
_BOXES = (
    "A slice with a box is positive. One without is unknown, but negative for what most readers deny for its study."
)
_MAJORITY = "The label of a study is what most of three readers say; a tie is unknown."


@dataclass(frozen=True)
class ProtocolCall:
    """What a protocol is called with.

    Attributes:
        protocol: Its name.
        images: Files and folders.
        labels: Label file: of the challenge (rsna), reads.csv (cq500), boxes (bhx).
        output: Folder of everything that comes out; the prepared dataset is kept there for a later call.
        reads: reads.csv of CQ500, for bhx.
        holdout: Share of the patients that rsna scores, None for `DEFAULT_HOLDOUT`; the other protocols score all.
        seed: Seeds the split and the resamples.
        series_list: `series_used.csv` of another evaluation: exactly its series are read and scored.
        workers: Processes that read and preprocess series.
        resamples: Number of resamples of patients, and of subjects for the agreement of readers.
        room: For whom triage is worked out.
    """

    protocol: ProtocolName
    images: Sequence[Path]
    labels: Path
    output: Path
    reads: Path | None = None
    holdout: float | None = None
    seed: int = 0
    series_list: Path | None = None
    workers: int = 1
    resamples: int = RESAMPLES
    room: ReadingRoom = field(default_factory=ReadingRoom)

    def check(self) -> None:
        """Checks that the arguments fit together.

        Raises:
            UsageError: If they do not.
        """
        if self.protocol == "bhx" and self.reads is None:
            raise UsageError(
                "protocol bhx: expected --reads as well, reads.csv of CQ500: boxes say what is there, and only the "
                "readers what is not"
            )
        if self.protocol != "bhx" and self.reads is not None:
            raise UsageError(
                f"protocol {self.protocol}: --reads goes with bhx only; with cq500 reads.csv is the file of --labels"
            )
        if self.holdout is None:
            return
        if self.protocol != "rsna" or self.series_list is not None:
            raise UsageError("--holdout goes with rsna only, and not with --series-manifest, which says who is scored")
        if not 0.0 < self.holdout <= 1.0:
            raise UsageError(f"--holdout {self.holdout:g}: expected a share of the patients above 0, up to 1")

    @property
    def scored_share(self) -> float:
        """Share of the patients that are scored: an external dataset is a test set as a whole, as is a list."""
        if self.protocol != "rsna" or self.series_list is not None:
            return 1.0
        return DEFAULT_HOLDOUT if self.holdout is None else self.holdout

    def settings(self) -> dict[str, int | float | str]:
        """Returns what changes the figures, without folders."""
        found: dict[str, int | float | str] = {
            "seed": self.seed,
            "resamples": self.resamples,
            "scored_share": self.scored_share,
            "labels": self.labels.name,
            "studies_per_hour": self.room.studies_per_hour,
            "minutes_per_study": self.room.minutes_per_study,
        }
        files = {"reads": self.reads, "series_manifest": self.series_list}
        return found | {name: path.name for name, path in files.items() if path is not None}

    def steps(self) -> tuple[str, ...]:
        """Returns what is done, in order, one sentence a step."""
        intervals = f"Intervals: 95 %, patients resampled {self.resamples} times."
        return (*self._label_steps(), self._series_step(), self._patient_step(), *_SHARED_STEPS, intervals)

    def _label_steps(self) -> tuple[str, ...]:
        if self.protocol == "rsna":
            return (_CHALLENGE,)
        return (_BOXES, _MAJORITY) if self.protocol == "bhx" else (_MAJORITY, "Single slices have no label.")

    def _series_step(self) -> str:
        if self.series_list is not None:
            return f"Exactly the series that {self.series_list.name} lists were read."
        chosen = "one series that the rules of slicewise choose (docs/reading.md)"
        if self.protocol == "cq500":
            return f"Of every study {chosen} was read."
        return f"Of every study the series with labelled slices were read; of one without any, {chosen}."

    def _patient_step(self) -> str:
        if self.scored_share == 1.0:
            return _ALL_SCORED
        share = f"{100 * self.scored_share:g} % of the patients were held out (seed {self.seed})"
        return f"{share}, those who share images together; they alone were scored; {_UNSEEN}."
