"""Compiles the networks of a model while the caller imports libraries and reads headers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from slicewise.inference.model_cache import ModelCache
from slicewise.inference.precision import DEFAULT_PRECISION
from slicewise.inference.runtime import Runtime, load_runtime
from slicewise.inference.timing import Timer, no_timing
from slicewise.package import ModelPackage


@contextmanager
def runtime_beside(
    name: str,
    package: ModelPackage,
    cache: ModelCache | None = None,
    timer: Timer = no_timing,
    precision: str = DEFAULT_PRECISION,
) -> Iterator[Callable[[], Runtime]]:
    """Starts to load a runtime, and yields a function that waits for it and raises what `load_runtime` does.

    Args:
        name: As for `load_runtime`.
        package: The model package.
        cache: As for `load_runtime`.
        timer: Is told of imports and of compiling.
        precision: As for `load_runtime`.
    """

    def load() -> Runtime:
        with timer("compiling or loading the networks"):
            return load_runtime(name, package, cache, precision)

    if name != "openvino":
        # They are imported as they are loaded, and two threads that import at once may see half a module.
        yield load
        return
    with timer("imports"):
        import slicewise.inference.runtime_openvino  # noqa: F401 - so that the thread imports nothing
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="slicewise-loading") as pool:
        yield pool.submit(load).result
