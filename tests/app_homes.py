"""Homes and requests for the tests of the page: a finished search with everything in it, and a browser's questions."""

from __future__ import annotations

import wave
from pathlib import Path
from typing import Any

from dash import Dash
from PIL import Image
from searched import Fate, search, study

from dashboards.app import make_app
from dashboards.guard import Guard
from hpo.home import Home
from hpo.messages import Params

EVIL = "<img src=x onerror=\"document.title='hit'\"><script>document.title='hit'</script>"
TOKEN = "a-token-of-the-tests"
HOST = "127.0.0.1:8050"


def finished(path: Path, *, trials: int = 8) -> Home:
    """A search that is over: done, pruned, died with a traceback of hostile text, and samples of every kind."""
    home = search(path, study(trials=trials), lambda number, params: _fate(number, params))
    for number in range(trials):
        for step in (3, 9):
            sheet = home.sheet(number, step)
            sheet.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (16, 16), color=20 * (number + step) % 256).save(sheet)
    home.sheet(0, 9).with_suffix(".txt").write_text(f"first line\n{EVIL}\n", encoding="utf-8")
    with wave.open(str(home.sheet(3, 9).with_suffix(".wav")), "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(b"\0\0" * 800)
    return home


def _fate(number: int, params: Params) -> Fate:
    sheets = tuple(f"samples/trial-{number:06d}/step-{step:06d}.png" for step in (3, 9))
    if number == 1:
        return Fate(end="pruned", epochs=3, values={3: 7.0}, cause="lost at step 3")
    if number == 2:
        return Fate(end="died", epochs=2, cause=f"Traceback (most recent call last):\n  {EVIL}\nValueError: {EVIL}")
    extra = {0: (sheets[1].replace(".png", ".txt"),), 3: (sheets[1].replace(".png", ".wav"),)}
    return Fate(values={3: 9.0 - number / 10, 9: 5.0 - number / 10}, files=sheets + extra.get(number, ()))


def app_of(*homes: Home, mlflow: dict[int, tuple[str, str]] | None = None) -> Dash:
    return make_app(homes, access=Guard(host="127.0.0.1", port=8050, token=TOKEN), mlflow=mlflow)


def draw(client: Any, path: str, *, search: str = "", seen: Any = None, there: list[str] | None = None) -> Any:
    """What a browser asks when it draws a page: the new `seen`, the blocks that came, all of them anew or not."""
    blocks = [{"id": {"block": name}, "property": "children"} for name in there or []]
    answer = client.post(
        "/_dash-update-component",
        json={
            "output": '..title.children...head.children...blocks.children...{"block":["ALL"]}.children...seen.data..',
            "outputs": [
                {"id": "title", "property": "children"}, {"id": "head", "property": "children"},
                {"id": "blocks", "property": "children"}, blocks, {"id": "seen", "property": "data"},
            ],
            "inputs": [
                {"id": "url", "property": "pathname", "value": path},
                {"id": "url", "property": "search", "value": search},
                {"id": "asked", "property": "data"}, {"id": "picked", "property": "data", "value": []},
            ],
            "state": [{"id": "seen", "property": "data", "value": seen}],
            "changedPropIds": ["url.pathname"],
        },
        headers={"Host": HOST},
    )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return answer.get_json()["response"]


def press_veto(
    client: Any, number: int, *, action: str = "veto", reason: str = "", headers: dict[str, str] | None = None
) -> Any:
    """What a browser asks when the button of a trial's veto is pressed."""
    button = {"action": action, "veto": number}
    name = f'{{"action":"{action}","veto":{number}}}'
    return client.post(
        "/_dash-update-component",
        json={
            "output": "veto-said.children",
            "outputs": {"id": "veto-said", "property": "children"},
            "inputs": [[{"id": button, "property": "n_clicks", "value": 1}]],
            "state": [{"id": "veto-reason", "property": "value", "value": reason},
                      {"id": "seen", "property": "data", "value": {"which": "0"}}],
            "changedPropIds": [f"{name}.n_clicks"],
        },
        headers={"Host": HOST} | (headers or {}),
    )  # fmt: skip


def texts(component: Any) -> list[str]:
    """Every text below a component, as Dash sends it or as it was made, in order."""
    if hasattr(component, "to_plotly_json"):
        component = component.to_plotly_json()
    if isinstance(component, str):
        return [component]
    if isinstance(component, dict):
        return texts(component.get("props", {}).get("children"))
    if isinstance(component, list | tuple):
        return [text for item in component for text in texts(item)]
    return []
