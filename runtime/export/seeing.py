"""The vision tower while it learns: at each soft token it names the thing there, its trait and its edges."""

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
from scenes import SIZES, Scene, draw_scene, paint
from things import COLOURS, DRAWN, GAUGE_VALUES, SIGN_WORDS, Thing

NOTHING = 0
KINDS = ["", *DRAWN]
TRAITS = ["", *COLOURS, "on", "off", *GAUGE_VALUES, *SIGN_WORDS]
EDGE_WEIGHT = 8.0
NOTHING_WEIGHT = 0.5
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


def cells(scene: Scene, columns: int, rows: int) -> Cells:
    """Each cell shows the thing that covers most of it; the cell in a thing's middle always shows that thing."""
    kinds, traits = np.zeros((rows, columns), np.int64), np.zeros((rows, columns), np.int64)
    edges, covered = np.zeros((rows, columns, 4), np.float32), np.zeros((rows, columns))
    for thing in scene.things:
        left, top, right, bottom = thing.box
        wide, high = covering(left, right, columns), covering(top, bottom, rows)
        cover = high[:, None] * wide[None, :]
        cover[int((top + bottom) / 2 * rows), int((left + right) / 2 * columns)] = 2
        mine = cover > np.maximum(covered, 0.3)
        covered = np.maximum(covered, cover)
        kinds[mine], traits[mine], edges[mine] = KINDS.index(thing.kind), TRAITS.index(thing.trait), thing.box
    return Cells(kinds.ravel(), traits.ravel(), edges.reshape(-1, 4))


def covering(start: float, end: float, count: int) -> np.ndarray:
    """Which share of each cell of a row lies between two shares of the picture."""
    first = np.arange(count)
    return np.clip(np.minimum(end * count, first + 1) - np.maximum(start * count, first), 0, 1)


class Seeing(torch.nn.Module):
    """Tower and the three heads that only training needs."""

    def __init__(self, tower) -> None:
        super().__init__()
        self.tower = tower
        unclipped(tower)
        self.kinds, self.traits, self.edges = (torch.nn.Linear(tower.config.hidden_size, count)
                                               for count in (len(KINDS), len(TRAITS), 4))

    def features(self, patches: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """What the tower gives [pictures, tokens, hidden], brought to unit size as the embedder does it."""
        seen = self.tower(patches, places).last_hidden_state.view(len(patches), -1, self.tower.config.hidden_size)
        return seen * torch.rsqrt(seen.pow(2).mean(-1, keepdim=True) + 1e-6)

    def loss(self, batch: dict) -> tuple:
        """Cross-entropy of kinds and traits, distance of edges."""
        seen = self.features(batch["patches"], batch["places"])
        is_thing = batch["kinds"] != NOTHING
        weight = torch.ones(len(KINDS))
        weight[NOTHING] = NOTHING_WEIGHT
        kinds = F.cross_entropy(self.kinds(seen).flatten(0, 1), batch["kinds"].flatten(), weight)
        traits = F.cross_entropy(self.traits(seen[is_thing]), batch["traits"][is_thing])
        edges = F.l1_loss(self.edges(seen[is_thing]), batch["edges"][is_thing])
        total = kinds + traits + EDGE_WEIGHT * edges
        return total, {"kinds": kinds.item(), "traits": traits.item(), "edges": edges.item()}

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
                "kinds": stack("kinds"), "traits": stack("traits"), "edges": stack("edges")}


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
