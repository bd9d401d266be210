"""Parameters that one player has for itself. Above `_parameters`, beside `Space`."""

from collections.abc import Mapping
from dataclasses import replace

from search_spaces._parameters import Choice, Entry, Float, Int


def for_player(player: str, entries: Mapping[str, Entry]) -> dict[str, Entry]:
    """A whole block with the player's name in front: `lr` becomes `discriminator.lr`, in conditions as well.

    A condition on a parameter outside the block stays as it is.
    """

    def renamed(name: str) -> str:
        return f"{player}.{name}" if name in entries else name

    def own(entry: Entry) -> Entry:
        if not isinstance(entry, Float | Int | Choice):
            return entry
        return replace(entry, when={renamed(parent): values for parent, values in entry.conditions.items()})

    return {renamed(name): own(entry) for name, entry in entries.items()}
