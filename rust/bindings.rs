// SPDX-License-Identifier: GPL-2.0

//! Bindings, made by bindgen from `bindings.h`, for what the `kernel` crate has none.
//!
//! C header: [`arch/x86/include/asm/kvm_xfd.h`](srctree/arch/x86/include/asm/kvm_xfd.h)

#![allow(
    clippy::all,
    clippy::cast_lossless,
    clippy::ptr_as_ptr,
    clippy::ref_as_ptr,
    clippy::undocumented_unsafe_blocks,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    unreachable_pub,
    unsafe_op_in_unsafe_fn
)]
#![cfg_attr(CONFIG_RUSTC_HAS_UNNECESSARY_TRANSMUTES, allow(unnecessary_transmutes))]

use kernel::ffi;

// The kernel's own parameters keep bindgen from making these, as its `bindings` crate has them.
type __kernel_size_t = usize;
type __kernel_ssize_t = isize;

include!(concat!(
    env!("XFD_SWITCH_OBJ"),
    "/rust/bindings_generated.rs"
));
