"""Folders of pictures that are not made for AIR: crops of photographs and micrographs, frames of games, drawn scenes.

Each has `pictures/` and `truth.json`: for each picture its `count`, its `boxes` (x0, y0, x1, y1, in pixels), and
`parts`, the boxes of things of which the border, or another thing in a game, hides about half or more. Both answers
are right for those.
"""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from scipy import ndimage

from airjax.files import write_atomically
from experiments.pictures import photographs
from experiments.pictures.picture import Make, Picture, box_of

FIRST = 200
"""Number of frames of a game of which the median is what never changes."""
SELDOM = 0.05
"""Share of the frames in which a listed thing may be on a display, such as a ship that flies across the score."""
THIN = 3
"""Least side of a display, in pixels."""
NEAR = 2
"""Distance, in pixels, within which what changes belongs together."""


def write(make: Make, folder: Path, number: int, seed: int) -> Path:
    """Write the first `number` pictures of a seed and their truth; a finished folder is kept."""
    if (folder / "truth.json").exists():
        return folder
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    truth: dict[str, Any] = {}
    for index, picture in zip(range(number), make(np.random.default_rng(seed))):
        suffix = "jpg" if picture.jpeg else "png"
        name = f"{index:05d}.{suffix}"
        options = {"quality": picture.jpeg} if picture.jpeg else {}
        Image.fromarray(picture.pixels).save(folder / "pictures" / name, **options)
        truth[name] = {"count": len(picture.boxes), "boxes": picture.boxes, "parts": picture.parts}
    write_atomically(folder / "truth.json", json.dumps(truth).encode())
    return folder


def crops(image: np.ndarray, labels: np.ndarray, side: int) -> Make:
    """Cut squares out of a labelled picture, turned and mirrored at random."""
    areas = np.bincount(labels.reshape(-1))

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        while True:
            y, x = (int(rng.integers(n - side + 1)) for n in image.shape)
            turns, mirrored = int(rng.integers(4)), rng.integers(2)
            turn = lambda a, y=y, x=x, k=turns, m=mirrored: np.rot90(a[y : y + side, x : x + side], k)[:, :: 1 - 2 * m]
            seen, boxes, parts = turn(labels), [], []
            for one in np.unique(seen[seen > 0]):
                (boxes if (seen == one).sum() >= areas[one] / 2 else parts).append(box_of(seen == one))
            yield Picture(np.ascontiguousarray(turn(image)), boxes, parts)

    return make


def whole(name: str) -> Make:
    """Yield a labelled picture, `nuclei` or `coins`, as it is."""
    image, labels = LABELLED[name]()

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        del rng
        places = [place for place in ndimage.find_objects(labels) if place]
        yield Picture(image, [[float(v) for v in (x.start, y.start, x.stop, y.stop)] for y, x in places], [])

    return make


def nuclei() -> tuple[np.ndarray, np.ndarray]:
    """Read the labelled fluorescence micrograph that comes with stardist (16 bits, dim)."""
    import tifffile

    spec = find_spec("stardist")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError("pip install --no-deps stardist==0.9.2", name="stardist")
    images = Path(spec.submodule_search_locations[0]) / "data" / "images"
    return tifffile.imread(images / "img2d.tif"), tifffile.imread(images / "mask2d.tif")


def coins() -> tuple[np.ndarray, np.ndarray]:
    """Read scikit-image's photograph of coins, labelled by watershed from markers, as in its own tutorial."""
    from skimage import data, filters, segmentation

    image = data.coins()
    markers = np.select([image < 30, image > 150], [1, 2], 0)
    inside = ndimage.binary_fill_holes(segmentation.watershed(filters.sobel(image), markers) == 2)
    labels, number = ndimage.label(inside)
    small = np.flatnonzero(np.bincount(labels.reshape(-1), minlength=number + 1) < 300)
    return image, np.where(np.isin(labels, small), 0, labels)


LABELLED = {"nuclei": nuclei, "coins": coins}
"""Labelled pictures by name."""


