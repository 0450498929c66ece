"""Inputs of models that hear: samples, spectrograms, and their masks."""

from __future__ import annotations

from collections.abc import Iterator

from irene.worker.inputs.context import Context, Rule
from irene.worker.inputs.plans import Placeholder

_AUDIO_SAMPLES = 16_000  # one second
_BANDS = 80
_TOWERS = ("audio", "speech", "sound")


def samples(context: Context, name: str) -> Placeholder:
    """One second of audio: (batch, samples); with one channel (batch, 1, samples) in codecs."""
    bands, frames = context.size("num_mel_bins"), context.size("max_length")
    if isinstance(bands, int) and isinstance(frames, int):  # spectrograms, as in AST
        return Placeholder(context.dtype, (context.batch, frames, bands))
    context.assume(f"{name}: one second of audio, {_AUDIO_SAMPLES} samples")
    if context.number("audio_channels") == 1:  # codecs
        return Placeholder(context.dtype, (context.batch, 1, _AUDIO_SAMPLES))
    return Placeholder(context.dtype, (context.batch, _AUDIO_SAMPLES))


def samples_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """One channel of whole frames, as codecs want it."""
    for n in (_AUDIO_SAMPLES, 15 * 1920, 24_000):
        for shape in ((context.batch, 1, n), (context.batch, n)):
            context.assume(f"{name}: {n} samples")
            yield Placeholder(context.dtype, shape)
    width = context.width()
    if width is not None:  # already embedded
        yield Placeholder(context.dtype, (context.batch, context.sequence, width))


def spectrogram(context: Context, name: str) -> Placeholder:
    """(batch, frames, bands), or (batch, bands, frames) where a convolution comes first."""
    del name
    bands = context.number("num_mel_bins", "feature_projection_input_dim", "input_feat_per_channel")
    positions = context.size("max_source_positions")
    if context.size("num_mel_bins") and isinstance(positions, int):
        return Placeholder(
            context.dtype, (context.batch, bands or _BANDS, 2 * positions)
        )  # Whisper
    return Placeholder(context.dtype, (context.batch, context.sequence, bands or _BANDS))


def spectrogram_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """As the first layer of the part that hears takes it; with a channel; longer."""
    del name
    batch, dtype = context.batch, context.dtype
    bands = context.first_width(*_TOWERS) or context.number("num_mel_bins", "input_dim") or _BANDS
    frames = context.sequence
    for n in dict.fromkeys((bands, context.number("num_mel_bins", "mel_bins") or bands, 128)):
        for shape in (
            (batch, frames, n),
            (batch, n, frames),
            (batch, 1, frames, n),
            (batch, n, 3000),
            (batch, 3000, n),
            (batch, 1, 1001, n),
            (n, batch * frames),
        ):
            yield Placeholder(dtype, shape)


def frame_mask(context: Context, name: str) -> Placeholder:
    """All ones: (batch, frames)."""
    del name
    features = spectrogram(context, "input_features")
    frames = max(features.shape[1:]) if features.shape[1] != context.sequence else context.sequence
    context.assume("no padding: every mask of audio frames is all ones")
    return Placeholder("int64", (context.batch, frames), "ones")


def sample_mask(context: Context, name: str) -> Placeholder:
    """All ones: (batch, samples)."""
    context.assume("no padding: every mask of audio samples is all ones")
    del name
    return Placeholder("int64", (context.batch, _AUDIO_SAMPLES), "ones")


def embedded(context: Context, name: str) -> Iterator[Placeholder]:
    """Already embedded: (batch, length, width)."""
    del name
    width = context.width()
    if width is not None:
        yield Placeholder(context.dtype, (context.batch, context.sequence, width))


def frame_lengths(context: Context, name: str) -> Placeholder:
    """All frames count: (batch,)."""
    context.assume(f"{name}: all frames")
    return Placeholder("int64", (context.batch,), values=(context.sequence,))


def spectrogram_out(context: Context, name: str) -> Placeholder:
    """Frames of speech to come: (batch, frames, bands)."""
    del name
    bands = context.number("num_mel_bins", "model_in_dim", "input_feat_size") or _BANDS
    return Placeholder(context.dtype, (context.batch, context.sequence, bands))


def not_longer(context: Context, name: str) -> Placeholder:
    """No audio is longer than the window: (batch, 1)."""
    context.assume(f"{name}: no audio is longer than the window")
    return Placeholder("bool", (context.batch, 1), values=(False,))


def speaker(context: Context, name: str) -> Placeholder:
    """The voice: (batch, width)."""
    del name
    width = context.number("speaker_embedding_dim", "speaker_embed_dim", "enc_emb_dim") or 512
    return Placeholder(context.dtype, (context.batch, width))


RULES: dict[str, Rule] = {
    "input_features": spectrogram,
    "input_values": samples,
    "input_features_mask": frame_mask,
    "feature_attention_mask": frame_mask,
    "padding_mask": sample_mask,
    "feature_lens": frame_lengths,
    "chunk_sample_lengths": frame_lengths,
    "spectrogram": spectrogram_out,
    "decoder_input_values": spectrogram_out,
    "audio_mel": spectrogram_out,
    "is_longer": not_longer,
    "speaker_embeddings": speaker,
    "speaker_embedding": speaker,
}
