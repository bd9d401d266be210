"""What the runs of a study say about it: tags to filter by, and the data set as an input with its hash.

MLflow is imported inside functions, as it takes more than a second.
"""

from __future__ import annotations

import json
from typing import Any

from hpo import parts
from hpo.home import Home
from hpo.mirror import Position, plain
from hpo.mlflow_client import without_password
from hpo.study import Study
from hpo.surroundings import git_commit, versions

DIGEST_LENGTH = 36  # MLflow takes no more of a hash; all of it is in the tag `data.sha256` and in the profile
_KEYS = ("model", "data", "space", "objective", "constraints", "sampler", "pruner", "budget", "seed")


def study_tags(study: Study, home: Home, position: Position) -> dict[str, str]:
    """What the study's run says about it; written again when a search goes on, as its budget may differ by then."""
    values = study.model_dump(mode="json")
    tags = {key: plain(values[key]) for key in _KEYS if values[key] is not None} | trial_tags(study, home)
    tags |= {"hpo.home": position.identity, "hpo.path": plain(str(home.path))}
    tags |= {f"version.{name}": version for name, version in versions().items()}
    if home.study.is_file():
        tags["study.yaml"] = plain(without_password(home.study.read_text(encoding="utf-8")))
    if commit := git_commit():
        tags["mlflow.source.git.commit"] = commit
    return tags


def trial_tags(study: Study, home: Home) -> dict[str, str]:
    """What each run of the study says, so that a filter finds it among those of others: written once, as it is made."""
    values = study.model_dump(mode="json")
    tags = {key: plain(values[key]) for key in ("model", "data", "space") if values[key] is not None}
    tags |= {"study": study.name, "hpo.version": versions().get("generative-hpo", "unknown")}
    if sha256 := _known_hash(home):
        tags["data.sha256"] = sha256
    return tags


def data_input(study: Study, home: Home) -> Any:
    """Return the study's data set as an input of a run: name, source, hash, rows and shape; None without one.

    In the process of a search the data are in memory already. Raises RequestError where they cannot be read, ValueError
    where they are not those that the trials saw.
    """
    from mlflow.data.schema import TensorDatasetSchema
    from mlflow.entities import Dataset, DatasetInput, InputTag
    from mlflow.types.schema import Schema, TensorSpec

    if study.data is None:
        return None
    data = parts.data_of(study)
    if (known := _known_hash(home)) not in ("", data.sha256):
        raise ValueError(f"the data of the trials have the hash {known}, and those read now {data.sha256}")
    rows = {name: len(split) for name, split in data.splits()}
    profile = {
        "num_rows": sum(rows.values()), "rows": rows, "shape": list(data.shape), "modality": data.modality,
        "sha256": data.sha256,
    }  # fmt: skip
    spec = TensorSpec(data.train.x[:0].cpu().numpy().dtype, (-1, *data.shape))
    source = {"source": data.source, "license": data.license}
    dataset = Dataset(
        name=data.name,
        digest=data.sha256[:DIGEST_LENGTH],
        source_type="code",
        source=json.dumps({"tags": source}),
        schema=json.dumps(TensorDatasetSchema(features=Schema([spec])).to_dict()),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, tags=[InputTag("mlflow.data.context", "training")])


def _known_hash(home: Home) -> str:
    """The hash of the data that the trials saw; "" where a training function reads its own."""
    try:
        return home.data_hash.read_text(encoding="ascii").strip()
    except OSError:
        return ""