def game(name: str, mode: str = "ram") -> Make:
    """Play an Atari game at random; OCAtari reads boxes, but for score and lives, from its memory or from the colours.

    What else is drawn and changes, such as score and lives, may be counted or not, also while it shows what it does in
    most frames; and so may a thing of which half lies on another one's place: memory does not tell which of them is
    drawn.
    """

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        frames = _play(name, mode, rng)
        first = list(islice(frames, FIRST))
        still = np.median([frame for frame, _ in first], axis=0)
        shows = displays(first, still)
        for frame, boxes in chain(first, frames):
            hidden = _covered(frame.shape[:2], boxes)
            parts = [box for box in shows if not _plain(frame, box) and not _within(hidden, box).any()]
            changed = np.any(frame != still, axis=-1) & ~_covered(frame.shape[:2], shows)
            parts += _unlisted(changed, boxes)
            alone: list[list[float]] = []
            for box in boxes:
                (parts if any(_share(box, other) >= 0.5 for other in alone) else alone).append(box)
            yield Picture(frame, alone, parts)

    return make


def _play(name: str, mode: str, rng: np.random.Generator) -> Iterator[tuple[np.ndarray, list[list[float]]]]:
    """Yield frames and the boxes of the things in them."""
    import ale_py
    import gymnasium
    from ocatari.core import OCAtari

    gymnasium.register_envs(ale_py)
    env, step, action = OCAtari(f"ALE/{name}-v5", mode=mode, hud=False, render_mode=None), 0, 0
    env.reset(seed=int(rng.integers(2**31)))
    while True:
        # The same episode follows every seed unless actions differ, and colours are others just after a reset.
        action = int(rng.integers(env.action_space.n)) if step % 4 == 0 else action
        *_, ended, cut, _ = env.step(action)
        step += 1
        if step > 60 and step % 9 == 0:
            frame = np.asarray(env._ale.getScreenRGB())
            yield frame, list(_drawn(env.objects, frame))
        if ended or cut:
            env.reset(seed=int(rng.integers(2**31)))
            step = 0


def _drawn(objects: Any, frame: np.ndarray) -> Iterator[list[float]]:
    """Yield the boxes of things in memory that are on the screen and not of one colour there, as hidden ones are."""
    height, width = frame.shape[:2]
    for one in objects:
        if not one or one.category == "NoObject":
            continue
        x, y, across, down = map(int, one.xywh)
        x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + across, width), min(y + down, height)
        box = [float(edge) for edge in (x0, y0, x1, y1)]
        if x1 > x0 and y1 > y0 and not _plain(frame, box):
            yield box


def _plain(frame: np.ndarray, box: list[float]) -> bool:
    """Tell whether a box of a frame is of one colour."""
    return bool(np.ptp(_within(frame, box), axis=(0, 1)).max() == 0)


def _within(frame: np.ndarray, box: list[float]) -> np.ndarray:
    x0, y0, x1, y1 = map(int, box)
    return frame[y0:y1, x0:x1]


def displays(frames: list[tuple[np.ndarray, list[list[float]]]], still: np.ndarray) -> list[list[float]]:
    """Find the places, such as the digits of a score, that change by themselves, and where listed things seldom are.

    Args:
        frames: frames, and the boxes of the things listed in each.
        still: what they show most of the time.
    """
    covered = np.array([_covered(frame.shape[:2], boxes) for frame, boxes in frames])
    changed = np.array([np.any(frame != still, axis=-1) for frame, _ in frames]) & ~covered
    places = _unlisted(changed.any(axis=0) & (covered.mean(axis=0) < SELDOM), [], near=1)
    return [box for box in places if min(box[2] - box[0], box[3] - box[1]) >= THIN]  # others are edges of listed things


def _covered(shape: tuple[int, int], boxes: list[list[float]]) -> np.ndarray:
    """Mark the pixels that lie in some box."""
    marks = np.zeros(shape, bool)
    for box in boxes:
        _within(marks, box)[:] = True
    return marks


