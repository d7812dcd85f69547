"""The vision tower while it learns: at each soft token it names the thing there, what it is like, and its place."""

import random
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers.models.gemma4.image_processing_gemma4 import Gemma4ImageProcessor

from boxes import overlap
from hearing import unclipped
from model import MAX_SOFT_TOKENS
from questions import from_the_left
from scenes import SIZES, THINGS_MAX, Scene, draw_scene, paint
from things import COLOURS, DRAWN, GAUGE_VALUES, SIGN_WORDS, Thing

NOTHING = 0
KINDS = ["", *DRAWN]
TRAITS = ["", *COLOURS, "on", "off", *GAUGE_VALUES, *SIGN_WORDS]
EDGE_WEIGHT = 8.0
BINS = 20
"""Parts of the picture in which each edge is named too: what is named, the decoder reads more easily than a number."""
WEIGHTS = {"bins": 0.4, "before": 0.3, "place": 0.2, "alike": 0.2}
NOTHING_WEIGHT = 0.5
LABELS = ("kinds", "traits", "edges", "before", "place", "alike")
POOLING = 3


class Eye:
    """The front end of the released models: a picture to patches."""

    def __init__(self) -> None:
        self.processor = Gemma4ImageProcessor(max_soft_tokens=MAX_SOFT_TOKENS)

    def patches(self, image: Image.Image) -> tuple:
        """Patches [patches, 768] f32 and their places [patches, 2] i64, without padding."""
        batch = self.processor([image], return_tensors="pt")
        places = batch["image_position_ids"][0]
        real = places[:, 0] >= 0
        return batch["pixel_values"][0][real], places[real]


@dataclass
class Cells:
    """The soft tokens of a picture with what they show, row by row."""
    kinds: np.ndarray
    traits: np.ndarray
    edges: np.ndarray
    """[tokens, 4], shares of the picture: left, top, right, bottom of the thing there."""
    before: np.ndarray
    """Kind of the next thing on the left, or nothing; only where a thing is, as what follows."""
    place: np.ndarray
    """How many things are farther to the left."""
    alike: np.ndarray
    """How many things of its kind there are."""


def cells(scene: Scene, columns: int, rows: int) -> Cells:
    """Each cell shows the thing that covers most of it; the cell in a thing's middle always shows that thing."""
    kinds, traits, before, place, alike = (np.zeros((rows, columns), np.int64) for _ in range(5))
    edges, covered = np.zeros((rows, columns, 4), np.float32), np.zeros((rows, columns))
    ordered = from_the_left(scene)
    for thing in scene.things:
        left, top, right, bottom = thing.box
        wide, high = covering(left, right, columns), covering(top, bottom, rows)
        cover = high[:, None] * wide[None, :]
        cover[int((top + bottom) / 2 * rows), int((left + right) / 2 * columns)] = 2
        mine = cover > np.maximum(covered, 0.3)
        covered = np.maximum(covered, cover)
        kinds[mine], traits[mine], edges[mine] = KINDS.index(thing.kind), TRAITS.index(thing.trait), thing.box
        place[mine] = ordered.index(thing)
        before[mine] = KINDS.index(ordered[ordered.index(thing) - 1].kind) if ordered.index(thing) else NOTHING
        alike[mine] = len(scene.of(thing.kind))
    return Cells(kinds.ravel(), traits.ravel(), edges.reshape(-1, 4), before.ravel(), place.ravel(), alike.ravel())


def covering(start: float, end: float, count: int) -> np.ndarray:
    """Which share of each cell of a row lies between two shares of the picture."""
    first = np.arange(count)
    return np.clip(np.minimum(end * count, first + 1) - np.maximum(start * count, first), 0, 1)


