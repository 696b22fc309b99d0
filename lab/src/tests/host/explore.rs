// SPDX-License-Identifier: GPL-2.0
//! The shipped save path, explored: nothing may be lost, and each bug must be found.

use crate::build::explorer::{explore, What, SECONDS_PER_BUG};
use crate::tests::host::{host, Host};

/// How long the shipped code is explored here.
const SECONDS: u64 = 100;

pub fn tests() -> Vec<Host> {
    vec![
        host("explore: save path", |lab| {
            explore(lab, What::Shipped, SECONDS)
        }),
        host("explore: bugs", |lab| {
            explore(lab, What::Bugs, SECONDS_PER_BUG)
        }),
    ]
}
