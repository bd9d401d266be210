"""What leaves a home: its files, its card, and what `hpo verify` says when one of them is changed."""

import contextlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import crews
import exports
import pytest
import torch
import yaml

from hpo import card, cli, measured, mlflow_model, parts
from hpo.configuration import read_config, trainer_of
from hpo.errors import RequestError
from hpo.export import export
from hpo.home import Home
from hpo.mirror import Position
from hpo.retrain import train, train_seeds
from hpo.selected import Selection
from hpo.study import Budget, Method, Study
from hpo.verify import verify
from search_spaces import Float, Space
from trainables import exported
from trainables.training.alone import Training
from trainables.training.checkpoint import read_tensors, write_tensors


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Selection, Path]:
    """A home, its selection, and the export of the winner."""
    folder = tmp_path_factory.mktemp("export")
    home = exports.searched(folder)
    selection = exports.selected(home)
    said: list[str] = []
    export(home, folder / "best", selection=selection, say=said.append)
    assert said == ["not registered: MLflow knows no run of this study; hpo sync, then export again"]
    return home, selection, folder / "best"


@pytest.fixture
def best(made: tuple[Home, Selection, Path], tmp_path: Path) -> Path:
    """The export, to be changed; the data stay those of the home."""
    return Path(shutil.copytree(made[2], tmp_path / "best"))


def trainer_with(folder: Path) -> Training:
    """A training with the weights of an export."""
    trainer = trainer_of(read_config(folder))
    assert isinstance(trainer, Training)
    trainer.load_weights(folder / "weights.safetensors")
    return trainer


def wrong(folder: Path) -> list[str]:
    """What is found changed, by an export whose training would come out right."""
    return list(dict.fromkeys(finding.subject for finding in verify(folder, seed=9) if not finding.right))


def test_the_winner_leaves_with_the_weights_of_its_typical_run(made: tuple[Home, Selection, Path]) -> None:
    home, selection, folder = made
    names = {"card.md", "config.yaml", "look", "metrics.json", "model", "samples.png", "weights.safetensors"}
    assert {file.name for file in folder.iterdir()} == names
    typical, config = selection.typical(), read_config(folder)
    assert (config.seed, config.params) == (typical.seed, selection.winner.params)
    weights, _ = read_tensors(home.stage("final", 1).weights(typical.trial))
    left, _ = read_tensors(folder / "weights.safetensors")
    assert all(torch.equal(left[name], weights[name]) for name in weights)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert metrics["validation"]["nll"]["value"] == pytest.approx(typical.value, rel=1e-6)
    assert metrics["test"]["nll"]["value"] == typical.test["nll"]
    told = metrics["selection"]
    assert [run["value"] for run in told["runs"]] == [run.value for run in selection.winner.runs]
    assert told["one_run"]["low"] < told["expected"]["low"] < told["expected"]["high"] < told["one_run"]["high"]
    assert (told["shrinkage"], told["winner"]["trial"]) == (0.021, selection.chosen.trial)
    assert {"floor", "copy_of_train"} <= metrics["validation"]["authenticity"].keys()


def test_a_fair_export_is_fair(best: Path) -> None:
    findings = verify(best, same_seed=True)
    assert [finding.subject for finding in findings] == ["config", "metrics", "weights", "data", "weights", "training"]
    assert all(finding.right for finding in findings), findings
    value = json.loads((best / "metrics.json").read_text(encoding="utf-8"))["validation"]["nll"]["value"]
    assert f"reaches nll {value:.6g}" in findings[-1].text


def test_a_training_is_held_against_the_interval_of_one_more(best: Path) -> None:
    span = json.loads((best / "metrics.json").read_text(encoding="utf-8"))["selection"]["one_run"]
    found = verify(best, seed=exports.SEEDS[0])[-1]
    assert found.subject == "training"
    assert found.right
    assert f"{span['low']:.6g} to {span['high']:.6g}" in found.text


