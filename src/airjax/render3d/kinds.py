"""Kinds of objects: three solids and three pieces of crockery, as unit shapes that are multiplied by a size.

A kind's `symmetry` is the number of rotations about the vertical, within a full turn, that leave it unchanged: 1 if all
rotations look different, and 0 if none does.
"""

from collections.abc import Callable, Hashable, Sequence
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Integer

from airjax.render3d.compositing import join
from airjax.render3d.revolution import Turned, Wall, turned
from airjax.render3d.sheets import Sheet, cube_sheets, sphere_sheets, tube_sheets, turned_sheets
from airjax.render3d.solids import cube, sphere, tube
from airjax.render3d.view import Part, View

Drawn = Callable[[View], Part]
"""Draws an object, seen in its own frame."""


class Kind(NamedTuple):
    """A kind of object.

    Attributes:
        name: name of the kind.
        symmetry: number of rotations in a full turn that leave it unchanged; 0: all do.
        radius: largest distance from its axis, in units of its size.
        body: a solid of revolution, or a function that draws the body.
        sheets: returns sheets that cover the whole object, for other renderers.
        handle: draws a handle that is joined to the body; None: no handle.
    """

    name: str
    symmetry: int
    radius: float
    body: Turned | Drawn
    sheets: Callable[[], tuple[Sheet, ...]]
    handle: Drawn | None = None

    @property
    def likeness(self) -> Hashable:
        """Key that is equal for bodies that one program can draw: all vessels, and all filled solids of revolution."""
        return self.body.cavity is None if isinstance(self.body, Turned) else self.body

    def draw(self, view: View) -> Part:
        """Draw an object of this kind."""
        return _joined(self.handle, _draw_body((self,), 0, view), view)


_CYLINDER = Turned(Wall(0.0, 1.6, (0.75, 0.75, 0.75)), petals=1)
_CUP = Turned(Wall(0.0, 1.5, (0.58, 0.74, 0.8)), cavity=Wall(0.14, 1.5, (0.5, 0.66, 0.71)))
_BOWL = Turned(Wall(0.0, 0.75, (0.5, 0.95, 1.15)), cavity=Wall(0.12, 0.75, (0.45, 0.86, 1.05)))
_PLATE = Turned(Wall(0.0, 0.22, (0.8, 1.18, 1.35)), cavity=Wall(0.08, 0.22, (0.85, 1.1, 1.27)), petals=3)

_HANDLE = ((0.84, 0.0, 1.18), (1.12, 0.0, 1.18), (1.3, 0.0, 0.84), (1.1, 0.0, 0.48), (0.72, 0.0, 0.38))
_HANDLE_RADIUS = 0.12


def handle(view: View) -> Part:
    """Draw the handle of a cup, which points along x."""
    return tube(view, _HANDLE, _HANDLE_RADIUS)


def cup_sheets() -> tuple[Sheet, ...]:
    """Cover a cup with sheets."""
    return turned_sheets(_CUP) + tube_sheets(_HANDLE, _HANDLE_RADIUS)


def _turned(name: str, symmetry: int, radius: float, shape: Turned) -> Kind:
    return Kind(name, symmetry, radius, shape, lambda: turned_sheets(shape))


SPHERE = Kind("sphere", 0, 1.0, sphere, sphere_sheets)
CUBE = Kind("cube", 4, 1.14, cube, cube_sheets)
CYLINDER = _turned("cylinder", 1, 0.75, _CYLINDER)
CUP = Kind("cup", 1, 1.42, _CUP, cup_sheets, handle)
BOWL = _turned("bowl", 0, 1.15, _BOWL)
PLATE = _turned("plate", 3, 1.35, _PLATE)

SOLIDS = (SPHERE, CUBE, CYLINDER)
CROCKERY = (CUP, BOWL, PLATE)
KINDS = SOLIDS + CROCKERY
"""All kinds. An identity is an index into this or another tuple of kinds."""


def draw_kinds(kinds: Sequence[Kind], views: View) -> Part:
    """Draw an object of each of these kinds in its view: parts [n, ...] of views [n, ...].

    One program draws each run of neighbours with similar bodies, and each run with the same handle.
    """
    body = lambda run, views: jax.vmap(partial(_draw_body, run))(jnp.arange(len(run)), views)
    joined = lambda run, parts, views: jax.vmap(partial(_joined, run[0].handle))(parts, views)
    parts = _in_runs(kinds, lambda kind: kind.likeness, body, views)
    return _in_runs(kinds, lambda kind: kind.handle, joined, parts, views)


def draw_kind(kinds: Sequence[Kind], identity: Integer[Array, ""], view: View) -> Part:
    """Draw an object of the kind `kinds[identity]`, with `identity` clipped to the valid range."""
    identity = jnp.clip(identity, 0, len(kinds) - 1)
    groups = {one: [kind for kind in kinds if kind.likeness == one] for one in (kind.likeness for kind in kinds)}
    handles = list(dict.fromkeys(kind.handle for kind in kinds))
    among = lambda places: jnp.array(list(places))[identity]
    group = among(list(groups).index(kind.likeness) for kind in kinds)
    place = among(groups[kind.likeness].index(kind) for kind in kinds)
    body = jax.lax.switch(group, [partial(_draw_body, each) for each in groups.values()], place, view)
    of_handle = among(handles.index(kind.handle) for kind in kinds)
    return jax.lax.switch(of_handle, [partial(_joined, each) for each in handles], body, view)


def _draw_body(alike: Sequence[Kind], place, view: View) -> Part:
    """Draw the body of the kind `alike[place]`, where all kinds have the same likeness."""
    if not isinstance(alike[0].body, Turned):
        return alike[0].body(view)
    forms = (kind.body.form for kind in alike if isinstance(kind.body, Turned))
    pick = lambda *x: jnp.array(x, view.size.dtype if isinstance(x[0], float) else None)[place]
    return turned(view, jax.tree.map(pick, *forms))


def _joined(handle: Drawn | None, body: Part, view: View) -> Part:
    return body if handle is None else join(body, handle(view))


def _in_runs(kinds: Sequence[Kind], key: Callable[[Kind], Hashable], function: Callable, *trees: Any) -> Any:
    """Apply a function to every run of kinds with equal keys, and to the run's slices of the trees."""
    done, start = [], 0
    for _, group in groupby(kinds, key):
        run = list(group)
        take = partial(jax.lax.slice_in_dim, start_index=start, limit_index=start + len(run))
        done.append(function(run, *jax.tree.map(take, trees)))
        start += len(run)
    return jax.tree.map(lambda *x: jnp.concatenate(x), *done)
