"""Server and crew in one process and without Ray: a study from its first placement to its last end."""

from __future__ import annotations

import functools
from collections.abc import Callable

from hpo import parts
from hpo.group import Crew
from hpo.home import Home
from hpo.messages import Placement
from hpo.server import StudyServer
from hpo.study import Study
from hpo.widths import Widths

RUN = "run"


def serve(request: Study, home: Home, *, run: str = RUN, workers: int = 1, data: str | None = None) -> StudyServer:
    home.path.mkdir(exist_ok=True)
    request.save(home.study)
    direction = parts.objective_of(request).direction
    server = StudyServer(
        request.model_dump(mode="json"), str(home.path), direction=direction, workers=workers, run=run, data=data
    )
    assert server.ready() is None
    return server


def crew(server: StudyServer, group: str, *, slots: int | None = None) -> Crew | None:
    """A crew as `Group.setup` makes it; None where the server has no work. slots: these instead of the study's."""
    brief = server.brief()
    reply = server.open_group(group)
    if not reply["place"]:
        return None
    study = Study(**brief["study"])
    widths = Widths(study, device="cpu", most=brief["most_slots"], fits=brief["fits"], fitted=server.fitted)
    if slots is not None:
        widths.slots = slots
    return Crew(
        study,
        Home(brief["home"]),
        measure_at=frozenset(brief["measure_at"]),
        placements=[Placement.from_json(value) for value in reply["place"]],
        sync=functools.partial(server.sync, group),
        widths=widths,
        device="cpu",
    )


def finish(server: StudyServer, *, name: str = "g", make: Callable[[StudyServer, str], Crew | None] = crew) -> int:
    """Run groups one after another until there is no work; return how many there were."""
    count = 0
    while not server.over() and (group := make(server, f"{name}{count}")) is not None:
        while not group.over:
            group.work(seconds=60)
        server.close_group(f"{name}{count}", failed=False)
        count += 1
    return count
