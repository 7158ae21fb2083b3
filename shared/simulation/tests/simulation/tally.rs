//! How often each fault and each window was struck.

use crate::faults::Fault;
use crate::windows::{ABSENT, WINDOWS};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Of one run, or of many together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) faults: BTreeMap<Fault, u64>,
    pub(crate) windows: BTreeMap<&'static str, u64>,
    /// Of the payments: accepted, captured, failed, buried.
    pub(crate) payments: BTreeMap<&'static str, u64>,
}

impl Tally {
    pub(crate) fn fault(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    pub(crate) fn window(&mut self, window: &'static str) {
        *self.windows.entry(window).or_default() += 1;
    }

    pub(crate) fn count(&mut self, what: &'static str, count: u64) {
        *self.payments.entry(what).or_default() += count;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (window, count) in &other.windows {
            *self.windows.entry(window).or_default() += count;
        }
        for (what, count) in &other.payments {
            *self.payments.entry(what).or_default() += count;
        }
    }

    /// The windows and faults that never struck.
    pub(crate) fn missed(&self) -> Vec<&'static str> {
        let windows = WINDOWS.iter().map(|(window, _)| *window);
        let windows = windows.filter(|window| !self.windows.contains_key(window));
        let faults = Fault::ALL.iter().filter(|fault| !self.faults.contains_key(fault));
        windows.chain(faults.map(|fault| fault.name())).collect()
    }

    /// A table for people.
    pub(crate) fn report(&self) -> String {
        let mut text = String::from("payments\n");
        for (what, count) in &self.payments {
            let _ = writeln!(text, "{count:>12}  {what}");
        }
        text.push_str("faults, how often they struck\n");
        for fault in Fault::ALL {
            let _ = writeln!(text, "{:>12}  {}", self.faults.get(fault).unwrap_or(&0), fault.name());
        }
        text.push_str("crash windows, how often they were struck\n");
        for (window, what) in WINDOWS {
            let _ = writeln!(text, "{:>12}  {window:<4} {what}", self.windows.get(window).unwrap_or(&0));
        }
        for (window, why) in ABSENT {
            let _ = writeln!(text, "{:>12}  {window:<4} {why}", "-");
        }
        text
    }
}
