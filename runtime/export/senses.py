"""The two trained towers as they are used: a sound or a picture to the rows that the decoder's projections take."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from clips import Ear
from hearing import FRAMES_PER_TOKEN, Hearing
from model import audio_tower, vision_tower
from seeing import Eye, Seeing


def restored(module: torch.nn.Module, path: Path) -> torch.nn.Module:
    """A stage's module with the weights of its checkpoint."""
    module.load_state_dict(torch.load(path, weights_only=True)["module"])
    return module.eval().requires_grad_(False)


class Senses:
    """Ear and eye with their towers."""

    def __init__(self, work: Path) -> None:
        self.hearing = restored(Hearing(audio_tower()), work / "hearing.pt")
        self.seeing = restored(Seeing(vision_tower()), work / "seeing.pt")
        self.ear, self.eye = Ear(), Eye()

    @torch.no_grad()
    def hear(self, samples: np.ndarray) -> torch.Tensor:
        """Rows [soft tokens, dims] of unit size for mono f32 samples at 16 kHz."""
        frames = self.ear.frames(samples)
        missing = -len(frames) % FRAMES_PER_TOKEN
        mask = torch.tensor([[True] * len(frames) + [False] * missing])
        rows, kept = self.hearing.features(torch.from_numpy(np.pad(frames, ((0, missing), (0, 0))))[None], mask)
        return rows[kept]

    @torch.no_grad()
    def see(self, image: Image.Image) -> torch.Tensor:
        """Rows [soft tokens, hidden] of unit size for a picture."""
        patches, places = self.eye.patches(image)
        return self.seeing.features(patches[None], places[None])[0]
