// SPDX-License-Identifier: GPL-2.0
//! The line of plain words under the tables: what the figures say, good or bad.

use crate::measure::report::{Figures, Report, States, LOSSES, STATES};

impl Report {
    /// One line of plain words: what the figures say, good or bad.
    pub fn words(&self) -> String {
        let all = &self.strategies;
        let (stock, unloaded) = (&all["stock"], &all["unloaded"]);
        let accesses = |f: &Figures| format!("{:.2} times", f.exit["armed"].accesses());
        let mut text = format!(
            "For a guest that has armed XFD, stock KVM accesses the MSRs {} an exit",
            accesses(stock)
        );
        // Without the module the series changes nothing of that.
        let others = all
            .iter()
            .filter(|(name, _)| !["stock", "unloaded"].contains(&name.as_str()));
        text.extend(others.map(|(name, f)| format!(", {name} {}", accesses(f))));

        let lost = |f: &Figures, state: &str| -> u64 {
            let of_it = f
                .bytes_lost
                .iter()
                .filter(|(event, _)| event.starts_with(state));
            of_it.map(|(_, bytes)| bytes).sum()
        };
        let losers = all.iter().filter(|(_, f)| lost(f, "") > 0);
        let losers = losers.map(|(name, f)| {
            format!(
                "{name} {} live and {} dormant",
                lost(f, "live"),
                lost(f, "dormant")
            )
        });
        text += &match losers.collect::<Vec<_>>().join(", ").as_str() {
            "" => ". No tile data is lost.".to_owned(),
            losers => format!(". Bytes of tile data lost: {losers}; the others lose none."),
        };
        if let Some(lazy) = all.get("lazy") {
            let more =
                |lazy: &States, stock: &States| lazy["dormant"].wrmsr() - stock["dormant"].wrmsr();
            text += &format!(
                " What stock loses of a dormant vCPU costs lazy {:+.0} WRMSR in a switch to a \
                 plain task and back, {:+.0} to one with tiles, {:+.0} in an exit to userspace.",
                more(&lazy.switch_plain, &stock.switch_plain),
                more(&lazy.switch_amx, &stock.switch_amx),
                more(&lazy.userspace, &stock.userspace),
            );
        }
        text += " Without the module an exit of the patched kernel ";
        text += &match differences(stock, unloaded).join(", ").as_str() {
            "" => "equals stock's in every figure.".to_owned(),
            differences => format!("differs from stock's: {differences}."),
        };
        text
    }
}

/// By how much `other` is not what `stock` is, but for the slow path.
fn differences(stock: &Figures, other: &Figures) -> Vec<String> {
    let mut found = Vec::new();
    let mut compare = |name: &str, a: f64, b: f64| {
        // Less than this is the rounding of a mean.
        if (a - b).abs() > 0.005 {
            found.push(format!(
                "{name} {}{:.2}",
                if b > a { "+" } else { "-" },
                (a - b).abs()
            ));
        }
    };
    for state in STATES {
        let (a, b) = (&stock.exit[state], &other.exit[state]);
        compare(&format!("{state} accesses"), a.accesses(), b.accesses());
        compare(
            &format!("{state} instructions"),
            a.instructions as f64,
            b.instructions as f64,
        );
    }
    compare("exits per #NM", stock.nm.exits, other.nm.exits);
    compare(
        "instructions per #NM",
        stock.nm.instructions as f64,
        other.nm.instructions as f64,
    );
    for loss in LOSSES {
        compare(
            &format!("{loss} bytes"),
            stock.bytes_lost[loss] as f64,
            other.bytes_lost[loss] as f64,
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use crate::measure::collection::tests::{collection, report, report_of, states};

    #[test]
    fn words_say_what_is_true() {
        let words = report().words();
        assert!(words.contains("xinuse 0.00 times"));
        assert!(words.contains("stock 0 live and 1020 dormant"));
        assert!(words.contains("costs lazy +0 WRMSR in a switch to a plain task"));
        assert!(words.contains("equals stock's in every figure"));

        let mut all = collection();
        all.line(Some("unloaded"), &states(2000, 1142)).unwrap();
        let words = report_of(&all).words();
        assert!(
            words.contains("differs from stock's: armed accesses +1.00"),
            "{words}"
        );
    }
}
