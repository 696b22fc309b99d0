// SPDX-License-Identifier: GPL-2.0
//! What was counted while a scenario ran, as figures_end of selftests/guest/qemu.sh prints it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Of all guests and the host's own tasks together.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Figures {
    pub exits: u64,
    /// RDMSR and WRMSR of XFD and XFD_ERR by the host's kernel.
    pub rdmsr: u64,
    pub wrmsr: u64,
    pub nm_exits: u64,
    /// Of guests that came to their end.
    pub products: u64,
    pub wrong: u64,
    /// Of QEMU's processes in the host's kernel, in [`TICK`]s.
    pub kernel_ticks: u64,
    /// Exits by their basic exit reason.
    pub reasons: BTreeMap<u32, u64>,
    /// Of the tiles that a guest's XFD disables, the bytes that were there afterwards, by what was done.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub kept: BTreeMap<String, u64>,
}

/// Hundredths of a second, in which /proc has times, in instructions: the emulated machine executes 20
/// million a second.
const TICK: u64 = 200_000;

impl Figures {
    /// The last that a test has printed.
    pub fn of(output: &[String]) -> Option<Figures> {
        let mut lines = output.iter().rev();
        let json = lines.find_map(|line| line.trim().strip_prefix("#XFD "))?;
        serde_json::from_str(json).ok()
    }

    pub fn accesses(&self) -> u64 {
        self.rdmsr + self.wrmsr
    }

    /// Of the host's kernel, as each clock tick finds it.
    pub fn kernel_instructions(&self) -> u64 {
        self.kernel_ticks * TICK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_and_half_of_them_are_none() {
        let line = "#XFD {\"exits\":3,\"rdmsr\":1,\"wrmsr\":2,\"nm_exits\":0,\"products\":4,\
                    \"wrong\":0,\"kernel_ticks\":5,\"reasons\":{\"12\":3}}";
        let figures = Figures::of(&["guest".into(), line.into()]).unwrap();
        assert_eq!((figures.accesses(), figures.reasons[&12]), (3, 3));
        assert_eq!(figures.kernel_instructions(), 1_000_000);
        assert_eq!(Figures::of(&["#XFD {\"exits\":3}".into()]), None);
        assert_eq!(Figures::of(&[]), None);
    }
}
