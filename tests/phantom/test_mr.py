from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nibabel.nifti1 import Nifti1Image

from phantom_heads import cylinder, simple_head
from slicewise.errors import UsageError
from slicewise.phantom import study as study_module
from slicewise.phantom.head import CSF, GREY, WHITE, RenderedHead
from slicewise.phantom.mr import CONTRASTS, MrSeries, generate_mr, write_mr
from slicewise.phantom.parameters import PhantomParameters, override_parameters

SMALL = override_parameters(
    PhantomParameters(), ["geometry.matrix=96", "geometry.slices=[6, 6]", "geometry.thin=0", "geometry.medium=0"]
)


def _of_tissue(monkeypatch: pytest.MonkeyPatch, tissue: int, contrast: str) -> MrSeries:
    def head(*_: object, **__: object) -> RenderedHead:
        found = cylinder()
        found.tissue[found.wall_mm > 0] = tissue
        return found

    monkeypatch.setattr(study_module, "render_head", head)
    return generate_mr(3, 0, contrast, SMALL)


@pytest.mark.parametrize(
    ("contrast", "bright_to_dark"),
    [("t1", (WHITE, GREY, CSF)), ("t2", (CSF, GREY, WHITE)), ("flair", (GREY, WHITE, CSF))],
)
def test_tissues_have_the_order_of_the_contrast(
    monkeypatch: pytest.MonkeyPatch, contrast: str, bright_to_dark: tuple[int, ...]
) -> None:
    signals = []
    for tissue in bright_to_dark:
        values = _of_tissue(monkeypatch, tissue, contrast).values
        signals.append(np.median(values[2:4, 44:52, 44:52]))
    assert signals == sorted(signals, reverse=True)
    assert len(set(signals)) == 3


def test_background_is_rician_noise_and_the_same_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    series = _of_tissue(monkeypatch, WHITE, "t1")
    background = series.values[:, :6, :6]
    # The mean of a Rayleigh distribution of parameter 18, which MR has where there is no signal.
    assert background.mean() == pytest.approx(18 * np.sqrt(np.pi / 2), rel=0.15)
    np.testing.assert_array_equal(generate_mr(3, 0, "t1", SMALL).values, series.values)


def test_a_series_is_written_where_its_slices_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(study_module, "render_head", simple_head)
    series = generate_mr(3, 1, "flair", SMALL)
    write_mr(tmp_path / "flair.nii.gz", series)
    image = Nifti1Image.from_filename(tmp_path / "flair.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj).transpose(2, 1, 0), series.values)
    corner = series.geometry.image_positions[0] * [-1, -1, 1]
    np.testing.assert_allclose(image.affine[:3, 3], corner, atol=1e-3)


def test_an_unknown_contrast_is_named() -> None:
    assert CONTRASTS == ("t1", "t2", "flair")
    with pytest.raises(UsageError, match="'pd' is not one of t1, t2, flair"):
        generate_mr(0, 0, "pd")
