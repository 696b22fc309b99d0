// SPDX-License-Identifier: GPL-2.0

//! The strategies to choose from, by name.

use kernel::fmt;
use kernel::prelude::*;

use super::hooks::Registration;
use super::strategy::{
    self,
    Strategy, //
};

/// A strategy to choose.
pub(crate) struct Choice {
    name: &'static str,
    register: unsafe fn() -> Result<Registration>,
}

macro_rules! choices {
    ($($module:ident::$Type:ident,)+) => {
        &[$(Choice::of::<strategy::$module::$Type>()),+]
    };
}

impl Choice {
    /// Every strategy, in the order of [`strategy::each!`]: the first is the default.
    pub(crate) const ALL: &'static [Self] = strategy::each!(choices);

    const fn of<S: Strategy + 'static>() -> Self {
        Self {
            name: S::NAME,
            register: Registration::new::<S>,
        }
    }

    /// Returns the name by which it is asked for.
    pub(crate) const fn name(&self) -> &'static str {
        self.name
    }

    /// Registers the strategy with KVM. May sleep; for errors see [`Registration::new`].
    ///
    /// # Safety
    ///
    /// That of [`Registration::new`].
    pub(crate) unsafe fn register(&self) -> Result<Registration> {
        // SAFETY: The caller's promise.
        unsafe { (self.register)() }
    }
}

/// Writes the names of all, as a sentence has them: "a, b or c".
pub(crate) struct Names;

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, choice) in Choice::ALL.iter().enumerate() {
            f.write_str(match i {
                0 => "",
                i if i + 1 < Choice::ALL.len() => ", ",
                _ => " or ",
            })?;
            f.write_str(choice.name)?;
        }
        Ok(())
    }
}
