// SPDX-License-Identifier: GPL-2.0
//! The kit, rehearsed: unpacked and run in a machine with the patched kernel, as on a host.

use std::time::Duration;

use anyhow::Result;

use crate::base::failure::Failure;
use crate::base::layout::Lab;
use crate::build::{
    emulator::{self, Emulator},
    kernel::{self, Kind},
    plan::{self, Product},
};
use crate::machine::{self, Machine, FILES};
use crate::measure::kit::{tables, Kit, Unit};
use crate::measure::strategies::strategies;
use crate::tests::host::{host, succeeds, Host};
use crate::tests::kit;

/// It refuses what is no host, leaves nothing loaded if it is interrupted, and does its work.
const SCRIPT: &str = r#"
. /etc/lab.sh
cd /tmp && tar xzf /add/*.tar.gz && cd xfd_switch-kit-* || exit 1
clean() {
	! ls /sys/module | grep '^xfd_'
}
./run.sh --output=/tmp/refused.json
test $? -eq 2 && test ! -s /tmp/refused.json || { echo "not refused without --rehearse"; exit 1; }
./run.sh --rehearse --quick --output=/tmp/interrupted.json &
run=$!
until test -d /sys/module/xfd_switch; do
	test -d /proc/$run || { echo "the one to be interrupted has ended"; exit 1; }
	sleep 0.1
done
kill $run
wait $run
test $? -eq 130 && clean || { echo "something is left of an interrupted one"; exit 1; }
./run.sh --rehearse --quick --output=/tmp/xfd_switch.json
status=$?
clean || { echo "something is left"; status=1; }
lab_get /tmp/xfd_switch.json
lab_get /tmp/xfd_switch.json.ktap
exit $status
"#;

pub fn test() -> Host {
    Host {
        measures: true,
        ..host("kit: rehearsed", |lab| {
            let kit = rehearse(lab)?;
            let default = strategies(lab)?.pop().unwrap_or_default();
            let wrong = wrong(&kit, &default);
            tables(&kit, None)?;
            if wrong.is_empty() {
                return Ok(());
            }
            Err(Failure::new("the kit has found what is not there")
                .details(wrong)
                .next("build/boot/kit/files has what it has written")
                .into())
        })
    }
}

/// Makes a kit, runs it in a machine, and reads what it has written, in which no key may be missing, or
/// be one too many.
fn rehearse(lab: &Lab) -> Result<Kit> {
    lab.lock()?;
    plan::build(lab, [Product::Emulator(Emulator::Patched)])?;
    let emulator = emulator::build(lab, Emulator::Patched)?;
    let made = kit::make(lab)?;
    let kernel = kernel::build(lab, Kind::Patched)?;
    let machine = Machine {
        added: vec![made.tar],
        cpus: 2,
        command: SCRIPT.to_owned(),
        timeout: Duration::from_secs(1200),
        silence: Duration::from_secs(600),
        ..Machine::new("kit".to_owned(), &emulator, &kernel)
    };
    let dir = machine::compose(lab, &machine)?;
    lab.unlock();
    succeeds(
        &machine,
        &dir,
        "the kit's run.sh",
        "`lab boot --cpus 2 --add build/kit/*.tar.gz` repeats it by hand",
    )?;
    Kit::read(&dir.join(FILES).join("xfd_switch.json"))
}

/// What is not as it is in the emulator.
fn wrong(kit: &Kit, strategy: &str) -> Vec<String> {
    let mut wrong = kit.failures.clone();
    let mut must = |good: bool, what: &str| {
        if !good {
            wrong.push(what.to_owned());
        }
    };
    must(kit.rehearsed && kit.quick, "it was no quick rehearsal");
    must(kit.probe.failures == 0, "the probe has failures");
    let columns: Vec<&String> = kit.measured.keys().collect();
    must(
        columns == ["unloaded", strategy],
        "the columns are not those of --quick",
    );
    must(
        kit.tests.len() == 2
            && kit
                .tests
                .iter()
                .all(|t| t.result == "pass" && t.status == 0),
        "the test has not passed in both columns",
    );
    must(kit.probe.permission, "the probe was not permitted tiles");
    let both = [&kit.probe.cpuid["amx_tile"], &kit.probe.cpuid["xfd"]];
    must(
        both.iter().all(|&b| b == true),
        "CPUID has no AMX, or no XFD",
    );
    must(
        kit.probe.kernel == kit.kernel,
        "the probe ran on another kernel",
    );
    match &kit.meter {
        Some(meter) => {
            // With two CPUs that run by turns an instruction takes more than a tick now and then.
            must(meter.costs.len() == 16, "the meter has not 16 operations");
            must(
                meter.unit == Unit::Instructions && kit.probe.unit == Unit::Instructions,
                "the TSC is said to be a clock",
            );
            must(meter.rehearsed == 1, "the meter was not rehearsed");
            must(
                meter.unit == kit.probe.unit,
                "the meter's unit is not the probe's",
            );
            must(meter.hypervisor == 0, "the meter has found a hypervisor");
        }
        None => wrong.push("there is no meter".into()),
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::kit::tests::kit;

    #[test]
    fn what_is_no_rehearsal_is_told() {
        let kit = kit();
        assert_eq!(
            wrong(&kit, "lazy"),
            [
                "unloaded: x: exit status 1",
                "it was no quick rehearsal",
                "the probe has failures",
                "the columns are not those of --quick",
                "the test has not passed in both columns",
                "CPUID has no AMX, or no XFD",
                "the meter has not 16 operations",
                "the TSC is said to be a clock",
                "the meter was not rehearsed",
            ]
        );
    }
}
