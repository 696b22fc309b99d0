// SPDX-License-Identifier: GPL-2.0
//! What a machine is told in words: its shell's, its kernel's parameters, the features of its CPU.

/// A word as sh needs it.
pub fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// The kernel's parameters, with those that the unpatched emulator needs.
pub fn parameters(unpatched: bool, params: &str) -> String {
    match unpatched {
        true => format!("kvm_intel.enable_apicv=0 {params}"),
        false => params.to_owned(),
    }
}

/// The features that the CPU lacks: `without`, and what the unpatched emulator must not offer, for
/// a kernel to boot on it and run KVM.
pub fn lacking(unpatched: bool, without: &str) -> String {
    let mut all: Vec<&str> = without.split(',').filter(|f| !f.is_empty()).collect();
    for feature in ["la57", "pku"] {
        if unpatched && !all.contains(&feature) {
            all.push(feature);
        }
    }
    all.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workarounds_are_for_the_unpatched_emulator_only() {
        assert_eq!(lacking(false, "xfd"), "xfd");
        assert_eq!(lacking(true, "la57"), "la57,pku");
    }
}
