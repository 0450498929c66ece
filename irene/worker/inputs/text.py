"""Inputs of language models, by the name of forward's parameter."""

from __future__ import annotations

from collections.abc import Iterator

from irene.worker.inputs.context import Context, Rule
from irene.worker.inputs.plans import Placeholder

_N_CHOICES = 4


def ids(context: Context, name: str) -> Placeholder:
    """Tokens: (batch, length); with choices of answers (batch, choices, length)."""
    return Placeholder("int64", (*_rows(context), length(context, name)))


def _rows(context: Context) -> tuple[int, ...]:
    if not type(context.model).__name__.endswith("ForMultipleChoice"):
        return (context.batch,)
    context.assume(f"{_N_CHOICES} choices for each example")
    return context.batch, _N_CHOICES


def ids_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """Tokens of several codebooks: beside each other, or as further rows."""
    n_codebooks = context.number(
        "num_codebooks", "num_audio_channels", "n_codebooks", "audio_channels"
    )
    if n_codebooks is None and "pixel_values" not in context.names:
        n_codebooks = context.number("num_channels")
    first = first_embedding_offsets(context)
    for n in dict.fromkeys(it for it in (first, n_codebooks) if it):
        text = f"{name}: tokens of {n} codebooks"
        for shape in (
            (context.batch, length(context, name), n),
            (n * context.batch, length(context, name)),
        ):
            context.assume(text)
            yield Placeholder("int64", shape)
    if n_codebooks:
        yield Placeholder("int64", (context.batch, length(context, name), n_codebooks + 1))


def first_embedding_offsets(context: Context) -> int | None:
    """The number of codebooks that share one table: the length of its buffer of offsets."""
    for name, buffer in context.model.named_buffers():
        if name.endswith("offsets") and buffer.dim() == 1:
            return int(buffer.shape[0])
    return None


def length(context: Context, name: str) -> int:
    """The sequence length, or the most that the config allows."""
    limit = context.size("max_position_embeddings", "n_positions", "max_target_positions")
    if name.startswith("decoder_"):
        limit = context.size("max_target_positions") or limit
    if isinstance(limit, int) and 0 < limit < context.sequence:
        context.assume(f"{limit} tokens, the most that the config allows, not {context.sequence}")
        return limit
    return context.sequence


def mask(context: Context, name: str) -> Placeholder:
    """All ones, as long as the tokens."""
    context.assume("no padding: every attention mask is all ones")
    return Placeholder("int64", (*_rows(context), length(context, name)), "ones")


def states(context: Context, name: str) -> Placeholder | None:
    """Hidden states: (batch, length, width)."""
    del name
    width = context.width()
    if width is None:
        return None
    return Placeholder(context.dtype, (context.batch, context.sequence, width))


def encoder_states(context: Context, name: str) -> Placeholder | None:
    """What an encoder hands over: (batch, length, width of the encoder)."""
    width = (
        context.number("encoder_hidden_size", "cross_attention_hidden_size", "cross_hidden_size")
        or context.width()
    )
    if width is None:
        return None
    context.assume(f"{name}: as long as the sequence")
    return Placeholder(context.dtype, (context.batch, context.sequence, width))


def boxes(context: Context, name: str) -> Placeholder:
    """One box for each token, over the whole page: (batch, length, 4)."""
    is_float = context.model_type in ("bros", "udop")
    context.assume(f"{name}: every token has the box of the whole page")
    shape = (context.batch, length(context, name), 4)
    if is_float:
        return Placeholder(context.dtype, shape, values=(0.0, 0.0, 1.0, 1.0))
    return Placeholder("int64", shape, values=(0, 0, 1000, 1000))


def states_otherwise(context: Context, name: str) -> Iterator[Placeholder]:
    """As wide as the first layer takes, or as a spectrogram."""
    del name
    for width in (context.first_width(), context.number("input_size", "num_mel_bins")):
        if width is not None:
            yield Placeholder(context.dtype, (context.batch, context.sequence, width))


def one_each(context: Context, name: str) -> Placeholder:
    """One number for each example, 0: (batch,)."""
    context.assume(f"{name}: 0 for every example")
    return Placeholder("int64", (context.batch,), values=(0,))


def lengths(context: Context, name: str) -> Placeholder:
    """Nothing is padded: (batch,)."""
    context.assume("no padding: every text has the whole length")
    return Placeholder("int64", (context.batch,), values=(length(context, name),))


def tasks(context: Context, name: str) -> Placeholder:
    """The task in words: (batch, length of tasks)."""
    del name
    return Placeholder("int64", (context.batch, context.number("task_seq_len") or 77))


def documents(context: Context, name: str) -> Placeholder:
    """The documents that a retriever found, as further rows: (n_docs * batch, length)."""
    n_documents = context.number("n_docs") or 1
    context.assume(f"{n_documents} retrieved documents for each example")
    if name == "doc_scores":
        return Placeholder(context.dtype, (context.batch, n_documents))
    content: str = "ones" if "mask" in name else "random"
    shape = (n_documents * context.batch, length(context, name))
    return Placeholder("int64", shape, "ones" if content == "ones" else "random")


RULES: dict[str, Rule] = {
    "input_ids": ids,
    "decoder_input_ids": ids,
    "position_ids": ids,
    "token_type_ids": ids,
    "qformer_input_ids": ids,
    "attention_mask": mask,
    "decoder_attention_mask": mask,
    "inputs_embeds": states,
    "hidden_states": states,
    "encoder_hidden_states": encoder_states,
    "last_hidden_state": encoder_states,
    "bbox": boxes,
    "lang_ids": one_each,
    "lengths": lengths,
    "task_inputs": tasks,
    "context_input_ids": documents,
    "context_attention_mask": documents,
    "doc_scores": documents,
}
