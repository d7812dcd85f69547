"""Measures llama.cpp, through llama-cpp-python, on a GGUF. Prints one JSON object.

Its fastest ordinary settings: the file mapped, weights repacked for the processor where llama.cpp does that, batches of
512, as many threads as given. Flash attention is on or off as asked for.
"""

import argparse
from importlib.metadata import version

import llama_cpp

from measuring import REPLY_TOKENS, arguments, measure, tell

BATCH = 512
FLASH = {"off": 0, "on": 1}


class Peer:
    def __init__(self, options) -> None:
        llama_cpp.llama_backend_init()
        model = llama_cpp.llama_model_default_params()
        model.n_gpu_layers, model.use_mmap = 0, True
        self.model = llama_cpp.llama_model_load_from_file(str(options.model).encode(), model)
        if not self.model:
            raise SystemExit(f"failed: llama.cpp does not open {options.model}")
        context = llama_cpp.llama_context_default_params()
        context.n_ctx = max([*options.prompt, *options.past]) + (options.rounds + 1) * REPLY_TOKENS + 64
        context.n_batch = context.n_ubatch = BATCH
        context.n_threads = context.n_threads_batch = options.threads
        context.flash_attn_type, context.swa_full = FLASH[options.flash], False
        self.context = llama_cpp.llama_init_from_model(self.model, context)
        if not self.context:
            raise SystemExit("failed: llama.cpp makes no context")

    def begin(self, tokens: list) -> None:
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)
        for first in range(0, len(tokens), BATCH):
            self.take(tokens[first:first + BATCH])
        self.choose()

    def take(self, tokens: list) -> None:
        # The batch points to this array, which has to stay alive until it is read.
        ids = (llama_cpp.llama_token * len(tokens))(*tokens)
        if llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(ids, len(tokens))) != 0:
            raise SystemExit("failed: llama.cpp cannot process the tokens")

    def choose(self) -> None:
        """Takes any ordinary token: choosing costs a peer nothing."""
        logits = llama_cpp.llama_get_logits_ith(self.context, -1)
        self.next = 1_000 + int(abs(logits[0]) * 1_000) % 100_000

    def step(self) -> None:
        self.take([self.next])
        self.choose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    arguments(parser)
    parser.add_argument("--flash", choices=FLASH, default="on")
    options = parser.parse_args()
    found = measure(lambda: Peer(options), options)
    tell(found | {"name": "llama.cpp", "version": f"llama-cpp-python {version('llama-cpp-python')}",
                  "system": llama_cpp.llama_print_system_info().decode().strip()})


if __name__ == "__main__":
    main()
