"""What stands on the table: three solids and three pieces of crockery, as unit shapes, to be multiplied by a size.

A kind's `symmetry` is the number of rotations about the vertical, within a full turn, that leave it the same: 1 if all
can be told apart, and 0 if none can.
"""

from collections.abc import Callable
from typing import NamedTuple

from airjax.scenes3d.compositing import join
from airjax.scenes3d.revolution import Turned, Wall, turned
from airjax.scenes3d.sheets import Sheet, cube_sheets, sphere_sheets, tube_sheets, turned_sheets
from airjax.scenes3d.solids import cube, sphere, tube
from airjax.scenes3d.view import Part, View


class Kind(NamedTuple):
    """A kind of object.

    Attributes:
        name: what it is called.
        symmetry: number of rotations in a full turn that leave it the same; 0: all do.
        radius: how far it reaches from its axis, in units of its size.
        draw: draws one as it is seen in its own frame.
        sheets: covers one with sheets, for other renderers.
    """

    name: str
    symmetry: int
    radius: float
    draw: Callable[[View], Part]
    sheets: Callable[[], tuple[Sheet, ...]]


_CYLINDER = Turned(Wall(0.0, 1.6, (0.75, 0.75, 0.75)), petals=1)
_CUP = Turned(Wall(0.0, 1.5, (0.58, 0.74, 0.8)), cavity=Wall(0.14, 1.5, (0.5, 0.66, 0.71)))
_BOWL = Turned(Wall(0.0, 0.75, (0.5, 0.95, 1.15)), cavity=Wall(0.12, 0.75, (0.45, 0.86, 1.05)))
_PLATE = Turned(Wall(0.0, 0.22, (0.8, 1.18, 1.35)), cavity=Wall(0.08, 0.22, (0.85, 1.1, 1.27)), petals=3)

_HANDLE = ((0.84, 0.0, 1.18), (1.12, 0.0, 1.18), (1.3, 0.0, 0.84), (1.1, 0.0, 0.48), (0.72, 0.0, 0.38))
_HANDLE_RADIUS = 0.12


def cup(view: View) -> Part:
    """Draw a cup, its handle along x."""
    return join(turned(view, _CUP), tube(view, _HANDLE, _HANDLE_RADIUS))


def cup_sheets() -> tuple[Sheet, ...]:
    """Cover the same cup with sheets."""
    return turned_sheets(_CUP) + tube_sheets(_HANDLE, _HANDLE_RADIUS)


def _turned(name: str, symmetry: int, radius: float, shape: Turned) -> Kind:
    return Kind(name, symmetry, radius, lambda view: turned(view, shape), lambda: turned_sheets(shape))


SPHERE = Kind("sphere", 0, 1.0, sphere, sphere_sheets)
CUBE = Kind("cube", 4, 1.14, cube, cube_sheets)
CYLINDER = _turned("cylinder", 1, 0.75, _CYLINDER)
CUP = Kind("cup", 1, 1.42, cup, cup_sheets)
BOWL = _turned("bowl", 0, 1.15, _BOWL)
PLATE = _turned("plate", 3, 1.35, _PLATE)

SOLIDS = (SPHERE, CUBE, CYLINDER)
CROCKERY = (CUP, BOWL, PLATE)
KINDS = SOLIDS + CROCKERY
"""All kinds; an identity is an index into these, or into another tuple of kinds."""