def _share(box: list[float], other: list[float]) -> float:
    """Return the share of a box that lies within another one."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = box, other
    return max(min(x1, a1) - max(x0, a0), 0) * max(min(y1, b1) - max(y0, b0), 0) / ((x1 - x0) * (y1 - y0))


def _unlisted(changed: np.ndarray, boxes: list[list[float]], near: int = NEAR) -> list[list[float]]:
    """Find the pieces of what changed that touch none of the boxes; pieces near each other, as digits are, are one."""
    labels, _ = ndimage.label(ndimage.binary_dilation(changed, iterations=near))
    labels *= changed
    listed = {0}
    for x0, y0, x1, y1 in boxes:
        listed.update(np.unique(labels[int(y0) : int(y1), int(x0) : int(x1)]))
    pieces = enumerate(ndimage.find_objects(labels), 1)
    return [
        [float(edge) for edge in (place[1].start, place[0].start, place[1].stop, place[0].stop)]
        for i, place in pieces
        if place and i not in listed
    ]


def beans() -> Make:
    """Draw beans of three colours on grey cloth: uneven light, soft shadows, noise, JPEG; some touch."""
    height, width = 120, 160
    y, x = np.mgrid[:height, :width] + 0.5
    colours = np.array([[0.93, 0.9, 0.84], [0.45, 0.12, 0.1], [0.16, 0.14, 0.15]])

    def bean(rng):
        cx, cy, angle = rng.uniform(13, width - 13), rng.uniform(13, height - 13), rng.uniform(0, 2 * np.pi)
        along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle) - 0.02 * along**2
        return np.hypot(along / rng.uniform(9, 12), across / rng.uniform(5, 6.5))

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        while True:
            shapes: list[tuple[np.ndarray, np.ndarray]] = []
            for _ in range(60 * int(number := rng.integers(8))):
                radius = bean(rng)
                if len(shapes) < number and not any((mask & (radius < 1)).any() for mask, _ in shapes):
                    shapes.append((radius < 1, radius))
            taken = np.any([mask for mask, _ in shapes], axis=0) if shapes else np.zeros((height, width), bool)
            shadow = ndimage.gaussian_filter(np.roll(taken, (2, 2), (0, 1)).astype(float), 2)
            scene = np.array([0.55, 0.56, 0.58]) * (1 - 0.3 * shadow[..., None])
            boxes = []
            for mask, radius in shapes:
                shine = 1 - 0.3 * np.clip(radius, 0, 1) ** 2
                scene = np.where(mask[..., None], colours[rng.integers(3)] * shine[..., None], scene)
                boxes.append(box_of(mask))
            towards, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.3)
            light = 1 - strength * (0.5 + (x * np.cos(towards) + y * np.sin(towards)) / (2 * width))
            pixels = scene * light[..., None] + rng.normal(0, 0.015, scene.shape)
            yield Picture(np.uint8(255 * np.clip(pixels, 0, 1)), boxes, [], jpeg=85)

    return make


def bolts() -> Make:
    """Draw dark rings and bars of several sizes, seen from above on a bright, slightly dirty plate, out of focus."""
    side = 112

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        while True:
            canvas, boxes = Image.new("L", (3 * side, 3 * side), 225), []
            for _ in range(rng.integers(7)):
                for _ in range(20):
                    long, short = rng.uniform(10, 26), rng.uniform(7, 9)
                    x, y = rng.uniform(14, side - 14, 2)
                    ring = rng.random() < 0.5
                    own = Image.new("L", canvas.size)
                    draw = ImageDraw.Draw(own)
                    half = (long / 3, long / 3) if ring else (long / 2, short / 2)
                    corners = [3 * v for v in (x - half[0], y - half[1], x + half[0], y + half[1])]
                    draw.ellipse(corners, fill=255) if ring else draw.rectangle(corners, fill=255)
                    if ring:
                        inner = [3 * v for v in (x - long / 8, y - long / 8, x + long / 8, y + long / 8)]
                        draw.ellipse(inner, fill=0)
                    own = own.rotate(rng.uniform(0, 180), center=(3 * x, 3 * y), resample=Image.Resampling.BICUBIC)
                    box = [edge / 3 for edge in own.getbbox() or (0, 0, 3, 3)]
                    if all(box[0] > b[2] or b[0] > box[2] or box[1] > b[3] or b[1] > box[3] for b in boxes):
                        canvas.paste(int(rng.integers(40, 110)), mask=own)
                        boxes.append(box)
                        break
            small = canvas.filter(ImageFilter.GaussianBlur(rng.uniform(2, 4))).resize((side, side))
            dirt = ndimage.gaussian_filter(rng.standard_normal((side, side)), 12) * 60
            pixels = np.asarray(small, float) + dirt + rng.normal(0, 4, (side, side))
            yield Picture(np.uint8(np.clip(pixels, 0, 255)), boxes, [])

    return make


def words() -> Make:
    """Lay words, cut out of scikit-image's scanned page, on paper in uneven light, JPEG."""
    cuts, (height, width) = list(_inked_words()), (80, 144)
    y, x = np.mgrid[:height, :width]

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        while True:
            ink, boxes = np.zeros((height, width)), []
            taken = np.zeros((height, width), bool)
            for _ in range(rng.integers(8)):
                for _ in range(20):
                    cut = cuts[rng.integers(len(cuts))]
                    top, left = (rng.integers(1, whole - own - 1) for whole, own in zip(ink.shape, cut.shape))
                    part = slice(top, top + cut.shape[0]), slice(left, left + cut.shape[1])
                    if taken[max(0, top - 2) : part[0].stop + 2, max(0, left - 5) : part[1].stop + 5].any():
                        continue
                    ink[part], taken[part] = np.maximum(ink[part], cut), True
                    boxes.append([edge + float(corner) for edge, corner in zip(box_of(cut > 0.2), (left, top) * 2)])
                    break
            towards, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0.1, 0.5)
            along = (x - width / 2) * np.cos(towards) + (y - height / 2) * np.sin(towards)
            paper = 1 + 0.03 * ndimage.gaussian_filter(rng.standard_normal(ink.shape), 1.5)
            pixels = 190 * (1 - strength * (0.5 + along / width)) * paper * (1 - ink) + rng.normal(0, 3, ink.shape)
            yield Picture(np.uint8(np.clip(pixels, 0, 255)), boxes, [], jpeg=85)

    return make


