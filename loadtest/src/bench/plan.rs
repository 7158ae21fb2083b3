//! How much of everything, for a whole benchmark and for a quick one.

/// The sizes of all parts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Plan {
    /// Whether it is the quick one.
    pub(crate) is_quick: bool,
    /// How often pgbench and the pipeline take turns.
    pub(crate) pairs: u32,
    /// How long pgbench runs each time.
    pub(crate) pgbench_seconds: u32,
    /// Payments of a flat-out run.
    pub(crate) payments: u64,
    /// Payments before each timed run that nobody counts.
    pub(crate) warm_up: u64,
    /// How long half of the flat-out rate is held.
    pub(crate) half_seconds: u64,
    /// How long each small rate is held.
    pub(crate) small_seconds: u64,
    /// How long nothing is sent.
    pub(crate) idle_seconds: u64,
    /// How often the knee is halved in on.
    pub(crate) knee_probes: u32,
    /// How long each of these rates is held.
    pub(crate) knee_seconds: u64,
    /// Payments whose statements are counted.
    pub(crate) counted: u64,
    /// How long the soak lasts; 0: there is none.
    pub(crate) soak_seconds: u64,
}

impl Plan {
    /// The benchmark that counts.
    pub(crate) fn whole(payments: u64) -> Plan {
        Plan {
            is_quick: false,
            pairs: 3,
            pgbench_seconds: 20,
            payments,
            warm_up: 5_000,
            half_seconds: 15,
            small_seconds: 20,
            idle_seconds: 10,
            knee_probes: 5,
            knee_seconds: 10,
            counted: payments.min(20_000),
            soak_seconds: 0,
        }
    }

    /// A look at all of it in a few minutes.
    pub(crate) fn quick(payments: u64) -> Plan {
        Plan {
            is_quick: true,
            pairs: 1,
            pgbench_seconds: 10,
            payments: payments / 3,
            warm_up: 2_500,
            half_seconds: 6,
            small_seconds: 6,
            idle_seconds: 4,
            knee_probes: 3,
            knee_seconds: 5,
            counted: payments.min(20_000) / 3,
            soak_seconds: 0,
        }
    }

    /// With a soak of so many seconds.
    pub(crate) fn soaking(self, seconds: u64) -> Plan {
        Plan { soak_seconds: seconds, ..self }
    }

    /// Payments of the largest part. No part has more, so that money for so many is enough for any of them.
    pub(crate) fn unit(&self) -> u64 {
        // A soak sends them in pieces; in the pauses between larger pieces its load is more even.
        if self.soak_seconds > 0 { self.payments.max(SOAK_PIECE) } else { self.payments }
    }

    /// How often the money of one unit is spent at most.
    pub(crate) fn units(&self, soak_pieces: u64) -> u64 {
        // After each pgbench the uniform run, the batches, and four warm-ups; what is held at a rate: half of it,
        // the small ones; what is counted, and its warm-up; and some.
        let turns = u64::from(self.pairs) * 6;
        turns + u64::from(self.knee_probes) + soak_pieces + 10
    }

    /// The payments of a rate that is held so long.
    pub(crate) fn held(&self, rate: f64, seconds: u64) -> u64 {
        ((rate * seconds as f64) as u64).clamp(1, self.unit())
    }
}

/// Payments of one piece of a soak: some half a minute's, and no more of the load generator's memory than the
/// whole system may take.
const SOAK_PIECE: u64 = 120_000;

/// The fastest that a soak is planned for; a faster machine's soak is shorter.
const SOAK_RATE_MAX: u64 = 20_000;

/// How many pieces a soak of so many seconds has at most.
pub(crate) fn soak_pieces(seconds: u64) -> u64 {
    (seconds * SOAK_RATE_MAX).div_ceil(SOAK_PIECE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_needs_more_money_than_a_unit_and_all_have_theirs() {
        let whole = Plan::whole(60_000);
        let soaking = whole.soaking(600);
        let rows = [
            (whole, 100.0, 10, 1_000),
            (whole, 50_000.0, 10, 60_000),
            (whole, 0.01, 1, 1),
            (soaking, 50_000.0, 10, 120_000),
            (Plan::quick(60_000), 50_000.0, 10, 20_000),
        ];
        for (plan, rate, seconds, payments) in rows {
            assert_eq!(plan.held(rate, seconds), payments, "{rate} for {seconds} s");
        }
        assert_eq!((whole.units(0), soaking.units(soak_pieces(600))), (33, 133));
    }
}
