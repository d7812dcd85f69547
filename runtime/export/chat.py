"""Rendering with the folder's chat template, and the mask of tokens that the model itself must write."""

from pathlib import Path

import jinja2
from jinja2.ext import loopcontrols

TEMPLATE_FILE = Path(__file__).parent.parent / "demo-model" / "chat_template.jinja"


class Chat:
    """The chat template as transformers compiles it."""

    def __init__(self) -> None:
        environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
        self.template = environment.from_string(TEMPLATE_FILE.read_text())

    def render(self, messages: list, tools: list, prompt: bool, thinking: bool = False) -> str:
        """The conversation as text; `prompt` opens the model's turn at the end."""
        return self.template.render(messages=messages, tools=tools or None, bos_token="<bos>",
                                    add_generation_prompt=prompt, enable_thinking=thinking)


def expand_media(text: str, soft_tokens: list) -> str:
    """Replaces each media placeholder by its opening tag, as many placeholders as soft tokens, and its closing tag.

    `soft_tokens` holds `("image"|"audio", count)` or `("video", [count of a frame])` in order of appearance. A film is
    its frames, one a second, each behind its time.
    """
    out, rest = "", text
    for kind, count in soft_tokens:
        before, rest = rest.split(f"<|{kind}|>", 1)
        frames = [f"00:{second:02} <|image>{'<|video|>' * part}<image|>" for second, part in enumerate(count)] \
            if kind == "video" else [f"<|{kind}>" + f"<|{kind}|>" * count + f"<{kind}|>"]
        out += before + " ".join(frames)
    return out + rest


def model_part(ids: list, token_id: dict) -> list:
    """For each position whether the model wrote the token there: its turns without the tool responses."""
    opening = [token_id["<|turn>"], token_id["model"], token_id["\n"]]
    written, mask = False, []
    for position, token in enumerate(ids):
        # Another result behind a result is the host's as well.
        is_host = ids[position - 1:position + 1] == [token_id["<tool_response|>"], token_id["<|tool_response>"]]
        mask.append(written and not is_host)
        if written and token in (token_id["<turn|>"], token_id["<|tool_response>"]):
            written = False
        elif token == token_id["<tool_response|>"] or ids[max(0, position - 2):position + 1] == opening:
            written = True
    return mask