def _inked_words() -> Iterator[np.ndarray]:
    """Yield words of the scanned page, as shares of ink: letters less than a few pixels apart."""
    from skimage import data

    page = data.page().astype(float)
    ink = np.clip(1 - page / ndimage.gaussian_filter(ndimage.maximum_filter(page, 15), 12), 0, 1)
    labels, _ = ndimage.label(ndimage.binary_dilation(ink > 0.3, np.ones((1, 5))))
    for rows, columns in ndimage.find_objects(labels):
        whole = rows.start > 0 and rows.stop < len(page)
        if whole and 7 <= rows.stop - rows.start <= 16 and 12 <= columns.stop - columns.start <= 50:
            part = rows, slice(columns.start + 1, columns.stop - 1)
            yield ink[part] * ndimage.binary_dilation(labels[part] > 0)


def rings() -> Make:
    """Draw particles in a microscope with yellowish light: dark rings with a bright middle, sizes differ by three."""
    side, cast = 112, np.array([1.0, 0.95, 0.78])
    y, x = np.mgrid[:side, :side] + 0.5

    def make(rng: np.random.Generator) -> Iterator[Picture]:
        while True:
            change, placed, boxes, parts = np.zeros((side, side)), [], [], []
            for _ in range(rng.integers(8)):
                for _ in range(30):
                    radius = np.exp(rng.uniform(np.log(5), np.log(15)))
                    a, b = rng.uniform(0, side, 2)
                    if all(np.hypot(a - c, b - d) > radius + other + 1 for c, d, other in placed):
                        break
                else:
                    continue
                placed.append((a, b, radius))
                away = np.hypot(x - a, y - b)
                change -= 0.42 * np.exp(-(((away - 0.85 * radius) / (1.2 + 0.08 * radius)) ** 2))
                change += 0.25 * np.exp(-((away / (0.45 * radius)) ** 2))
                box = np.clip([a - radius, b - radius, a + radius, b + radius], 0, side)
                seen = (box[2] - box[0]) * (box[3] - box[1]) > 2 * radius**2
                (boxes if seen else parts).append(box.tolist())
            towards = rng.uniform(0, 2 * np.pi)
            light = 1 - 0.15 * ((x - side / 2) * np.cos(towards) + (y - side / 2) * np.sin(towards)) / side
            pixels = 255 * (0.62 * light * (1 + change))[..., None] * cast + rng.normal(0, 4, (side, side, 3))
            yield Picture(np.uint8(np.clip(pixels, 0, 255)), boxes, parts, jpeg=92)

    return make


FOLDERS: dict[str, tuple[Callable[[], Make], int]] = {
    "nuclei": (lambda: crops(*nuclei(), 96), 1_200),
    "coins": (lambda: crops(*coins(), 128), 1_200),
    "asterix": (lambda: game("Asterix"), 1_200),
    "freeway": (lambda: game("Freeway"), 1_200),
    "space_invaders": (lambda: game("SpaceInvaders", "vision"), 1_200),
    "beans": (beans, 1_500),
    "bolts": (bolts, 1_500),
    "words": (words, 1_200),
    "rings": (rings, 1_200),
    "change": (photographs.change, 1_200),
    "fruit": (photographs.fruit, 1_200),
}
"""How each folder is made, and how many pictures there are to learn from."""
