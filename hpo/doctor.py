"""What stands between a user and a search: versions, processors, memory, disk; and of one study all that it needs.

Nothing is made and nothing is trained; Ray is not started. A finding is fine, worth knowing, or broken: then its text
says the rule, what came, and what to do. Floor: launch and what is below it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement

from hpo import launch, own_data, parts
from hpo.errors import RequestError
from hpo.home import Home
from hpo.study import Study
from hpo.tracking import without_password
from search_spaces import Choice, Float, Int

DISTRIBUTION = "generative-hpo"
# What the package's own tests need is no part of it.
DEVELOPERS_EXTRA = "test"
HTTP_SECONDS = 4.0
GIB = 1 << 30


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at: `ok`, a `note` worth knowing, or `broken`."""

    subject: str
    text: str
    outcome: Literal["ok", "note", "broken"] = "ok"


def machine() -> Iterator[Finding]:
    """Look at what is installed, and at processors, memory, GPUs and the disk of the current folder."""
    yield from _packages()
    available = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    yield Finding(subject="CPUs", text=f"{len(available)}: a search takes that many workers")
    yield Finding(subject="memory", text=f"{_memory() / GIB:.1f} GiB")
    yield _gpus()
    yield _disk(Home(Path("runs") / "any"))


def request(target: str, *, changes: Sequence[str] = ()) -> Iterator[Finding]:
    """Look at all that a study needs: a file, a ready-made one, or the home of one that was begun.

    Raises RequestError at once where the target is none of these.
    """
    if Path(target).is_dir():
        home = Home(target).require()
        study = Study.load(home.study, changes=changes)
    else:
        study = Study.load(target, changes=changes)
        home = Home(Path("runs") / study.name)
    return _request(study, home)


def _request(study: Study, home: Home) -> Iterator[Finding]:
    yield Finding(subject="study", text=f"{study.name}: {study.model}, {study.budget.trials} trials")
    yield from _parts(study)
    yield _home(home, study)
    if home.exists():
        yield _ledger(home)
    yield _tracking(study.tracking or f"sqlite:///{home.mlflow_db}", where=home)


def _packages() -> Iterator[Finding]:
    """Every package that ours asks for, by extra; of an extra it is enough to know what is lacking."""
    try:
        own = importlib.metadata.distribution(DISTRIBUTION)
    except importlib.metadata.PackageNotFoundError:
        text = f"{DISTRIBUTION} must be installed, and runs from a folder. Install it: pip install -e ."
        yield Finding(subject=DISTRIBUTION, text=text, outcome="broken")
        return
    installed = [f"python {platform.python_version()}", f"{DISTRIBUTION} {own.version}"]
    extras = [extra for extra in own.metadata.get_all("Provides-Extra") or [] if extra != DEVELOPERS_EXTRA]
    lacking: dict[str, list[str]] = {extra: [] for extra in extras}
    for needed in map(Requirement, own.requires or []):
        if needed.marker is None or needed.marker.evaluate({"extra": ""}):
            found = _package(needed)
            if found.outcome == "ok":
                installed.append(f"{found.subject} {found.text}")
            else:
                yield found
            continue
        for extra in extras:
            if needed.marker.evaluate({"extra": extra}) and _package(needed).outcome == "broken":
                lacking[extra].append(needed.name)
    yield Finding(subject="installed", text=", ".join(installed))
    for extra, names in lacking.items():
        text = f"lacks {', '.join(names)}; where you need it: pip install '{DISTRIBUTION}[{extra}]'"
        yield Finding(subject=f"extra {extra}", text=text if names else "there", outcome="note" if names else "ok")


def _package(needed: Requirement) -> Finding:
    try:
        version = importlib.metadata.version(needed.name)
    except importlib.metadata.PackageNotFoundError:
        text = f"{needed.name}{needed.specifier} must be installed, and is not. Give: pip install '{needed}'"
        return Finding(subject=needed.name, text=text, outcome="broken")
    if needed.specifier.contains(version, prereleases=True):
        return Finding(subject=needed.name, text=version)
    text = f"{needed.name} must be {needed.specifier}, and is {version}. Give: pip install '{needed}'"
    return Finding(subject=needed.name, text=text, outcome="broken")


