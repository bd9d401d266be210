"""`hpo check`: a sound plug-in keeps every law, and each planted fault is caught by the law that names it."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
from test_cli import run

from hpo.checking import check
from hpo.laws import data, metrics, models, spaces, trainings
from hpo.laws._law import Law, judge, laws_of, sentence
from hpo.laws._measured import on_model, on_rows
from hpo.laws._subject import subjects
from hpo.laws.data import Loaded
from hpo.laws.spaces import Named

SOUND = (Path(__file__).parent / "own_plugin.py").read_text(encoding="utf-8")
NAME = "own_plugin"


def loaded(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = folder / f"{NAME}.py"
    path.write_text(text, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(NAME, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, NAME, module)
    spec.loader.exec_module(module)
    return module


def of_model(module: ModuleType) -> object:
    (subject,) = subjects(NAME, module.Model, module.load(), module.SPACE)
    return subject


def of_data(module: ModuleType) -> object:
    return Loaded(name=NAME, load=module.load)


def of_space(module: ModuleType) -> object:
    return Named(name=NAME, space=module.SPACE)


def of_rows(module: ModuleType) -> object:
    return on_rows(NAME, module.Metric, [module.load()])[0]


def metric_of_model(module: ModuleType) -> object:
    (subject,) = subjects(NAME, module.Model, module.load(), module.SPACE)
    return on_model(NAME, module.Metric, subject, module.load())


LOSS = "loss = over_rows(weight_B, error_B)"
OWN_DIRECTION = 'direction: ClassVar[Any] = "minimize"'
COUNTED = (LOSS, f"self.calls = getattr(self, 'calls', 0) + 1; {LOSS} * self.calls")


@dataclass(frozen=True)
class Fault:
    """What is replaced in the sound plug-in, what of it is tried, and the law that must catch it."""

    law: Law
    of: Callable[[ModuleType], object]
    old: str
    new: str
    more: tuple[str, str] = ("", "")

    def planted(self) -> str:
        assert self.old in SOUND
        assert self.more[0] in SOUND
        text = SOUND.replace(self.old, self.new)
        return text.replace(*self.more) if self.more[0] else text


FAULTS = {
    "a parameter that nothing reads": Fault(
        trainings.builds, of_model, '"batch_size": 16', '"batch_size": 16, "unread": 1.0'
    ),
    "an average of nobody": Fault(
        models.says_what_it_is, of_model, "averaged: ClassVar[tuple[str, ...]] = (", 'averaged: ClassVar[Any] = ("x",'
    ),
    "a knob that decides a shape": Fault(
        models.building_reads_the_structural_parameters_alone,
        of_model,
        'params.integer("width")',
        'params.integer("width") + round(params.number("blur"))',
    ),
    "a knob that reads the structure": Fault(
        models.knobs_read_no_structural_parameter,
        of_model,
        '{"blur": params.number("blur"),',
        '{"blur": params.number("blur") / params.integer("width"),',
    ),
    "shapes by chance": Fault(
        models.structural_parameters_alone_decide_shapes,
        of_model,
        "size = math",
        "width += int(torch.randint(9, (), generator=generator)); size = math",
    ),
    "a parameter of no player": Fault(
        models.players_own_all_parameters,
        of_model,
        "self.net = nn",
        "self.x = nn.Parameter(torch.ones(())); self.net = nn",
    ),
    "weights from the global generator": Fault(
        models.initial_weights_come_from_the_generator,
        of_model,
        "linear(size, width, generator=generator)",
        "nn.Linear(size, width)",
    ),
    "the same weights under any seed": Fault(
        models.initial_weights_come_from_the_generator,
        of_model,
        "linear(size, width, generator=generator)",
        "linear(size, width, generator=torch.Generator().manual_seed(0))",
    ),
    "a loss from the global generator": Fault(
        models.the_loss_depends_on_its_arguments_alone, of_model, LOSS, f"{LOSS} + torch.rand(())"
    ),
    "noise that does not act": Fault(
        models.the_loss_depends_on_its_arguments_alone, of_model, '(0.1 + knobs["blur"]) *', "0.0 *"
    ),
    "a loss that counts its calls": Fault(models.the_loss_depends_on_its_arguments_alone, of_model, *COUNTED),
    "no log of the loss": Fault(models.a_loss_is_a_number_with_logs, of_model, '{"loss": loss', '{"error": loss'),
    "a log with a gradient": Fault(models.a_loss_is_a_number_with_logs, of_model, "loss.detach()", "loss"),
    "a loss a row": Fault(models.a_loss_is_a_number_with_logs, of_model, LOSS, "loss = weight_B * error_B"),
    "a gradient of NaN": Fault(
        models.gradients_reach_every_parameter, of_model, LOSS, f"{LOSS} + (0 * code).abs().sqrt().sum()"
    ),
    "a parameter that no gradient reaches": Fault(
        models.gradients_reach_every_parameter, of_model, '["encoder"](rows)', '["encoder"](rows).detach()'
    ),
    "rows changed in place": Fault(
        models.a_loss_changes_nothing_of_others, of_model, "rows = x.flatten(1)", "rows = x.add_(1.0).flatten(1)"
    ),
    "noise changed in place": Fault(
        models.a_loss_changes_nothing_of_others, of_model, '* noise["code"]', '* noise["code"].mul_(2.0)'
    ),
    "rows that mix": Fault(
        models.rows_of_weight_zero_do_not_count, of_model, "error_B = (", "code = code - code.mean(0); error_B = ("
    ),
    "a mean over rows": Fault(models.rows_of_weight_zero_do_not_count, of_model, LOSS, "loss = error_B.mean()"),
    "dropout that stays": Fault(
        models.a_technique_left_out_is_absent,
        of_model,
        'masked_dropout(code, noise["dropout"], knobs["dropout"])',
        'masked_dropout(code, noise["dropout"], knobs["dropout"] + 0.1)',
    ),
    "a branch on a tensor": Fault(
        trainings.alone_equals_in_company, of_model, LOSS, f"{LOSS} * (2.0 if float(code.sum()) > 0 else 1.0)"
    ),
    "padding that counts": Fault(trainings.alone_equals_in_company, of_model, LOSS, f"{LOSS} + error_B.mean()"),
    "training from the global generator": Fault(
        trainings.training_is_deterministic, of_model, LOSS, f"{LOSS} * torch.rand(())"
    ),
    "state beside the checkpoint": Fault(trainings.a_checkpoint_holds_all, of_model, *COUNTED),
    "a weight that no file keeps": Fault(
        models.weights_survive_a_file,
        of_model,
        "size = math",
        "self.shift = torch.randn((), generator=generator); size = math",
        more=("(-1, *self.shape).float()", "(-1, *self.shape).float() + self.shift"),
    ),
    "samples of another shape": Fault(
        models.samples_have_the_form_of_the_data,
        of_model,
        "(-1, *self.shape).float()",
        "(-1, *self.shape).float()[None]",
    ),
    "samples of another type": Fault(
        models.samples_have_the_form_of_the_data, of_model, "(-1, *self.shape).float()", "(-1, *self.shape).half()"
    ),
    "samples drawn while sampling": Fault(
        models.samples_have_the_form_of_the_data,
        of_model,
        ".float()\n\n\nSPACE",
        ".float() + torch.rand(())\n\n\nSPACE",
    ),
    "annealing that forgets": Fault(
        models.annealing_is_a_pure_function_of_progress, of_model, "return {**knobs, ", "return {"
    ),
    "a pace of zero": Fault(models.annealing_is_a_pure_function_of_progress, of_model, '{"net": 1}', '{"net": 0}'),
    "classes that are not drawn": Fault(
        models.classes_are_told_and_act, of_model, "size = math", "self.conditional = True; size = math"
    ),
    "knobs that change under adaption": Fault(
        trainings.knobs_that_follow_the_training_are_its_memory,
        of_model,
        "    def monitored",
        "    @classmethod\n    def adapted(cls, knobs, logs, *, rows):\n        knobs['blur'] += 0.1\n"
        "        return knobs\n\n    def monitored",
    ),
    "rows of no fixed seed": Fault(
        data.the_same_call_returns_the_same_bytes, of_data, "torch.Generator().manual_seed(0)", "None"
    ),
    "a hash of one split": Fault(
        data.the_hash_is_that_of_the_content, of_data, "content_hash(splits)", 'content_hash({"train": train})'
    ),
    "another modality": Fault(data.rows_have_one_form, of_data, '"points"', '"images"'),
    "a range that is too narrow": Fault(data.rows_lie_in_their_range, of_data, "(-4.0, 4.0)", "(-1.0, 1.0)"),
    "a class that training has not": Fault(
        data.labels_number_the_classes, of_data, "torch.arange(count) % 2", "torch.arange(count) % (count // 100)"
    ),
    "a row in two splits": Fault(data.no_row_is_in_two_splits, of_data, '"test": test}', '"test": train}'),
    "hardly any validation": Fault(data.validation_is_large_enough_to_rank_by, of_data, "300, 300", "30, 300"),
    "no license": Fault(data.it_says_whose_it_is, of_data, 'license="none"', 'license=""'),
    "an option without a default": Fault(data.its_options_have_names, of_data, "load(*, ", "load("),
    "another name": Fault(spaces.it_has_the_name_of_its_file, of_space, '    "own_plugin",\n', '    "other",\n'),
    "an option that is never there": Fault(
        spaces.every_parameter_is_drawn_some_time,
        of_space,
        '"batch_size": 16',
        '"batch_size": 16, "off": 1, "never": Choice((1, 2), default=1, when={"off": 1, "ema": 0.0, "dropout": 0.0}), '
        '"more": Choice(tuple(range(300)), default=0)',
    ),
    "a default at its bound": Fault(spaces.no_default_is_at_a_bound, of_space, "default=0.5", "default=1.0"),
    "no direction": Fault(metrics.says_what_it_is, of_rows, OWN_DIRECTION, OWN_DIRECTION.replace("mini", "opti")),
    "a negative error": Fault(
        metrics.a_measurement_has_a_value_and_its_error, of_rows, "standard_error=float", "standard_error=-float"
    ),
    "a refusal that does not bind": Fault(
        metrics.it_refuses_in_words,
        metric_of_model,
        "    def measure",
        "    @classmethod\n    def refusal(cls, model, data):\n"
        "        return \"the metric 'own_plugin' rests: wait\"\n\n"
        "    def measure",
    ),
    "a value from the global generator": Fault(
        metrics.the_noise_decides_the_value, of_rows, "value=float(apart", "value=float(torch.rand(())) + float(apart"
    ),
    "noise that is always the same": Fault(
        metrics.the_noise_decides_the_value,
        of_rows,
        "draw_samples(generator, rows=500)",
        "draw_samples(FIXED(), rows=500)",
        more=("class Metric:", "FIXED = lambda: torch.Generator().manual_seed(0)\n\n\nclass Metric:"),
    ),
    "an error that is far too small": Fault(
        metrics.the_standard_error_is_true, of_rows, "math.sqrt(len(samples))", "len(samples)"
    ),
    "rows changed by a metric": Fault(
        metrics.it_changes_neither_model_nor_rows, of_rows, "rows = split.x.flatten", "rows = split.x.mul_(2.0).flatten"
    ),
    "weights changed by a metric": Fault(
        metrics.it_changes_neither_model_nor_rows,
        metric_of_model,
        "rows = split.x.flatten",
        'model.net["decoder"].bias.add_(1.0)\n            rows = split.x.flatten',
    ),
    "a value of the first rows": Fault(
        metrics.the_order_of_rows_does_not_matter,
        of_rows,
        "split.x.flatten(1)",
        "split.x.sort(0).values[:20].flatten(1)",
        more=("- rows.mean(0)", "- split.x[:20].mean(0) * split.x[0].sign()"),
    ),
    "a mean over passes": Fault(
        metrics.the_size_of_a_pass_does_not_matter, of_rows, "float(apart.norm())", "float(apart.norm()) / CHUNK_ROWS"
    ),
    "NaN that wins": Fault(
        metrics.samples_that_are_not_finite_give_no_better_value,
        of_rows,
        ".flatten(1).double()\n            rows",
        ".flatten(1).double()\n            samples = samples.nan_to_num(float(split.x.mean()))\n            rows",
    ),
    "a metric that raises": Fault(
        metrics.a_measurement_has_a_value_and_its_error, of_rows, "samples.mean(0)", "samples.mean(7)"
    ),
    "an exception for NaN": Fault(
        metrics.samples_that_are_not_finite_give_no_better_value,
        of_rows,
        "value=float(apart.norm())",
        "value=float(int(apart.norm() * 1e6)) / 1e6",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_planted_fault_is_caught_by_the_law_that_names_it(
    fault: Fault, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = fault.of(loaded(fault.planted(), tmp_path, monkeypatch))
    found = judge(fault.law, subject)
    assert found.outcome == "broken"
    assert found.text


def test_every_law_has_a_planted_fault_but_those_that_our_own_code_keeps() -> None:
    every = {law for module in (models, trainings, data, spaces, metrics) for law in laws_of(module)}
    assert every - {fault.law for fault in FAULTS.values()} == {
        spaces.it_survives_a_study_file,
        spaces.what_it_draws_passes_its_check,
    }


def test_the_sound_plug_in_keeps_every_law() -> None:
    found = list(check(str(Path(__file__).parent / "own_plugin.py")))
    assert [(subject, verdict) for subject, verdict in found if verdict.outcome == "broken"] == []
    every = [law for module in (models, trainings, data, spaces, metrics) for law in laws_of(module)]
    # It refuses nothing beforehand.
    assert {verdict.law for _, verdict in found} == {sentence(law) for law in every} - {
        sentence(metrics.it_refuses_in_words)
    }


def test_a_file_that_keeps_the_laws_exits_0_and_says_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    only_space = SOUND[: SOUND.index("class Model")] + SOUND[SOUND.index("SPACE = ") : SOUND.index("def load")]
    (tmp_path / "own_plugin.py").write_text(only_space, encoding="utf-8")
    assert run(monkeypatch, "check", str(tmp_path / "own_plugin.py")) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(laws_of(spaces)) + 1
    assert all(line.startswith("ok ") for line in said[:-1])
    assert said[-1] == "5 ok, 0 broken, 0 not asked"
    (tmp_path / "other.py").write_text(only_space, encoding="utf-8")
    assert run(monkeypatch, "check", str(tmp_path / "other.py")) == 1
    assert "it is 'own_plugin' in 'other': give both one name" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("no_such.py",), "there is none at no_such.py"),
        (("digitz",), "did you mean 'digits'"),
        (("no_such_package.module",), "must import; it does not: ModuleNotFoundError"),
        (("search_spaces.vae.SPAEC",), "has no 'SPAEC': did you mean 'SPACE'"),
        (("trainables.training.params",), "defines one of Model, load, Metric, SPACE"),
        (("rest.py",), "must import; it does not: ZeroDivisionError"),
        (("bare.py",), "is tried at draws from its space, and bare has none"),
        (("own_plugin.py", "--data", "digits"), "refuses all that there is"),
        (("own_plugin.py", "--space", "vea"), "did you mean 'vae'"),
    ],
)
def test_a_bad_request_is_one_message_and_exit_2(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    only_model = SOUND[: SOUND.index("SPACE = ")]
    (tmp_path / "bare.py").write_text(only_model, encoding="utf-8")
    (tmp_path / "rest.py").write_text("1 / 0\n", encoding="utf-8")
    whole = only_model + SOUND[SOUND.index("SPACE = ") : SOUND.index("def load")]
    (tmp_path / "own_plugin.py").write_text(whole, encoding="utf-8")
    assert run(monkeypatch, "check", *arguments) == 2
    assert message in capsys.readouterr().err


def test_faults_outside_of_any_law_are_told_as_well(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A metric that raises breaks its laws; without data that load there is nothing to try a model on."""
    file = tmp_path / "own_plugin.py"
    file.write_text(SOUND[: SOUND.index("class Model")] + SOUND[SOUND.index("class Metric") :].replace("500", "'500'"))
    assert run(monkeypatch, "check", str(file), "--data", "ring") == 1
    assert "it raised TypeError" in capsys.readouterr().out
    file.write_text(SOUND.replace("_points(count, generator) for", "_points(count) for"))
    assert run(monkeypatch, "check", str(file)) == 2
    said = capsys.readouterr()
    assert "broken" in said.out
    assert "those that were given do not load: TypeError" in said.err


def test_names_of_ours_and_dotted_ones_are_tried_too() -> None:
    by_name = [(subject, verdict.law) for subject, verdict in check("digits")]
    dotted = [(subject, verdict.law) for subject, verdict in check("trainables.data.digits.load")]
    assert by_name == dotted == [(subject, law) for subject, law in by_name if subject == "digits"]


def test_a_file_of_a_package_may_import_relatively_and_one_by_itself_shadows_no_library(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    package = tmp_path / "own_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_shared.py").write_text("from search_spaces import Float, Space\n", encoding="utf-8")
    text = "from ._shared import Float, Space\n\nSPACE = Space('narrow', {'x': Float(0.0, 1.0, default=0.5)})\n"
    (package / "narrow.py").write_text(text, encoding="utf-8")
    monkeypatch.setattr(sys, "path", [*sys.path])
    assert run(monkeypatch, "check", str(package / "narrow.py")) == 0
    alone = tmp_path / "colorsys.py"
    alone.write_text(text.replace("._shared", "search_spaces").replace("narrow", "colorsys"), encoding="utf-8")
    assert run(monkeypatch, "check", str(alone)) == 0
    assert not hasattr(importlib.import_module("colorsys"), "SPACE")
    assert "0 broken" in capsys.readouterr().out
