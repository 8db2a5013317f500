from __future__ import annotations

import pytest

from slicewise.errors import UsageError
from slicewise.phantom.parameters import PhantomParameters, known_keys, override_parameters
from slicewise.phantom.settings import describe_settings


def test_settings_reach_every_section() -> None:
    changed = override_parameters(
        PhantomParameters(),
        [
            *("geometry.matrix=256", "physics.noise_hu=[2, 3]", "physics.noise_by_position=false", "mimics.shunt=1"),
            *("hemorrhage.preset=clinical", "hemorrhage.scenarios.epidural=1", "headers.ge=0.5"),
        ],
    )
    assert changed.geometry.matrix == 256
    assert changed.physics.noise_hu == (2.0, 3.0)
    assert changed.physics.noise_by_position is False
    assert changed.mimics.shunt == 1.0
    assert changed.hemorrhage.preset == "clinical"
    assert {name: share for name, share in changed.hemorrhage.scenario_shares.items() if share} == {"epidural": 1.0}
    assert override_parameters(PhantomParameters(), []) == PhantomParameters()


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("geometry.matrx=64", "geometry.matrix"),
        ("geometry", "key=value"),
        ("geometry.matrix=8", "geometry.matrix"),
        ("geometry.slices=[5, 4]", "geometry.slices"),
        ("geometry.slices=[0, 4]", "geometry.slices"),
        ("geometry.tilt_degrees=[0, 50]", "tilt_degrees"),
        ("geometry.thin=0.9", "thin, medium and thick"),
        ("geometry.spacing_mm=[0.1, 0.2]", "0.3 mm"),
        ("geometry.fov_mm=[10, 20]", "fov_mm"),
        ("physics.noise_hu=high", "physics.noise_hu"),
        ("physics.noise_hu=[3, 2]", "physics.noise_hu"),
        ("physics.motion=1.5", "physics.motion"),
        ("physics.motion=nan", "finite"),
        ("physics.cupping_decay_mm=[0, 5]", "cupping_decay_mm"),
        ("hemorrhage.positive_share=2", "positive_share"),
    ],
)
def test_what_does_not_fit_is_named(override: str, named: str) -> None:
    with pytest.raises(UsageError, match=named.replace(".", r"\.")):
        override_parameters(PhantomParameters(), [override])


def test_shares_must_not_all_be_0() -> None:
    with pytest.raises(UsageError, match="smooth, standard and sharp"):
        override_parameters(PhantomParameters(), [f"physics.{name}=0" for name in ("smooth", "standard", "sharp")])
    with pytest.raises(UsageError, match="ge, siemens, philips and canon"):
        override_parameters(
            PhantomParameters(), [f"headers.{name}=0" for name in ("ge", "siemens", "philips", "canon")]
        )


def test_every_setting_is_described() -> None:
    settings = describe_settings()
    assert tuple(setting.key for setting in settings) == known_keys()
    assert [setting.key for setting in settings if not setting.description] == []
    by_key = {setting.key: setting for setting in settings}
    assert by_key["geometry.matrix"].default == "512"
    assert by_key["physics.noise_hu"].default == "[1.7,4.2]"
    assert "Rows and columns" in by_key["geometry.matrix"].description
    override_parameters(PhantomParameters(), [f"{item.key}={item.default}" for item in settings if item.default])