def _memory() -> int:
    """Bytes of memory: of the machine, or of the container where that has less."""
    whole = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):
        return min(whole, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return whole


def _gpus() -> Finding:
    import torch

    if torch.cuda.is_available():
        found = [torch.cuda.get_device_properties(place) for place in range(torch.cuda.device_count())]
        return Finding(
            subject="GPUs", text=", ".join(f"{gpu.name} ({gpu.total_memory / GIB:.0f} GiB)" for gpu in found)
        )
    if shutil.which("nvidia-smi") is not None:
        text = f"there seem to be some, and torch {torch.__version__} cannot use them: install one built for CUDA"
        return Finding(subject="GPUs", text=text, outcome="note")
    return Finding(subject="GPUs", text="none: models train on CPUs")


def _disk(home: Home) -> Finding:
    try:
        home.check_writable()
    except RequestError as error:
        return Finding(subject="disk", text=str(error), outcome="broken")
    return Finding(subject="disk", text=f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB free here")


def _parts(study: Study) -> Iterator[Finding]:
    """The data and what was understood of them; then whether space, model, objective, sampler and pruner fit."""
    try:
        if study.data is not None:
            for subject, text in own_data.understood(parts.data_of(study)):
                yield Finding(subject=f"data: {subject}", text=text, outcome="note" if subject == "note" else "ok")
        objective = launch.check(study)
    except RequestError as error:
        yield Finding(subject="fit", text=str(error), outcome="broken")
        return
    yield Finding(subject="objective", text=f"{objective.metric}, to {objective.direction}")
    entries = parts.space_of(study).parameters
    searched = [name for name, entry in entries.items() if isinstance(entry, Float | Int | Choice)]
    yield Finding(subject="space", text=f"searches {', '.join(searched) or 'nothing'}")


def _home(home: Home, study: Study) -> Finding:
    try:
        home.check_writable()
        if home.exists():
            study.check_continues(home.study)
            home.check_data(parts.data_hash(study))
    except RequestError as error:
        return Finding(subject="home", text=str(error), outcome="broken")
    if (holder := home.holder()) is not None:
        return Finding(subject="home", text=f"{home.path}: a search runs in it, {holder}", outcome="note")
    return Finding(subject="home", text=f"{home.path}: {'goes on' if home.exists() else 'new'}")


def _ledger(home: Home) -> Finding:
    from hpo.analysis import summary

    try:
        counts = summary(home).counts
    except Exception as error:  # whatever a file that was damaged does to those who read it
        text = f"The ledger must be readable; {home.ledger} is not: {type(error).__name__}: {error}. Take it from a " \
            "copy, or begin in another --home."  # fmt: skip
        return Finding(subject="ledger", text=text, outcome="broken")
    ended = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Finding(subject="ledger", text=ended or "no trials yet")


def _tracking(uri: str, *, where: Home) -> Finding:
    """Whether MLflow can be written to: a database file by a write that is taken back, a server by its answer."""
    shown = without_password(uri)
    rule, later = "What is tracked needs a place", f"a search runs all the same, and `hpo sync {where.path}` mends it."
    try:
        if uri.startswith("sqlite:///"):
            _write_back(Path(uri.removeprefix("sqlite:///")))
        elif uri.startswith(("http://", "https://")):
            with urllib.request.urlopen(f"{shown.rstrip('/')}/health", timeout=HTTP_SECONDS):
                pass
        else:
            return Finding(subject="tracking", text=f"{shown}: not tried", outcome="note")
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return Finding(subject="tracking", text=f"{shown} answers, and asks who you are", outcome="note")
        text = f"{rule}; {shown}/health answers {error.code}. See that it is MLflow's own address; {later}"
        return Finding(subject="tracking", text=text, outcome="broken")
    except (OSError, sqlite3.Error) as error:
        reason = getattr(error, "reason", error)
        text = f"{rule}; {shown} is none: {reason}. See that it is there, and that `tracking` names it; {later}"
        return Finding(subject="tracking", text=text, outcome="broken")
    return Finding(subject="tracking", text=shown)


def _write_back(file: Path) -> None:
    """Take the right to write in a database, and give it back; of one that is not there, in its folder."""
    if file.exists():
        with contextlib.closing(sqlite3.connect(file, timeout=HTTP_SECONDS)) as base:
            base.execute("BEGIN IMMEDIATE")
            base.rollback()
        return
    above = file.parent
    while not above.exists():
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(f"{above} is not writable")
