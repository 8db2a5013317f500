"""Reads the pixels of scored slices again from the files they came from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from slicewise.errors import UnreadableFileError
from slicewise.imaging.decode import decode_file
from slicewise.imaging.discover import read_headers
from slicewise.imaging.header import SliceHeader
from slicewise.imaging.nifti import decode_nifti
from slicewise.results import Rejection
from slicewise.source import Source
from slicewise.volume import FloatImages

ReadSlice = tuple[SliceHeader, FloatImages]


def read_slices(source: Source, frames: Sequence[int], modality: str) -> Iterator[ReadSlice | UnreadableFileError]:
    """Reads slices of one file, which is decoded once however many there are.

    Args:
        source: The file.
        frames: Its slices, from 1.
        modality: What a NIfTI file holds, which states none.

    Yields:
        For every frame, in order, its header and values, or why it cannot be read.
    """
    found = list(read_headers(source, modality))
    headers = {item.frame: item for item in found if isinstance(item, SliceHeader)}
    problem = next((item for item in found if isinstance(item, Rejection)), None)
    decoded = _decode([headers[frame] for frame in frames if frame in headers])
    for frame in frames:
        if frame not in headers:
            yield _absent(source, frame, problem)
            continue
        values = next(decoded)
        yield values if isinstance(values, UnreadableFileError) else (headers[frame], values)


def _decode(headers: Sequence[SliceHeader]) -> Iterator[FloatImages | UnreadableFileError]:
    if not headers:
        return
    if headers[0].pixels is None:
        try:
            yield from decode_nifti(headers[0].source, headers)
        except UnreadableFileError as error:
            yield from [error] * len(headers)
        return
    for image in decode_file(headers):
        yield image if isinstance(image, UnreadableFileError) else image.values


def _absent(source: Source, frame: int, problem: Rejection | None) -> UnreadableFileError:
    if problem is None:
        return UnreadableFileError(f"{source.file}: has no frame {frame} any more.", reason="undecodable")
    return UnreadableFileError(problem.message, reason=problem.reason)
