// SPDX-License-Identifier: GPL-2.0

//! The strategies to choose from, by name.

use kernel::prelude::*;

use crate::hooks::Registration;
#[cfg(xfd_broken)]
use crate::strategy::broken::Broken;
use crate::strategy::{autoload::AutoLoad, eager::Eager, lazy::Lazy, xinuse::XInUse};

/// A strategy to choose.
#[derive(Clone, Copy)]
pub(crate) enum Choice {
    /// [`Lazy`]
    Lazy,
    /// [`XInUse`]
    XInUse,
    /// [`Eager`]
    Eager,
    /// [`AutoLoad`]
    AutoLoad,
    /// [`Broken`]
    #[cfg(xfd_broken)]
    Broken,
}

impl Choice {
    /// Every strategy, in the order of declaration.
    pub(crate) const ALL: &[Self] = &[
        Self::Lazy,
        Self::XInUse,
        Self::Eager,
        Self::AutoLoad,
        #[cfg(xfd_broken)]
        Self::Broken,
    ];

    /// What is chosen if nothing is asked for.
    pub(crate) const DEFAULT: Self = Self::Lazy;

    /// The names of all, for messages.
    pub(crate) const NAMES: &str = "lazy, xinuse, eager or autoload";

    /// Returns the name by which it is asked for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Lazy => "lazy",
            Self::XInUse => "xinuse",
            Self::Eager => "eager",
            Self::AutoLoad => "autoload",
            #[cfg(xfd_broken)]
            Self::Broken => "broken",
        }
    }

    /// Registers the strategy with KVM. May sleep; for errors see [`Registration::new`].
    pub(crate) fn register(self) -> Result<Registration> {
        match self {
            Self::Lazy => Registration::new::<Lazy>(),
            Self::XInUse => Registration::new::<XInUse>(),
            Self::Eager => Registration::new::<Eager>(),
            Self::AutoLoad => Registration::new::<AutoLoad>(),
            #[cfg(xfd_broken)]
            Self::Broken => Registration::new::<Broken>(),
        }
    }
}
