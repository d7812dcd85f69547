"""Runs a folder of any layout with ONNX Runtime, feeding what its graphs declare."""

from pathlib import Path

import numpy as np
import onnxruntime

NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64, "tensor(bool)": bool}
FILES = {"decoder": ["onnx/decoder_model_merged*.onnx", "decoder/model.onnx", "model.onnx"],
         "embedding": ["onnx/embed_tokens*.onnx", "embedding/model.onnx"],
         "vision": ["onnx/vision_encoder*.onnx", "vision_encoder/model.onnx"],
         "audio": ["onnx/audio_encoder*.onnx", "audio_encoder/model.onnx"]}


class Graph:
    """One session, with its inputs by name."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = 1, 3
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.inputs = {node.name: node for node in self.session.get_inputs()}
        self.outputs = [node.name for node in self.session.get_outputs()]

    def run(self, feed: dict) -> dict:
        """Runs with those values of `feed` that the graph takes, in its element types."""
        feed = {name: np.asarray(feed[name]).astype(NUMPY[node.type]) for name, node in self.inputs.items()}
        return dict(zip(self.outputs, self.session.run(None, feed)))


class Published:
    """The graphs of a folder, the ids of its placeholders, and what knows how clips are padded."""

    def __init__(self, folder: Path, config, processor) -> None:
        self.config, self.processor, self.graphs = config, processor, {}
        for role, patterns in FILES.items():
            found = [path for pattern in patterns for path in sorted(folder.glob(pattern))]
            if found:
                self.graphs[role] = Graph(found[0])
        self.decoder = self.graphs["decoder"]
        self.merges_itself = "embedding" in self.graphs and "image_features" in self.graphs["embedding"].inputs

    def features(self, inputs: dict) -> dict:
        """Encoder outputs by placeholder id, in the order of their media."""
        config, found = self.config, {}
        pictures = (("pixel_values", "image_position_ids", config.image_token_id),
                    ("pixel_values_videos", "video_position_ids", config.video_token_id))
        for pixels, positions, token in pictures:
            for values, places in zip(inputs.get(pixels, []), inputs.get(positions, [])):
                real = (places >= 0).all(-1)
                feed = {"pixel_values": values[real][None], "pixel_position_ids": places[real][None]}
                found.setdefault(token, []).append(flat(self.graphs["vision"].run(feed)["image_features"]))
        sounds = (inputs.get(name, []) for name in ("input_features", "input_features_mask"))
        for frames, mask in self.processor.alone(*sounds):
            feed = {"input_features": frames, "input_features_mask": mask}
            made = flat(self.graphs["audio"].run(feed)["audio_features"])
            found.setdefault(config.audio_token_id, []).append(made)
        return {token: np.concatenate(parts) for token, parts in found.items()}

    def embed(self, ids: np.ndarray, features: dict) -> dict:
        """What the decoder reads of token ids [1, length] beside the past."""
        if "embedding" not in self.graphs:
            return {"input_ids": ids}
        config, embedding = self.config, self.graphs["embedding"]
        video, image = config.video_token_id, config.image_token_id
        if self.merges_itself:
            # These graphs know no placeholder of their own for frames of films.
            ids = np.where(ids == video, image, ids)
            seen = [features[token] for token in (image, video) if token in features]
            none = np.zeros((0, self.config.text_config.hidden_size), np.float32)
            return embedding.run({"input_ids": ids, "image_features": np.concatenate([none, *seen]),
                                  "audio_features": features.get(config.audio_token_id, none)}) | {"input_ids": ids}
        media = np.isin(ids, [image, video, config.audio_token_id])
        made = embedding.run({"input_ids": np.where(media, config.text_config.pad_token_id, ids)})
        for token, rows in features.items():
            made["inputs_embeds"][ids == token] = rows
        return made | {"input_ids": ids}

    def empty_past(self) -> dict:
        return {name: np.zeros((1, node.shape[1], 0, node.shape[3]), NUMPY[node.type])
                for name, node in self.decoder.inputs.items() if name.startswith("past_key_values")}

    def step(self, embedded: dict, past: dict, keep: int = 0) -> tuple:
        """Logits of the last `keep` rows (0: all) where the graph lets us choose, and the longer past."""
        before = next(iter(past.values())).shape[2]
        total = before + embedded["input_ids"].shape[1]
        made = self.decoder.run(embedded | past | {
            "attention_mask": np.ones((1, total)), "position_ids": np.arange(before, total)[None],
            "num_logits_to_keep": keep})
        logits = made.pop("logits").astype(np.float32)
        return logits[0], {name.replace("present", "past_key_values"): value for name, value in made.items()}

    def trace(self, inputs: dict, chunks: list, written: list, suppressed: list) -> tuple:
        """Logits of every prompt row, prefilled in chunks that end at the given places; greedy continuation ids."""
        inputs = {name: value.numpy() for name, value in inputs.items()}
        embedded = self.embed(inputs["input_ids"], self.features(inputs))
        past, rows = self.empty_past(), []
        for start, end in zip([0, *chunks], [*chunks, inputs["input_ids"].shape[1]]):
            part = {name: value[:, start:end] for name, value in embedded.items()}
            logits, past = self.step(part, past)
            rows.append(logits)
        ids = []
        while len(ids) < written:
            last = logits[-1].copy()
            last[suppressed] = -np.inf
            ids.append(int(last.argmax()))
            logits, past = self.step(self.embed(np.array([ids[-1:]]), {}), past, keep=1)
        return np.concatenate(rows), ids


def flat(features: np.ndarray) -> np.ndarray:
    return features.reshape(-1, features.shape[-1])
