from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest

from slicewise.errors import UsageError
from slicewise.inference import runtime_openvino
from slicewise.inference.model_cache import ModelCache
from slicewise.inference.runtime import EncodedSlices, Floats, engine_facts, load_runtime
from slicewise.inference.runtime_openvino import OpenVinoRuntime
from slicewise.package import DEFAULT_MODEL, ENCODER, FUSION, ModelPackage, Probabilities, load_package


@pytest.fixture(scope="module")
def package() -> ModelPackage:
    return load_package(DEFAULT_MODEL)


@pytest.fixture(scope="module")
def runtime(package: ModelPackage) -> OpenVinoRuntime:
    return OpenVinoRuntime(package)


def make_channels(package: ModelPackage, slices: int) -> Floats:
    task = package.manifest.task
    size = task.preprocessing.size
    return np.random.default_rng(slices).random((slices, len(task.channels), size, size), dtype=np.float32)


def plain(package: ModelPackage, channels: Floats) -> EncodedSlices:
    """The reference: one request, one batch, as OpenVINO's own documentation shows it."""
    core = openvino.Core()
    network = core.compile_model(core.read_model(package.files[ENCODER]), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    outputs = network({"channels": channels})
    return EncodedSlices(*(np.array(outputs[node]) for node in network.outputs))


def parts(encoded: EncodedSlices) -> Iterator[Floats]:
    yield from (encoded.descriptors, encoded.slice_logits, encoded.summaries)


@pytest.mark.parametrize("slices", [1, 4, 11])
def test_streams_say_what_one_batch_says_bit_for_bit(
    package: ModelPackage, runtime: OpenVinoRuntime, slices: int
) -> None:
    channels = make_channels(package, slices)
    for found, expected in zip(parts(runtime.encode(channels)), parts(plain(package, channels)), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_four_threads_get_what_one_gets(package: ModelPackage, runtime: OpenVinoRuntime) -> None:
    batches = [make_channels(package, slices) for slices in (5, 3, 9, 6, 7, 2, 8, 4)]
    alone = [runtime.encode(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(runtime.encode, batches))
    for one, other in zip(alone, together, strict=True):
        for expected, found in zip(parts(one), parts(other), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_arrays_that_may_not_be_written_are_read(package: ModelPackage, runtime: OpenVinoRuntime) -> None:
    channels = make_channels(package, 3)
    expected = runtime.encode(channels).slice_logits
    channels.flags.writeable = False
    np.testing.assert_array_equal(runtime.encode(channels).slice_logits, expected)


def test_a_kept_network_says_the_same_and_is_not_compiled_again(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = ModelCache(tmp_path / "cache")
    channels = make_channels(package, 6)
    positions = np.arange(6, dtype=np.float32)
    fresh = OpenVinoRuntime(package, cache)
    assert len(list((tmp_path / "cache").iterdir())) == 2
    monkeypatch.setattr(openvino.Core, "compile_model", lambda *_: pytest.fail("was compiled"))
    kept = OpenVinoRuntime(package, cache)
    encoded = fresh.encode(channels)
    for found, expected in zip(parts(kept.encode(channels)), parts(encoded), strict=True):
        np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(kept.fuse(encoded, positions), fresh.fuse(encoded, positions))


def test_what_openvino_cannot_import_is_compiled(package: ModelPackage, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    expected = OpenVinoRuntime(package, cache).encode(make_channels(package, 1)).slice_logits
    for path in (tmp_path / "cache").iterdir():
        cache.write(path.name, b"of another build")
    found = OpenVinoRuntime(package, cache).encode(make_channels(package, 1)).slice_logits
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("change", ["content", "version", "precision", "streams"])
def test_a_network_is_kept_for_its_circumstances(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    asked: list[str] = []

    class Forgetful(ModelCache):
        def read(self, key: str) -> bytes | None:
            asked.append(key)
            return None

        def write(self, key: str, compiled: bytes) -> None:
            del key, compiled

    core, cache = openvino.Core(), Forgetful(tmp_path)
    content, settings = package.files[FUSION], {"NUM_STREAMS": "1"}
    precision = "f32"
    runtime_openvino._compiled(core, content, cache, precision, **settings)
    if change == "content":
        content = package.files[ENCODER]
    elif change == "version":
        monkeypatch.setattr(openvino, "__version__", "another")
    elif change == "precision":
        precision = "bf16"
    else:
        settings = {"NUM_STREAMS": "2"}
    runtime_openvino._compiled(core, content, cache, precision, **settings)
    assert len(set(asked)) == 2


def test_the_first_inferences_of_a_process_may_come_from_several_threads() -> None:
    """In processes of their own, as only the first inferences of a process ever hung."""
    code = """
        from concurrent.futures import ThreadPoolExecutor
        import numpy as np
        from slicewise.inference.runtime_openvino import OpenVinoRuntime
        from slicewise.package import load_package
        package = load_package("ich-phantom-small")
        channels = np.zeros((4, 3, 208, 208), dtype=np.float32)
        with ThreadPoolExecutor(4) as pool:
            runtimes = list(pool.map(lambda _: OpenVinoRuntime(package), range(4)))
            list(pool.map(lambda runtime: runtime.encode(channels), runtimes))
    """
    for _ in range(2):
        subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True, timeout=300)


def test_a_profile_is_told_how_it_computes(runtime: OpenVinoRuntime) -> None:
    facts = engine_facts(runtime)
    assert (facts["runtime"], facts["precision"]) == ("openvino", "f32")
    assert int(facts["streams"]) >= 1


has_bf16 = pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"),
    reason="this processor does not compute in bf16",
)


@has_bf16
def test_bf16_says_nearly_the_same_in_stage_1_and_leaves_stage_2_alone(
    package: ModelPackage, runtime: OpenVinoRuntime
) -> None:
    short = OpenVinoRuntime(package, precision="bf16")
    assert engine_facts(short)["precision"] == "bf16"
    channels = make_channels(package, 5)
    encoded, expected = short.encode(channels), runtime.encode(channels)
    assert not np.array_equal(encoded.slice_logits, expected.slice_logits)
    np.testing.assert_allclose(encoded.slice_logits, expected.slice_logits, atol=0.15)
    positions = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(short.fuse(expected, positions), runtime.fuse(expected, positions))


def test_a_precision_that_the_processor_lacks_is_refused_and_auto_does_without(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_openvino, "_precisions", lambda _: ["f32"])
    with pytest.raises(UsageError, match=r"--precision bf16: this processor does not compute in it.*one of: f32"):
        load_runtime("openvino", package, precision="bf16")
    found = load_runtime("openvino", package, ModelCache(tmp_path / "cache"), precision="auto")
    assert engine_facts(found)["precision"] == "f32"


@has_bf16
@pytest.mark.parametrize("choice", ["f32", "bf16"])
def test_auto_measures_once_and_keeps_its_choice(
    package: ModelPackage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    measured: list[float] = []

    def choose(networks: Mapping[str, Callable[[], Probabilities]]) -> str:
        assert list(networks) == ["f32", "bf16"]
        measured.append(float(np.abs(networks["f32"]() - networks["bf16"]()).max()))
        return choice

    monkeypatch.setattr(runtime_openvino, "chosen_precision", choose)
    cache = ModelCache(tmp_path / "cache")
    for _ in range(2):
        assert engine_facts(load_runtime("openvino", package, cache, "auto"))["precision"] == choice
    assert len(measured) == 1
    assert 0 < measured[0] < 0.05
    another = replace(package, digest="of another model")
    load_runtime("openvino", another, cache, "auto")
    assert len(measured) == 2


def test_auto_is_f32_where_no_choice_can_be_kept(package: ModelPackage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime_openvino, "chosen_precision", lambda _: pytest.fail("was measured"))
    assert engine_facts(load_runtime("openvino", package, None, "auto"))["precision"] == "f32"


def test_a_damaged_choice_is_made_again(package: ModelPackage, tmp_path: Path) -> None:
    cache = ModelCache(tmp_path / "cache")
    core = openvino.Core()
    load_runtime("openvino", package, cache, "auto")
    for path in (tmp_path / "cache").iterdir():
        if path.stat().st_size < 100:
            cache.write(path.name, b"f64")
    expected = runtime_openvino._precisions(core)
    assert engine_facts(load_runtime("openvino", package, cache, "auto"))["precision"] in expected


def test_other_engines_compute_in_f32_alone(package: ModelPackage) -> None:
    assert engine_facts(load_runtime("onnxruntime", package, precision="auto"))["precision"] == "f32"
    with pytest.raises(UsageError, match="--precision bf16: the runtime 'onnxruntime' computes in f32 alone"):
        load_runtime("onnxruntime", package, precision="bf16")
    with pytest.raises(UsageError, match=r"no precision 'int4'.*auto, f32, bf16"):
        load_runtime("openvino", package, precision="int4")
