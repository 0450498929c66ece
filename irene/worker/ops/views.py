"""Operations that move no data: views, allocations and questions about metadata."""

from __future__ import annotations

FREE: frozenset[str] = frozenset(
    """
    _conj _neg_view _nested_view_from_buffer _reinterpret_tensor _reshape_alias _unsafe_view alias
    as_strided as_strided_ chunk conj detach detach_ diagonal empty empty_like empty_permuted
    empty_strided expand imag lift lift_fresh movedim narrow new_empty new_empty_strided permute
    real resize_ select set_ slice split split_with_sizes squeeze squeeze_ swapaxes t t_ transpose
    transpose_ unbind unfold unsafe_chunk unsafe_split unsafe_split_with_sizes unsqueeze unsqueeze_
    view view_as_complex view_as_real _assert_async _assert_scalar _assert_tensor_metadata
    _local_scalar_dense _has_compatible_shallow_copy_type _functional_sym_constrain_range
    is_same_size sym_constrain_range sym_numel sym_size sym_storage_offset sym_stride
    _set_grad_enabled device _backward_hooks_trampoline record_stream
    """.split()
)