def change_one_weight(folder: Path) -> None:
    """One number, in a file that is whole and says of itself what it said."""
    file = folder / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    name = next(name for name in sorted(tensors) if name.endswith("weight"))
    tensors[name].view(-1)[0] += 0.5
    write_tensors(file, tensors, metadata=metadata)


def swap_file_of_weights(folder: Path) -> None:
    """Those of another training, whole and fitting the configuration but for the seed."""
    config = read_config(folder)
    train(config.model_copy(update={"seed": 5}), folder.parent / "other")
    shutil.copy(folder.parent / "other" / "weights.safetensors", folder)


def forge_weights(folder: Path) -> None:
    """Other numbers, with every hash made anew and the numbers of the metrics kept: only measuring tells."""
    trainer, metrics = trainer_with(folder), json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    with torch.no_grad():
        for parameter in trainer.module.parameters():
            parameter += 0.1
    said = {name: value for name, value in metrics.items() if name != "sha256"}
    recipe = read_config(folder).recipe()
    notes = {measured.CONFIG_NOTE: read_config(folder).sha256, measured.METRICS_NOTE: measured.seal(said)}
    exported.save(folder / "weights.safetensors", trainer, recipe, notes=notes)
    hashes = {**metrics["sha256"], "weights": measured.file_hash(folder / "weights.safetensors")}
    (folder / "metrics.json").write_text(json.dumps({**said, "sha256": hashes}), encoding="utf-8")


def edit_lr(folder: Path) -> None:
    config = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    config["params"]["lr"] *= 2
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def forge_lr(folder: Path) -> None:
    """The same, with the new hash in the metrics."""
    edit_lr(folder)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics["sha256"]["config"] = measured.file_hash(folder / "config.yaml")
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def widen_interval(folder: Path) -> None:
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    metrics["selection"]["one_run"]["high"] += 1.0
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")


def lose_weights(folder: Path) -> None:
    (folder / "weights.safetensors").unlink()


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_one_weight, ["weights"]),
        (swap_file_of_weights, ["config", "metrics", "weights"]),
        (forge_weights, ["weights"]),
        (edit_lr, ["config"]),
        (forge_lr, ["config"]),
        (widen_interval, ["metrics"]),
        (lose_weights, ["weights"]),
    ],
)
def test_what_was_changed_is_named(best: Path, change: Callable[[Path], None], named: list[str]) -> None:
    change(best)
    assert wrong(best) == named


def test_a_change_of_the_learning_rate_is_told_with_both(best: Path) -> None:
    edit_lr(best)
    said = next(finding.text for finding in verify(best) if not finding.right)
    assert re.search(r"params\.lr is 0\.\d+ in config\.yaml and 0\.\d+ in weights\.safetensors", said)


