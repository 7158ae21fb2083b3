//! The brake on burials. Pure: the clock is handed in.
//!
//! One payment that cannot be judged is buried. When many cannot, the fault is not theirs: a migration has
//! narrowed a column, a newer release has sent what this one does not know, a ledger was set back. Then
//! burying stops, and one burial a minute shows whether the fault is over.

use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// So many burials within [`WINDOW`] are those of single payments.
const BURIALS_MAX: usize = 20;
const WINDOW: Duration = Duration::from_secs(60);

/// Whether a payment may be buried now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Permission {
    /// It may be buried.
    Granted,
    /// Burials have just been halted by this one.
    Halting,
    /// Burials are halted.
    Halted,
}

/// What one stage has buried lately.
#[derive(Debug, Default)]
pub(super) struct Brake {
    burials: VecDeque<Instant>,
    halted: Option<Halt>,
}

#[derive(Debug, Clone, Copy)]
struct Halt {
    /// When a payment was last buried to see whether the fault is over.
    tested_at: Instant,
    /// When the fault was last met.
    met_at: Instant,
}

impl Brake {
    /// A payment is to be buried.
    pub(super) fn ask(&mut self, now: Instant) -> Permission {
        self.release_if_over(now);
        if let Some(halt) = &mut self.halted {
            halt.met_at = now;
            if now - halt.tested_at < WINDOW {
                return Permission::Halted;
            }
            halt.tested_at = now;
            return Permission::Granted;
        }
        while self.burials.front().is_some_and(|at| now - *at >= WINDOW) {
            self.burials.pop_front();
        }
        if self.burials.len() < BURIALS_MAX {
            self.burials.push_back(now);
            return Permission::Granted;
        }
        self.burials.clear();
        self.halted = Some(Halt { tested_at: now, met_at: now });
        Permission::Halting
    }

    /// When the brake lets go, unless the fault is met once more until then; nothing while it does not hold.
    pub(super) fn release_at(&self) -> Option<Instant> {
        self.halted.map(|halt| halt.met_at + WINDOW)
    }

    /// Lets go once the fault has not been met for a minute; whether it did so now.
    pub(super) fn release_if_over(&mut self, now: Instant) -> bool {
        let is_over = self.release_at().is_some_and(|at| at <= now);
        if is_over {
            self.halted = None;
        }
        is_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_burials_in_a_minute_are_halted_until_the_fault_is_over() {
        use Permission::{Granted, Halted, Halting};
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut brake = Brake::default();
        for second in 0..20 {
            assert_eq!(brake.ask(at(second)), Granted, "{second}");
        }
        // The second, and what is said then. A test a minute, and free again after a minute without the
        // fault.
        let rows = [
            (20, Halting),
            (21, Halted),
            (79, Halted),
            (80, Granted),
            (81, Halted),
            (139, Halted),
            (140, Granted),
            (199, Halted),
            (260, Granted),
            (261, Granted),
        ];
        for (second, expected) in rows {
            assert_eq!(brake.ask(at(second)), expected, "{second}");
        }
        assert_eq!(brake.release_at(), None);
    }

    #[test]
    fn slow_burials_are_never_halted() {
        let start = Instant::now();
        let mut brake = Brake::default();
        for number in 0..1_000 {
            assert_eq!(brake.ask(start + Duration::from_secs(3) * number), Permission::Granted, "{number}");
        }
    }
}
