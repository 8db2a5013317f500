from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from hypothesis import settings

from slicewise.config import FusionConfig, RunConfig
from slicewise.package import Calibration, EncoderArchitecture, FusionArchitecture, Manifest, Provenance
from slicewise.patients import SeenPatients
from slicewise.task import load_task

# No time limit an example: the machine may be busy. Everything else as hypothesis has it, here and under CI.
settings.register_profile("slicewise", settings(), deadline=None)
settings.load_profile("slicewise")


@pytest.fixture(scope="session", autouse=True)
def _own_cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Compiled networks of the tests, and of the processes that they start, never reach the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data beside the repository; tests that need it skip where it is missing."""
    folder = Path(__file__).resolve().parents[1] / ".." / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real data for tests (../shared/data) is not here")
    return folder.resolve()


class ManifestMaker(Protocol):
    """Makes the manifest of a small model for the shipped task."""

    def __call__(self, *, encoder: str = ..., map_channels: int = ..., head: Any = ..., **changes: Any) -> Manifest: ...


@pytest.fixture(scope="session")
def make_manifest() -> ManifestMaker:
    task = load_task("ich")

    def make(*, encoder: str = "resnet18", map_channels: int = 0, head: Any = None, **changes: Any) -> Manifest:
        manifest = Manifest(
            name="test-model",
            version="1",
            task=task,
            preprocessing_digest=task.preprocessing.digest(),
            encoder=EncoderArchitecture(encoder, map_channels=map_channels),
            descriptor_size=head.descriptor_size if head is not None else 4,
            summary_size=head.summary_size if head is not None else 0,
            fusion=FusionArchitecture.of(head.config if head is not None else FusionConfig(name="none")),
            weights="float16",
            calibration=Calibration.identity(len(task.labels)),
            thresholds=dict.fromkeys(task.label_names, 0.5),
            threshold_rule="a half, for tests",
            provenance=Provenance(
                software_version="0",
                trained_on="nothing",
                dataset_digest="",
                patients={},
                seen_patients=(SeenPatients.of(["seen"], ""),),
                config=msgspec.to_builtins(RunConfig()),
                versions={},
            ),
            metrics={},
            limitations=("for tests",),
        )
        return msgspec.structs.replace(manifest, **changes)

    return make


@pytest.fixture(autouse=True)
def restored_child_signal() -> Iterator[None]:
    """Restores the handler of SIGCHLD, which torch's loader takes for good as soon as it has had workers.

    At the end of the session, when the processes of decoders end, its frame would lie on pytest's signal stack.
    """
    before = signal.getsignal(signal.SIGCHLD)
    yield
    if signal.getsignal(signal.SIGCHLD) is not before:
        signal.signal(signal.SIGCHLD, before)
