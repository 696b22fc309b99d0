// SPDX-License-Identifier: GPL-2.0

//! The strategies to choose from, by name.

use kernel::prelude::*;

use crate::hooks::Registration;
#[cfg(xfd_broken)]
use crate::strategy::broken::Broken;
use crate::strategy::{eager::Eager, lazy::Lazy, xinuse::XInUse};

/// A strategy to choose.
#[derive(Clone, Copy)]
pub(crate) enum Choice {
    /// [`XInUse`]
    XInUse,
    /// [`Eager`]
    Eager,
    /// [`Lazy`]
    Lazy,
    /// [`Broken`]
    #[cfg(xfd_broken)]
    Broken,
}

impl Choice {
    /// Every strategy, in the order of declaration.
    pub(crate) const ALL: &[Self] = &[
        Self::XInUse,
        Self::Eager,
        Self::Lazy,
        #[cfg(xfd_broken)]
        Self::Broken,
    ];

    /// What is chosen if nothing is asked for.
    pub(crate) const DEFAULT: Self = Self::XInUse;

    /// The names of all, for messages.
    pub(crate) const NAMES: &str = "xinuse, eager or lazy";

    /// Returns the name by which it is asked for.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::XInUse => "xinuse",
            Self::Eager => "eager",
            Self::Lazy => "lazy",
            #[cfg(xfd_broken)]
            Self::Broken => "broken",
        }
    }

    /// Registers the strategy with KVM. May sleep; for errors see [`Registration::new`].
    pub(crate) fn register(self) -> Result<Registration> {
        match self {
            Self::XInUse => Registration::new::<XInUse>(),
            Self::Eager => Registration::new::<Eager>(),
            Self::Lazy => Registration::new::<Lazy>(),
            #[cfg(xfd_broken)]
            Self::Broken => Registration::new::<Broken>(),
        }
    }
}
