// SPDX-License-Identifier: GPL-2.0

//! The strategies' decisions, tested on the host: the root of another crate.
//!
//! `make check` runs it by the kernel's own `vtable`:
//! `rustc --test --edition 2021 --extern macros=OBJECTS/rust/libmacros.so rust/tests.rs`.

extern crate self as kernel;

mod host;
mod strategy;

pub use host::{error, prelude};

/// What `module!` makes, for `vtable`.
pub trait ModuleMetadata {}

/// Stands for the module.
pub struct LocalModule;

impl ModuleMetadata for LocalModule {}

#[cfg(test)]
mod tests {
    use crate::strategy::{each, Strategy};

    macro_rules! all {
        ($($module:ident::$Type:ident,)+) => {
            [$({
                use crate::strategy::$module::$Type as S;
                (stringify!($module), S::NAME, S::HAS_VMEXIT, S::MSR_LISTS)
            }),+]
        };
    }

    /// modinfo and the lab take the module's name for the strategy's.
    #[test]
    fn each_is_named_as_its_module() {
        for (module, name, ..) in each!(all) {
            assert_eq!(module, name);
        }
    }

    /// sysfs takes a page, messages and tables much less.
    #[test]
    fn names_are_short_words() {
        for (_, name, ..) in each!(all) {
            assert!((1..=16).contains(&name.len()), "{name}");
            assert!(name.bytes().all(|b| b.is_ascii_lowercase()), "{name}");
        }
    }

    /// What the CPU switches is never live: there would be nothing to decide.
    #[test]
    fn msr_lists_go_without_a_hook() {
        for (_, name, has_vmexit, msr_lists) in each!(all) {
            assert!(!(has_vmexit && msr_lists), "{name}");
        }
    }
}
