"""The promises that hold for the whole tree: layers, imports, the public names, the map in the README."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

import slicewise

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "slicewise"
HEAVY = ("torch", "timm", "openvino", "onnx", "onnxruntime", "matplotlib", "polars", "pydicom", "scipy", "numpy")


def imported_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stdout.split())


def test_imports_follow_the_layers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    assert lint_imports(no_cache=True) == 0, capsys.readouterr().out


def test_the_package_loads_nothing_heavy() -> None:
    assert imported_by("import slicewise; slicewise.__version__").isdisjoint(HEAVY)


def test_help_loads_nothing_heavy() -> None:
    statement = (
        "from slicewise.cli.main import main\n"
        "import contextlib, io\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit): main(['--help'])"
    )
    assert imported_by(statement).isdisjoint(HEAVY)


def test_prediction_loads_neither_torch_nor_polars() -> None:
    loaded = imported_by("from slicewise import Detector")
    assert "pydicom" in loaded
    assert loaded.isdisjoint({"torch", "timm", "onnx", "polars", "matplotlib"})


def test_the_public_names_are_these() -> None:
    assert slicewise.__all__ == ["Detector", "__version__"]
    assert slicewise.Detector.__name__ == "Detector"
    with pytest.raises(AttributeError, match="no attribute 'Detektor'"):
        slicewise.Detektor  # noqa: B018  # reading it is the test


def files_of_map(text: str) -> set[str]:
    """Paths that a map names: a folder line ends its name with "/", its files are indented below it."""
    named: set[str] = set()
    folders: list[tuple[int, str]] = []
    for line in text.splitlines():
        words = line.split()
        indent = len(line) - len(line.lstrip())
        if not words:
            continue
        while folders and folders[-1][0] >= indent:
            folders.pop()
        parent = folders[-1][1] if folders else ""
        if words[0].endswith("/"):
            folders.append((indent, f"{parent}{words[0]}"))
        for word in words:
            if not re.fullmatch(r"[\w./]+\.(?:py|toml|j2|css)", word):
                break
            named.add(f"{parent}{word}")
    return named


def test_a_map_names_whole_paths() -> None:
    text = """\
src/
  text.py            tables
  a/                 first
    b.py c/d.html.j2 see e.py
    sub/
      f.py
  g.py
tests/               mirrors src/
"""
    assert files_of_map(text) == {"src/text.py", "src/a/b.py", "src/a/c/d.html.j2", "src/a/sub/f.py", "src/g.py"}


def test_the_map_in_the_readme_names_every_module() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^## Map\n+```\n(.*?)^```", readme, flags=re.DOTALL | re.MULTILINE)
    there = {
        str(path.relative_to(ROOT).as_posix())
        for path in SOURCE.rglob("*")
        if path.suffix in {".py", ".toml", ".j2", ".css"} and not path.name.startswith("__")
    }
    assert files_of_map(text) == there


@pytest.mark.parametrize(
    "name", ["any", "epidural", "intraparenchymal", "intraventricular", "subarachnoid", "subdural"]
)
def test_no_label_name_stands_in_code(name: str) -> None:
    # The readers of public datasets know the words of their files, the phantom what it draws.
    allowed = {SOURCE / "data" / name for name in ("rsna.py", "cq500.py", "bhx.py")}
    allowed |= set((SOURCE / "phantom").rglob("*.py"))
    allowed |= {SOURCE / "cli" / "phantom.py"}
    quoted = re.compile(rf"""["']{name}["']""")
    for path in SOURCE.rglob("*.py"):
        if path not in allowed:
            assert not quoted.search(path.read_text(encoding="utf-8")), path


def test_tests_mirror_the_source() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        if folder == Path():
            continue
        assert (SOURCE / folder / path.name.removeprefix("test_")).is_file(), f"{path} tests no module of its name"


def test_no_path_of_a_machine_stands_in_the_tree() -> None:
    pattern = re.compile(r"(?:^|[^\w./-])/(?:work|home|root|Users|tmp)/")
    for folder in ("src", "tests", "docs", "benchmarks"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md", ".toml", ".j2", ".json"} and path != Path(__file__):
                assert not pattern.search(path.read_text(encoding="utf-8")), path
