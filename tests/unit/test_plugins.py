"""Names to plug-ins: files of ours, import paths of the user's."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo import plugins
from hpo.errors import RequestError
from hpo.plugins import Kind


@pytest.mark.parametrize("kind", sorted(plugins.ROLES))
def test_every_name_that_is_listed_loads(kind: Kind) -> None:
    assert plugins.names(kind), kind
    for name in plugins.names(kind):
        assert plugins.load(kind, name) is not None


def test_an_unknown_name_lists_those_that_exist_and_the_nearest() -> None:
    with pytest.raises(RequestError, match=r"'digitz' is neither: did you mean 'digits'\? There are: .*digits"):
        plugins.load("data", "digitz")


@pytest.fixture
def user_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "userpkg_plugins").mkdir()
    (tmp_path / "userpkg_plugins" / "__init__.py").write_text("def train(params, seed, budget):\n    yield {}\n")
    (tmp_path / "userpkg_plugins" / "model.py").write_text("class Model: ...\n")
    (tmp_path / "userpkg_plugins" / "empty.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    return "userpkg_plugins"


def test_a_dotted_name_is_an_attribute_or_a_module_with_its_role(user_module: str) -> None:
    assert plugins.load("models", f"{user_module}.train").__name__ == "train"
    assert plugins.load("models", f"{user_module}.model").__name__ == "Model"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("{}.trian", "has no 'trian': did you mean 'train'"),
        ("{}.empty", "must define 'Model'"),
        ("no_such_package.train", "no module 'no_such_package'"),
    ],
)
def test_a_dotted_name_that_leads_nowhere_says_so(user_module: str, name: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        plugins.load("models", name.format(user_module))
