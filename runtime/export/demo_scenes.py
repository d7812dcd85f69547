"""Writes the pictures of the demo's front door, and what a watch must report about each.

Usage: python demo_scenes.py [FOLDER]

FOLDER/watch.json holds the question, and for each picture its file, its size, by which the demo knows which one the
camera showed, and what it shows. Both are of the held-out side: the model never saw them.
"""

import argparse
import json
import random
from pathlib import Path

from scenes import Scene, draw_scene, paint
from trainer import SEED

FOLDER = Path(__file__).parent.parent.parent / "tests" / "fixtures" / "door"
QUESTION = "Report parcel, people as JSON."
SIZES = {"empty": (480, 360), "parcel": (640, 480)}


def reported(scene: Scene) -> dict:
    return {"parcel": bool(scene.of("parcel")), "people": len(scene.of("person"))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=FOLDER)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    parcel = draw_scene(random.Random(SEED), True, "door", ["parcel"])
    pictures = []
    for name, scene in {"empty": Scene("door", ()), "parcel": parcel}.items():
        width, height = SIZES[name]
        # The same door in both: what is before it is drawn last.
        paint(scene, random.Random(SEED), (width, height)).save(folder / f"{name}.png", optimize=True)
        pictures.append({"file": f"{name}.png", "width": width, "height": height, "shows": reported(scene)})
    watch = {"question": QUESTION, "pictures": pictures}
    (folder / "watch.json").write_text(json.dumps(watch, indent=1) + "\n")


if __name__ == "__main__":
    main()
