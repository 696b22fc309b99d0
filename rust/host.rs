// SPDX-License-Identifier: GPL-2.0

//! As much of the `kernel` crate as the strategies use, for crates that run them on the host: each
//! has this at its root as `kernel`, and a `macros` with `vtable`.

/// Stands for `kernel::prelude`.
pub mod prelude {
    pub use crate::build_error;
    pub use macros::vtable;
}

/// Stands for `kernel::error`.
pub mod error {
    pub const VTABLE_DEFAULT_ERROR: &str = "a method that is absent was called";
}

/// Fails; in the kernel it fails the build.
#[macro_export]
macro_rules! build_error {
    ($message:expr) => {
        panic!("{}", $message)
    };
}
