"""Search spaces: what is tried. Knows no torch, no sampler and nothing else of this project.

A space is one file here with a module constant `SPACE`; its parts come from `blocks`. Files that start with an
underscore are shared code.
"""

from search_spaces._parameters import Choice, Entry, Float, Int, Parameter, ParameterValue, SpaceError
from search_spaces._players import for_player
from search_spaces._space import Space, Suggest, Uniform

__all__ = [
    "Choice",
    "Entry",
    "Float",
    "Int",
    "Parameter",
    "ParameterValue",
    "Space",
    "SpaceError",
    "Suggest",
    "Uniform",
    "for_player",
]
