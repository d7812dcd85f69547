"""The loop that every stage of the training shares: rate, progress, checkpoints, and going on after a stop."""

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

SEED = 20261121
"""Every draw of the training follows from it."""
REPORT_STEPS, SAVE_STEPS = 50, 250
WARM_STEPS = 200
LEAST = 0.02
"""Share of the peak rate that is left at the end."""


@dataclass
class Progress:
    """How far a stage has come."""
    step: int = 0
    seconds: float = 0.0
    """Time that processor cores spent in steps, over all runs and threads: it does not count who else was busy."""
    measured: list = field(default_factory=list)
    """What `measure` found, with the step and the seconds."""


def rate(step: int, steps: int) -> float:
    """Share of the peak rate: a short rise, then a cosine."""
    fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))
    return min(1.0, (step + 1) / WARM_STEPS) * (LEAST + (1 - LEAST) * fallen)


def optimiser(module: torch.nn.Module, peak: float, free: tuple = ()) -> torch.optim.Optimizer:
    """AdamW; vectors, and parameters whose name holds a part of `free`, without decay."""
    named = [(name, tensor) for name, tensor in module.named_parameters() if tensor.requires_grad]
    is_free = lambda name, tensor: tensor.ndim < 2 or any(part in name for part in free)
    groups = [{"params": [tensor for name, tensor in named if not is_free(name, tensor)], "weight_decay": 0.02},
              {"params": [tensor for name, tensor in named if is_free(name, tensor)], "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.98), fused=True)


class Trainer:
    """One stage: a module with `loss(batch) -> (loss, figures)`, and where its checkpoint lies."""

    def __init__(self, module: torch.nn.Module, path: Path, peak: float, steps: int, free: tuple = ()) -> None:
        self.module, self.path, self.peak, self.steps = module, path, peak, steps
        self.optimise = optimiser(module, peak, free)
        self.progress = Progress()
        if path.exists():
            self.resume()

    def resume(self) -> None:
        """Takes weights, moments and progress from the checkpoint."""
        state = torch.load(self.path, weights_only=True)
        self.module.load_state_dict(state["module"])
        self.optimise.load_state_dict(state["optimiser"])
        self.progress = Progress(**state["progress"])
        print(f"going on from step {self.progress.step} of {self.path}", flush=True)

    def save(self) -> None:
        """Writes beside and renames, so that a stop leaves a whole checkpoint."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        beside = self.path.with_suffix(".new")
        torch.save({"module": self.module.state_dict(), "optimiser": self.optimise.state_dict(),
                    "progress": vars(self.progress)}, beside)
        beside.rename(self.path)
        report = self.path.with_suffix(".json")
        report.write_text(json.dumps(vars(self.progress) | {"steps": self.steps}, indent=1) + "\n")

    def run(self, batches, measure, measure_steps: int) -> None:
        """Steps until all are done. `batches(step)` yields from a step on; `measure()` returns figures by name."""
        progress, running = self.progress, {}
        if progress.step >= self.steps:
            return
        for batch in batches(progress.step):
            start = time.process_time()
            figures = self.step(batch)
            progress.seconds += time.process_time() - start
            for name, value in figures.items():
                running[name] = value if name not in running else 0.97 * running[name] + 0.03 * value
            done = progress.step >= self.steps
            if progress.step % REPORT_STEPS == 0:
                shown = " ".join(f"{name} {value:.4f}" for name, value in running.items())
                print(f"step {progress.step}/{self.steps} {progress.seconds:.0f} core seconds {shown}", flush=True)
            if progress.step % measure_steps == 0 or done:
                self.note(measure)
            if progress.step % SAVE_STEPS == 0 or done:
                self.save()
            if done:
                return

    def step(self, batch) -> dict:
        """One update; returns the figures of the batch."""
        self.module.train()
        for group in self.optimise.param_groups:
            group["lr"] = self.peak * rate(self.progress.step, self.steps)
        loss, figures = self.module.loss(batch)
        self.optimise.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.optimise.step()
        self.progress.step += 1
        return figures

    def note(self, measure) -> None:
        """Measures on held-out data and keeps what was found."""
        self.module.eval()
        with torch.no_grad():
            figures = measure()
        found = {"step": self.progress.step, "seconds": round(self.progress.seconds)} | figures
        self.progress.measured.append(found)
        print(json.dumps(found), flush=True)