def test_data_that_were_swapped_are_named(
    made: tuple[Home, Selection, Path], best: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    home = made[0]
    try:
        parts._load_data.cache_clear()
        exports.write_points(home.path.parent, seed=1)
        assert wrong(best) == ["data"]
        monkeypatch.setattr("sys.argv", ["hpo", "verify", str(best)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert ended.value.code == 1
        assert "not fair: data" in capsys.readouterr().out
    finally:
        exports.write_points(home.path.parent, seed=0)
        parts._load_data.cache_clear()


def test_a_whole_forged_export_is_told_by_training(best: Path, tmp_path: Path) -> None:
    """Everything fits everything, and the training does not come near: the interval was made up from the start."""
    config, metrics = read_config(best), json.loads((best / "metrics.json").read_text(encoding="utf-8"))
    trainer = trainer_with(best)
    for bound, value in (("mean", -51.0), ("low", -52.0), ("high", -50.0)):
        metrics["selection"]["one_run"][bound] = value
    said = {name: value for name, value in metrics.items() if name not in ("sha256", "validation")}
    measured.write(best, config, trainer, metrics=said)
    found = verify(best, seed=9)
    assert [finding.subject for finding in found if not finding.right] == ["training"]
    assert "outside the interval of one more training, -52 to -50" in found[-1].text
    # Under a seed that nobody named it has a second try, as a fair one may fall outside.
    assert verify(best)[-1].text.count("outside") == 2


def test_a_trial_by_hand_leaves_with_what_that_means_and_is_verified_by_its_seed(
    made: tuple[Home, Selection, Path], tmp_path: Path
) -> None:
    home, selection, _ = made
    export(home, tmp_path / "hand", trial=1)
    text = (tmp_path / "hand" / "card.md").read_text(encoding="utf-8")
    assert "By hand: trial 1 was named. It was trained once, under one seed, so its value may be luck." in text
    findings = verify(tmp_path / "hand")
    assert all(finding.right for finding in findings), findings
    assert "under the recorded seed" in findings[-1].text
    export(home, tmp_path / "hand")
    assert "partly the\nluckiest of them" in (tmp_path / "hand" / "card.md").read_text(encoding="utf-8")
    with pytest.raises(RequestError, match="both came"):
        export(home, tmp_path / "both", trial=1, selection=selection)


def test_the_card_says_what_it_must(made: tuple[Home, Selection, Path]) -> None:
    _, selection, folder = made
    text = (folder / "card.md").read_text(encoding="utf-8")
    assert text.startswith("# points-vae\n")
    assert "my \\*points\\*.npz" in text
    assert "**No license is stated for these data" in text
    expected = selection.winner.expected
    assert expected is not None
    assert f"**{expected.mean:.4g}** ({expected.low:.4g} to {expected.high:.4g}, 95 %)" in text
    assert f"Seeds and values: 101: {selection.winner.runs[0].value:.4g}" in text
    assert "Shrinkage: on the average it is 2.1% worse than its value in the search" in text
    assert "Gain over the default configuration on test rows: **0.15**" in text
    assert "The test rows were touched by selections of this study alone, after the choice: once" in text
    assert "## Does it repeat its training rows?" in text
    assert re.search(r"^\| authenticity \| more \|", text, re.MULTILINE)
    assert "hpo verify ." in text


def test_signs_of_memorization_are_said_in_words() -> None:
    """Of copies: authenticity 0 where unseen rows have one half."""
    own = {"value": 0.02, "standard_error": 0.01, "floor": 0.5, "copy_of_train": 0.0}
    told = "\n".join(card._memorization({"validation": {"authenticity": own}}))
    assert "**There are signs of it**" in told
    fair = "\n".join(card._memorization({"validation": {"authenticity": {**own, "value": 0.49}}}))
    assert "**No sign of it**" in fair
    more = {"value": 0.8, "standard_error": 0.01, "floor": 0.5}
    assert "**There are signs of it**" in "\n".join(card._memorization({"validation": {"nearest_train": more}}))
    assert "cannot be told" in "\n".join(card._memorization({"validation": {"copy_rate": {**more, "floor": None}}}))
    assert "nothing is known" in "\n".join(card._memorization({"validation": {}}))


def test_names_write_no_markdown() -> None:
    said = card.escape("<img src=x>\n# [me](http://a) `x` | *b* $1")
    assert said == "\\<img src=x\\> \\# \\[me\\]\\(http:\\//a\\) \\`x\\` \\| \\*b\\* \\$1"
    assert card.license_in_words("CC BY 4.0") == "CC BY 4.0"
    assert "No license is stated" in card.license_in_words("")


def test_the_configuration_trains_to_the_same_weights(best: Path, tmp_path: Path) -> None:
    train(read_config(best), tmp_path / "again")
    before, after = (read_tensors(place / "weights.safetensors")[0] for place in (best, tmp_path / "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert (tmp_path / "again" / "config.yaml").read_bytes() != b""
    assert all(finding.right for finding in verify(tmp_path / "again"))


def test_several_seeds_are_trained_each_into_a_folder(best: Path, tmp_path: Path) -> None:
    config = read_config(best)
    found = train_seeds(config, tmp_path / "three", seeds=3)
    written = json.loads((tmp_path / "three" / "metrics.json").read_text(encoding="utf-8"))
    assert written == found
    assert [run["seed"] for run in found["runs"]] == [config.seed, config.seed + 1, config.seed + 2]
    values = [run["value"] for run in found["runs"]]
    assert found["expected"]["mean"] == pytest.approx(sum(values) / 3)
    assert found["one_run"]["high"] > found["expected"]["high"] > found["expected"]["mean"]
    for number, run in enumerate(found["runs"], start=1):
        own = tmp_path / "three" / f"seed-{number}"
        assert read_config(own).seed == run["seed"]
        assert exported.load(own).recipe.seed == run["seed"]
    with pytest.raises(RequestError, match=r"1 seed or more; 0 came"):
        train_seeds(config, tmp_path / "none", seeds=0)


def test_an_export_is_whole_or_not_at_all(
    made: tuple[Home, Selection, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, selection, _ = made
    monkeypatch.setattr("hpo.mlflow_model.save", lambda folder: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(OSError, match="full"):
        export(home, tmp_path / "best", selection=selection)
    assert list(tmp_path.iterdir()) == []


def test_verify_asks_for_an_export(tmp_path: Path, best: Path) -> None:
    with pytest.raises(RequestError, match=r"a config\.yaml that `hpo export` wrote"):
        verify(tmp_path)
    (best / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RequestError, match="it holds no hashes"):
        verify(best)


def test_a_store_that_is_down_is_said_in_one_line(made: tuple[Home, Selection, Path], tmp_path: Path) -> None:
    _, _, folder = made
    study = Study(name="points-vae", model="vae", data="ring", space="vae", objective="nll",
                  budget=Budget(trials=1, epochs=1), tracking="http://me:secret@127.0.0.1:9")  # fmt: skip
    home = Home(tmp_path)
    Position(identity="home", parent="run").save(home.tracking_offset)
    said = mlflow_model.register(folder, study, home, read_config(folder), tags={"trial": 1})
    assert said.startswith("not registered in http://127.0.0.1:9: ")
    assert "\n" not in said
    assert "secret" not in said


def test_the_model_carries_the_code_that_it_is_built_by() -> None:
    assert [place.name for place in mlflow_model._code("vae")] == ["trainables"]
    assert [place.name for place in mlflow_model._code("own_plugin.Model")] == ["trainables", "own_plugin.py"]


def test_a_training_function_of_the_users_own_leaves_without_weights(tmp_path: Path) -> None:
    study = Study(
        name="own",
        model="own_trainings.curve",
        space=Space("own", {"x": Float(0.1, 1.0, default=0.5)}).to_mapping(),
        objective={"metric": "loss", "direction": "minimize"},
        budget=Budget(trials=1, epochs=9),
        pruner=Method(name="none"),
    )
    home = Home(tmp_path / "home")
    with contextlib.closing(crews.serve(study, home)) as server:
        crews.finish(server)
    assert export(home, tmp_path / "best", trial=0) == ["card.md", "config.yaml", "metrics.json"]
    text = (tmp_path / "best" / "card.md").read_text(encoding="utf-8")
    assert "nothing is known of them here, nor of their license" in text
    assert "- loss: " in text
    assert [(finding.subject, finding.right) for finding in verify(tmp_path / "best")] == [
        ("config", True),
        ("training", True),
    ]
    written = (tmp_path / "best" / "config.yaml").read_text(encoding="utf-8")
    (tmp_path / "best" / "config.yaml").write_text(written.replace("x: 0.", "x: 1."), encoding="utf-8")
    assert wrong(tmp_path / "best") == ["config"]
