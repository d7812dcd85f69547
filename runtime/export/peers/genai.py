"""Measures onnxruntime-genai on a folder of its layout. Prints one JSON object.

Its fastest ordinary settings: the graph's GroupQueryAttention with keys and values kept in place (the configuration's
`past_present_share_buffer`), as many threads as given, greedy choice.
"""

import argparse
import json

import onnxruntime_genai

from measuring import REPLY_TOKENS, arguments, measure, tell


class Peer:
    def __init__(self, options) -> None:
        config = onnxruntime_genai.Config(str(options.model))
        threads = {"session_options": {"intra_op_num_threads": options.threads}}
        config.overlay(json.dumps({"model": {"decoder": threads, "embedding": threads}}))
        self.model = onnxruntime_genai.Model(config)
        self.most = max([*options.prompt, *options.past]) + (options.rounds + 1) * REPLY_TOKENS + 64

    def begin(self, tokens: list) -> None:
        parameters = onnxruntime_genai.GeneratorParams(self.model)
        # A reply never ends before it is as long as it may be.
        parameters.set_search_options(do_sample=False, max_length=self.most, min_length=self.most)
        self.generator = onnxruntime_genai.Generator(self.model, parameters)
        self.generator.append_tokens(tokens)
        self.step()

    def step(self) -> None:
        self.generator.generate_next_token()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    arguments(parser)
    options = parser.parse_args()
    found = measure(lambda: Peer(options), options)
    tell(found | {"name": "onnxruntime-genai", "version": onnxruntime_genai.__version__})


if __name__ == "__main__":
    main()
