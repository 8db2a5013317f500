"""Slice-level detection in CT and MRI series from deep descriptors of adjacent slices.

Research software, not a medical device. The public names load what they need when they are first used:

    from slicewise import Detector

    for study in Detector.load().predict("scans/"):
        print(study.study_uid, study.probabilities)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from slicewise.inference.detector import Detector

    __version__: str

__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from slicewise.inference.detector import Detector

        return Detector
    if name == "__version__":
        from importlib.metadata import version

        return version("slicewise")
    raise AttributeError(f"module 'slicewise' has no attribute '{name}'")
