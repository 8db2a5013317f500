from __future__ import annotations

import threading

import pytest

from slicewise.errors import UsageError
from slicewise.inference import startup
from slicewise.inference.runtime import Runtime, load_runtime
from slicewise.inference.startup import runtime_beside
from slicewise.inference.timing import Timings
from slicewise.package import DEFAULT_MODEL, ModelPackage, load_package


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return load_package(DEFAULT_MODEL)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_it_is_load_runtime(package: ModelPackage, name: str) -> None:
    timings = Timings()
    with runtime_beside(name, package, timer=timings) as runtime:
        assert runtime().name == name
    assert "compiling or loading the networks" in {step.step for step in timings.profile({}).steps}


def test_openvino_is_loaded_beside_the_caller(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    goes_on = threading.Event()

    def load(name: str, package: ModelPackage, *_: object) -> Runtime:
        assert goes_on.wait(60)
        return ordinary(name, package, None)

    ordinary = load_runtime
    monkeypatch.setattr(startup, "load_runtime", load)
    with runtime_beside("openvino", package) as runtime:
        goes_on.set()  # the caller is here while it loads
        assert runtime().name == "openvino"


def test_a_problem_is_told_when_the_runtime_is_needed(package: ModelPackage) -> None:
    with runtime_beside("tensorrt", package) as runtime, pytest.raises(UsageError, match="no runtime 'tensorrt'"):
        runtime()
