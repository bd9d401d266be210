"""The page on one's own data, held against what it tells of: its studies stand, its options are there, its console is
what is printed."""

from __future__ import annotations

import inspect
import re
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from hpo import cli, parts, plugins
from hpo.study import Study

TEXT = (Path(__file__).parents[2] / "docs" / "own-data.md").read_text(encoding="utf-8")
STUDIES = [yaml.safe_load(study) for study in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)]
COMMANDS = re.findall(r"\$ hpo (.*)\n(.*)", TEXT)
SECTIONS = dict(re.findall(r"\n## [^\n]*`(\w+)`\n(.*?)(?=\n## |\Z)", TEXT, re.DOTALL))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the page speaks of."""
    folder = tmp_path_factory.mktemp("page")
    random = np.random.RandomState(0)
    for name in ("photos", "broken-photos"):
        for kind in ("cats", "dogs"):
            (folder / name / kind).mkdir(parents=True)
            for number in range(20):
                pixels = random.randint(0, 256, (24, 32, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / name / kind / f"{number}.jpg")
    (folder / "broken-photos" / "cats" / "a.png").write_bytes(b"cut off")
    (folder / "recordings").mkdir()
    curves = np.cumsum(random.standard_normal((200, 24, 2)), axis=1).astype(np.float32)
    np.savez(folder / "curves.npz", x=curves)
    curves[3, 7, 1] = np.nan
    np.savez(folder / "gaps.npz", x=curves)
    hours = np.datetime64("2024-01-01T00") + np.arange(2400).astype("timedelta64[h]")
    lines = [f"{hour},{random.normal():.3f},{random.normal():.3f},A\n" for hour in hours]
    (folder / "weather.csv").write_text("time,temperature,load,station\n" + "".join(lines), encoding="utf-8")
    sys.modules[plugins.load("data", "parquet_file").__module__].example(folder)
    letters = [
        f"Dear {n}, we have {n * 7 % 97} apples and {n * 5 % 89} pears; come soon, yours {n * n}." for n in range(99)
    ]
    for number in range(8):
        tone = np.sin(np.arange(16000) * (0.05 + 0.02 * number)) * 0.5 + random.normal(0, 0.01, 16000)
        with wave.open(str(folder / "recordings" / f"{number}.wav"), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes((tone * 32767).astype("<i2").tobytes())
    (folder / "letters.txt").write_text("\n\n".join(letters), encoding="utf-8")
    return folder


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study["data"]["name"])
def test_each_study_of_the_page_stands(folder: Path, monkeypatch: pytest.MonkeyPatch, study: dict[str, object]) -> None:
    monkeypatch.chdir(folder)
    parts.check(Study(**study))


@pytest.mark.parametrize(("command", "said"), COMMANDS)
def test_each_refusal_is_as_the_page_has_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str, said: str
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["hpo", *command.replace("'", "").split()])
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.strip().replace(str(folder.resolve()), "FOLDER") == said


def test_each_loader_of_files_has_a_section_with_each_option() -> None:
    loaders = {name: plugins.load("data", name) for name in plugins.names("data")}
    of_files = {name: load for name, load in loaders.items() if "path" in inspect.signature(load).parameters}
    assert set(SECTIONS) == set(of_files)
    for name, load in of_files.items():
        told = set(re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`.*?) \|", SECTIONS[name], re.MULTILINE))))
        assert told == set(inspect.signature(load).parameters) - {"path"}, name