class Seeing(torch.nn.Module):
    """Tower and the heads that only training needs.

    A thing's tokens tell its order among the others and how many are like it: so the decoder can list and count.
    """

    def __init__(self, tower) -> None:
        super().__init__()
        self.tower = tower
        unclipped(tower)
        hidden = tower.config.hidden_size
        self.kinds, self.traits, self.edges, self.bins, self.place, self.alike = (
            torch.nn.Linear(hidden, count)
            for count in (len(KINDS), len(TRAITS), 4, 4 * BINS, THINGS_MAX, THINGS_MAX + 1))
        self.before = torch.nn.Linear(hidden, hidden, bias=False)

    def features(self, patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """What the tower gives [pictures, tokens, hidden], brought to unit size as the embedder does it."""
        seen = self.tower(patches, places).last_hidden_state.view(len(patches), -1, self.tower.config.hidden_size)
        return seen * torch.rsqrt(seen.pow(2).mean(-1, keepdim=True) + 1e-6)

    def loss(self, batch: dict) -> tuple:
        """Cross-entropy of what is named, distance of edges."""
        seen = self.features(batch["patches"], batch["places"])
        is_thing = batch["kinds"] != NOTHING
        weight = torch.ones(len(KINDS))
        weight[NOTHING] = NOTHING_WEIGHT
        kinds = F.cross_entropy(self.kinds(seen).flatten(0, 1), batch["kinds"].flatten(), weight)
        traits = F.cross_entropy(self.traits(seen[is_thing]), batch["traits"][is_thing])
        there, label = seen[is_thing], {name: tensor[is_thing] for name, tensor in batch.items() if name in LABELS}
        edges = F.l1_loss(self.edges(there), label["edges"])
        bins = (label["edges"] * BINS).long().clamp(0, BINS - 1)
        more = {"bins": F.cross_entropy(self.bins(there).view(-1, BINS), bins.flatten()),
                "before": F.cross_entropy(self.kinds(self.before(there)), label["before"]),
                "place": F.cross_entropy(self.place(there), label["place"]),
                "alike": F.cross_entropy(self.alike(there), label["alike"])}
        total = kinds + traits + EDGE_WEIGHT * edges + sum(WEIGHTS[name] * loss for name, loss in more.items())
        shown = {"kinds": kinds, "traits": traits, "edges": edges} | more
        return total, {name: loss.item() for name, loss in shown.items()}

    def see(self, patches: torch.Tensor, places: torch.Tensor) -> tuple:
        """Classes of kinds and traits, and edges, of each soft token of one picture."""
        seen = self.features(patches[None], places[None])[0]
        return self.kinds(seen).argmax(-1), self.traits(seen).argmax(-1), self.edges(seen)


class Pictures:
    """Batches of drawn pictures, each batch of one size; a pool that is renewed, each picture seen a few times."""

    def __init__(self, batch: int, fresh: int, size: int) -> None:
        self.batch, self.fresh, self.size = batch, fresh, size
        self.eye, self.pools = Eye(), {}

    def prepared(self, scene: Scene, image: Image.Image) -> tuple:
        """Patches in bytes, places, and labels."""
        patches, places = self.eye.patches(image)
        columns, rows = ((places.max(0).values + 1) // POOLING).tolist()
        return (255 * patches).round().byte(), places, cells(scene, columns, rows)

    def batches(self, step: int):
        """Batches without end; after a stop the pools are others."""
        rng = random.Random(f"{step} pictures")
        while True:
            size = rng.choice(SIZES)
            pool = self.pools.setdefault(size, [])
            for _ in range(self.fresh if len(pool) >= 2 * self.batch else 2 * self.batch):
                scene = draw_scene(rng, held_out=False)
                item = self.prepared(scene, paint(scene, rng, size))
                if len(pool) < self.size:
                    pool.append(item)
                else:
                    pool[rng.randrange(self.size)] = item
            yield self.collate(rng.sample(pool, self.batch))

    def collate(self, items: list) -> dict:
        labels = [cells for _, _, cells in items]
        stack = lambda name: torch.from_numpy(np.stack([getattr(cells, name) for cells in labels]))
        return {"patches": torch.stack([patches for patches, _, _ in items]) / 255,
                "places": torch.stack([places for _, places, _ in items]),
                **{name: stack(name) for name in LABELS}}


class HeldOutPictures:
    """Drawings that training never sees."""

    def __init__(self, count: int, seed: int) -> None:
        rng, self.eye = random.Random(seed), Eye()
        self.scenes = [draw_scene(rng, held_out=True) for _ in range(count)]
        self.patches = [self.eye.patches(paint(scene, rng)) for scene in self.scenes]

    def measure(self, seeing: Seeing) -> dict:
        """Percent of things whose middle cell names kind and trait, and the mean overlap of its edges."""
        found = []
        for scene, (patches, places) in zip(self.scenes, self.patches):
            columns, rows = ((places.max(0).values + 1) // POOLING).tolist()
            seen = seeing.see(patches, places)
            found += [judged(thing, seen, columns, rows) for thing in scene.things]
        kinds, traits, overlaps = zip(*found)
        mean = lambda values, places: round(float(np.mean(values)), places)
        return {"things": mean([100 * hit for hit in kinds], 1), "traits": mean([100 * hit for hit in traits], 1),
                "overlap of boxes": mean(overlaps, 3)}


def judged(thing: Thing, seen: tuple, columns: int, rows: int) -> tuple:
    """Whether kind and trait are right in the middle of a thing, and how well the edges are."""
    left, top, right, bottom = thing.box
    cell = int((top + bottom) / 2 * rows) * columns + int((left + right) / 2 * columns)
    kinds, traits, edges = seen
    return (KINDS[kinds[cell]] == thing.kind, TRAITS[traits[cell]] == thing.trait,
            overlap(edges[cell].tolist(), thing.box))
