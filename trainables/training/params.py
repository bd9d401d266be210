"""The parameters of one trial, and which of them the training has read.

A parameter that nothing reads would be searched without any effect, so it is an error and not a warning.
Stands at the bottom of `trainables.training`: the standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

ParameterValue = bool | int | float | str


class MissingParameter(ValueError):
    """The training needs a parameter that the trial does not carry; `name` says which."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the training needs the parameter {name!r}, and the space does not give it: "
            f"add {name!r} to the space, or fix its value there"
        )
        self.name = name


class UnreadParameters(ValueError):
    """The trial carries parameters that the training never read; `names` lists them."""

    def __init__(self, names: tuple[str, ...]) -> None:
        listed = ", ".join(repr(name) for name in names)
        noun, verb = ("parameter", "is") if len(names) == 1 else ("parameters", "are")
        super().__init__(
            f"{noun} {listed} of the space {verb} read by nothing in this training: "
            f"remove from the space what has no effect, or give it a condition under which it is read"
        )
        self.names = names


class Params(Mapping[str, ParameterValue]):
    """A read-only mapping that remembers which names were looked up.

    `for_player` gives a view in which `lr` means `discriminator.lr` where that is present, and plain `lr` otherwise;
    view and original share their memory of what was read.
    """

    def __init__(self, values: Mapping[str, ParameterValue]) -> None:
        self._values = dict(values)
        self._read: set[str] = set()
        self._player: str | None = None

    def __getitem__(self, name: str) -> ParameterValue:
        key = self._key(name)
        value = self._values[key]
        self._read.add(key)
        return value

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self._key(name) in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Params({self._values!r})"

    def for_player(self, player: str) -> Params:
        """A view that tries `player.name` before `name`."""
        view = Params({})
        view._values, view._read, view._player = self._values, self._read, player
        return view

    def number(self, name: str, default: float | None = None) -> float:
        """The value as a float; raises `MissingParameter` without a default, `ValueError` for what is no number."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise _wrong_kind(name, "a number", value)
        return float(value)

    def integer(self, name: str, default: int | None = None) -> int:
        """The value as an int; raises as `number` does."""
        value = self._get(name, default)
        if isinstance(value, bool) or not isinstance(value, int):
            raise _wrong_kind(name, "a whole number", value)
        return value

    def text(self, name: str, default: str | None = None) -> str:
        """The value as a str; raises as `number` does."""
        value = self._get(name, default)
        if not isinstance(value, str):
            raise _wrong_kind(name, "text", value)
        return value

    def boolean(self, name: str, default: bool | None = None) -> bool:
        """The value as a bool; raises as `number` does."""
        value = self._get(name, default)
        if not isinstance(value, bool):
            raise _wrong_kind(name, "true or false", value)
        return value

    def unread(self) -> tuple[str, ...]:
        """The names that nothing has read so far, sorted."""
        return tuple(sorted(self._values.keys() - self._read))

    def check_all_read(self) -> None:
        """Raise `UnreadParameters` if a name was never looked up; called once when a training is complete."""
        if names := self.unread():
            raise UnreadParameters(names)

    def _key(self, name: str) -> str:
        own = f"{self._player}.{name}"
        return own if self._player is not None and own in self._values else name

    def _get(self, name: str, default: ParameterValue | None) -> ParameterValue:
        if name in self:
            return self[name]
        if default is None:
            raise MissingParameter(name)
        return default


def _wrong_kind(name: str, kind: str, value: ParameterValue) -> ValueError:
    return ValueError(f"the parameter {name!r} must be {kind}, and it is {value!r}: correct it in the space")
