// SPDX-License-Identifier: GPL-2.0
//! The tools of Documentation/observing.rst, as Debian has them, in a machine: the commands are the page's,
//! and so is their output.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use regex_lite::Regex;

use crate::base::failure::Failure;
use crate::base::files;
use crate::base::layout::Lab;
use crate::build::emulator::{self, Emulator};
use crate::build::kernel::{self, Kind};
use crate::build::plan::{self, Product};
use crate::build::{module, observers, selftests};
use crate::machine::{self, Machine};
use crate::measure::strategies::strategies;
use crate::tests::host::{host, succeeds, Host};

/// A tool, and what the page has of it: the script NAME.sh, and what that says, NAME.txt.
#[derive(Clone, Copy)]
struct Tool {
    name: &'static str,
    build: fn(&Lab) -> Result<PathBuf>,
    page: &'static str,
}

const TOOLS: [Tool; 2] = [
    Tool {
        name: "trace-cmd",
        build: observers::trace_cmd,
        page: "selftests/xfd_trace_cmd",
    },
    Tool {
        name: "perf",
        build: observers::perf,
        page: "selftests/xfd_perf",
    },
];

/// The tool runs by its own dynamic loader. @TOOL@ is its name, @SCRIPT@ the script's.
const SCRIPT: &str = r#"
set -e
mkdir /tmp/bin
cat >/tmp/bin/@TOOL@ <<'END'
#!/bin/sh
exec /add/@TOOL@/lib/ld-linux-x86-64.so.2 --library-path /add/@TOOL@/lib /add/@TOOL@/bin/@TOOL@ "$@"
END
chmod +x /tmp/bin/@TOOL@
export PATH=/tmp/bin:$PATH HOME=/tmp
cd /tmp
@SCRIPT@ "$(command -v xfd_switch_test)" --expect=attached -r event.dormant.userspace
"#;

pub fn tests() -> Vec<Host> {
    TOOLS.map(test).into()
}

fn test(tool: Tool) -> Host {
    Host {
        measures: true,
        ..host(format!("observe: by {}", tool.name), move |lab| {
            let page = format!("{}.txt", tool.page);
            let wrong = wrong(&tool.said(lab)?, &files::text(&lab.at(&page))?);
            if wrong.is_empty() {
                return Ok(());
            }
            let what = format!("{} says other than the page", tool.name);
            Err(Failure::new(what)
                .details(wrong)
                .next(format!("mend {page}, if what it says is right"))
                .into())
        })
    }
}

impl Tool {
    fn commands(self, lab: &Lab) -> PathBuf {
        lab.at(&format!("{}.sh", self.page))
    }

    fn script(self, lab: &Lab) -> String {
        let commands = self.commands(lab);
        let name = commands.file_name().unwrap_or_default().to_string_lossy();
        SCRIPT
            .replace("@TOOL@", self.name)
            .replace("@SCRIPT@", &name)
    }

    /// What its commands say in a machine.
    fn said(self, lab: &Lab) -> Result<String> {
        lab.lock()?;
        plan::build(
            lab,
            [
                Product::Emulator(Emulator::Patched),
                Product::Module(Kind::Patched, module::Kind::Shipped),
                Product::Selftests,
            ],
        )?;
        let emulator = emulator::build(lab, Emulator::Patched)?;
        let kernel = kernel::build(lab, Kind::Patched)?;
        let machine = Machine {
            module: Some(module::build(lab, &kernel, module::Kind::Shipped)?),
            strategy: strategies(lab)?.pop(),
            programs: selftests::programs(&selftests::build(lab)?)?,
            added: vec![(self.build)(lab)?, self.commands(lab)],
            command: self.script(lab),
            timeout: Duration::from_secs(600),
            ..Machine::new(format!("observe-{}", self.name), &emulator, &kernel)
        };
        let dir = machine::compose(lab, &machine)?;
        lab.unlock();
        succeeds(&machine, &dir, self.name, "mend what it names")
    }
}

/// The events that only the page has, and those of a kind that the page has not. A timer's tick may
/// come between, and another save with it.
fn wrong(said: &str, page: &str) -> Vec<String> {
    let (said, page) = (events(said), events(page));
    let kind = |event: &str| event.split(':').next().map(str::to_owned);
    let kinds: BTreeSet<_> = page.iter().map(|event| kind(event)).collect();
    let more = said.iter().filter(|event| !kinds.contains(&kind(event)));
    let less = page.difference(&said);
    more.map(|event| format!("the page lacks: {event}"))
        .chain(less.map(|event| format!("only on the page: {event}")))
        .collect()
}

/// A line of either: trace-cmd has a dash before the pid, and flags; perf has the subsystem.
const LINE: &str = r"^ *\S+(?:-| +)\d+ +\[\d+\](?: +[\w.]{5,})? +[\d.]+: +(?:\w+:)?(\w+: .*)$";

/// The events in what trace-cmd or perf reports, without whose, when, where, and which subsystem's; of
/// KVM's names, without the pid.
fn events(said: &str) -> BTreeSet<String> {
    let line = Regex::new(LINE).expect("a constant");
    let vm = Regex::new(r"kvm-\d+").expect("a constant");
    let events = said.lines().filter_map(|l| line.captures(l));
    events
        .map(|event| {
            let words: Vec<&str> = event[1].split_whitespace().collect();
            vm.replace_all(&words.join(" "), "kvm-PID").into_owned()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../../../selftests/xfd_trace_cmd.txt");

    #[test]
    fn events_are_compared_without_what_differs_each_time() {
        let all = events(PAGE);
        assert!(all.contains("xfd_switch_attach: vm: kvm-PID vcpu: 0 strategy: lazy"));
        let again = PAGE.replace("-70 ", "-123 ").replace("[000]", "[001]");
        let again = format!("cpus=2\n{}", again.replace("0.41", "17.5"));
        assert!(wrong(&again, PAGE).is_empty());
        assert!(wrong(&PAGE.replace("kvm-70", "kvm-8"), PAGE).is_empty());
    }

    #[test]
    fn both_tools_show_the_same_events() {
        let perf = include_str!("../../../../selftests/xfd_perf.txt");
        assert_eq!(events(perf), events(PAGE));
        assert_eq!(events(perf).len(), 5);
    }

    #[test]
    fn an_event_that_is_other_or_missing_is_told() {
        let other = PAGE.replace("why: userspace", "why: switch");
        let found = wrong(&other, PAGE);
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].starts_with("only on the page: x86_fpu_guest_xfd_save: why: userspace"));
        let more = PAGE.replacen("xfd_switch_arm:", "xfd_switch_odd:", 1) + PAGE;
        assert_eq!(
            wrong(&more, PAGE),
            ["the page lacks: xfd_switch_odd: vm: kvm-PID vcpu: 0 xfd: 40000"]
        );
        assert_eq!(wrong("", PAGE).len(), events(PAGE).len());
    }
}
