"""What the parameters of forward are called in Transformers, and what they want."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from irene.tree import Assumption
from irene.worker.inputs.plans import Placeholder
from irene.worker.protocol import BuildSpec

if TYPE_CHECKING:
    import torch

_IMAGE_SIZE = 224
_AUDIO_SAMPLES = 16_000  # one second
_MAIN = ("input_ids", "pixel_values", "input_features", "input_values", "inputs_embeds")


class Conventions:
    """Values by parameter name, with batch and length of the spec and sizes of the config."""

    def __init__(self, model: torch.nn.Module, spec: BuildSpec, dtype: str) -> None:
        self.batch = spec.batch_size
        self.dtype = dtype
        self.model = model
        self._config = getattr(model, "config", None)
        self._texts: list[str] = []
        self._wanted_length = spec.sequence_length

    @property
    def sequence(self) -> int:
        return self._wanted_length

    def assumptions(self) -> tuple[Assumption, ...]:
        """What was decided by convention so far."""
        return tuple(Assumption(text, None) for text in dict.fromkeys(self._texts))

    def assume(self, text: str) -> None:
        self._texts.append(text)

    def value(self, name: str) -> Placeholder | None:
        """The input that a parameter of this name wants; None for an unknown name."""
        makers: dict[str, Callable[[], Placeholder | None]] = {
            "input_ids": lambda: self._ids(name),
            "decoder_input_ids": lambda: self._ids(name),
            "position_ids": lambda: self._ids(name),
            "token_type_ids": lambda: self._ids(name),
            "attention_mask": self._mask,
            "decoder_attention_mask": self._mask,
            "inputs_embeds": self._states,
            "hidden_states": self._states,
            "pixel_values": self._image,
            "input_features": self._spectrogram,
            "input_values": self._audio,
        }
        return makers[name]() if name in makers else None

    def _ids(self, name: str) -> Placeholder:
        return Placeholder("int64", (self.batch, self._text_length(name)))

    def _mask(self) -> Placeholder:
        self.assume("no padding: every attention mask is all ones")
        return Placeholder("int64", (self.batch, self._text_length("attention_mask")), "ones")

    def _audio(self) -> Placeholder:
        bands, frames = self._size("num_mel_bins"), self._size("max_length")
        if isinstance(bands, int) and isinstance(frames, int):  # spectrograms, as in AST
            return Placeholder(self.dtype, (self.batch, frames, bands))
        self.assume(f"input_values: one second of audio, {_AUDIO_SAMPLES} samples")
        return Placeholder(self.dtype, (self.batch, _AUDIO_SAMPLES))

    def optional(
        self, names: Iterable[str], required: Mapping[str, object]
    ) -> dict[str, Placeholder]:
        """Of the parameters that have a default those that the model cannot do without."""
        names = list(names)
        main = self._main_inputs(names, required)
        chosen = [name for name in main if name not in required]
        has_text = "input_ids" in main or "input_ids" in required
        if "attention_mask" in names and has_text and self._is_transformers():
            chosen.append("attention_mask")
        if "decoder_input_ids" in names and self._size("is_encoder_decoder"):
            chosen.append("decoder_input_ids")
        return {name: value for name in chosen if (value := self.value(name)) is not None}

    def _main_inputs(self, names: list[str], required: Mapping[str, object]) -> list[str]:
        known = [name for name in _MAIN if name in names or name in required]
        if self._size("text_config") and self._size("vision_config") and not self._is_generative():
            return [name for name in known if name in ("input_ids", "pixel_values")]
        declared = getattr(self.model, "main_input_name", None)
        if declared in known:
            return [str(declared)]
        return known[:1]

    def _is_generative(self) -> bool:
        """Models that put images among the text take text alone."""
        return hasattr(self.model, "language_model") or self._size("image_token_id") is not None

    def _is_transformers(self) -> bool:
        return self._config is not None and hasattr(self._config, "to_dict")

    def _size(self, *names: str) -> object:
        """The first of these that the config or one of its parts has."""
        parts = [self._config]
        for part in ("text_config", "vision_config", "audio_config", "encoder", "backbone_config"):
            parts.append(getattr(self._config, part, None))
        for name in names:
            for config in parts:
                value = getattr(config, name, None)
                if value is not None:
                    return value
        return None

    def _text_length(self, name: str) -> int:
        limit = self._size("max_position_embeddings", "n_positions", "max_target_positions")
        if name == "decoder_input_ids":
            limit = self._size("max_target_positions") or limit
        if isinstance(limit, int) and 0 < limit < self.sequence:
            self.assume(f"{limit} tokens, the most that the config allows, not {self.sequence}")
            return limit
        return self.sequence

    def _states(self) -> Placeholder | None:
        width = self._size("hidden_size", "d_model", "n_embd")
        if not isinstance(width, int):
            return None
        return Placeholder(self.dtype, (self.batch, self.sequence, width))

    def _image(self) -> Placeholder:
        size = self._size("image_size", "img_size")
        if size is None:
            size = getattr(self.model, "image_size", getattr(self.model, "img_size", None))
        if isinstance(size, Mapping):
            size = (size.get("height"), size.get("width"))
        height, width = _pair(size)
        channels = self._size("num_channels", "in_channels", "in_chans")
        n_channels = channels if isinstance(channels, int) else 3
        return Placeholder(self.dtype, (self.batch, n_channels, height, width))

    def _spectrogram(self) -> Placeholder:
        bands = self._size("num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
        n_bands = bands if isinstance(bands, int) else 80
        positions = self._size("max_source_positions")
        if self._size("num_mel_bins") and isinstance(positions, int):
            return Placeholder(self.dtype, (self.batch, n_bands, 2 * positions))  # Whisper
        return Placeholder(self.dtype, (self.batch, self.sequence, n_bands))


def _pair(size: object) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if isinstance(size, (list, tuple)) and len(size) == 2 and all(isinstance(i, int) for i in size):
        return size[0], size[1]
    return _IMAGE_SIZE, _IMAGE_SIZE
