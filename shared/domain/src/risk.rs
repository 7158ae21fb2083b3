//! Risk assessment: a pure function of one payment, the account's velocity and the limits.

use crate::velocity::Velocity;
use crate::{Currency, Money};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// What a payment may be at most. All amounts in minor units of the payment's currency.
#[derive(Debug, Clone)]
pub struct RiskLimits {
    /// The largest single payment per currency.
    pub amount_max: HashMap<Currency, i64>,
    /// The largest single payment in a currency without an entry.
    pub amount_max_default: i64,
    /// Payments per account in the window.
    pub count_max: u64,
    /// The sum per account in the window, as a multiple of the largest single payment.
    pub sum_max_multiple: i64,
}

impl RiskLimits {
    /// The largest single payment in this currency, in minor units.
    pub fn amount_max(&self, currency: Currency) -> i64 {
        self.amount_max.get(&currency).copied().unwrap_or(self.amount_max_default)
    }
}

/// A rule that can refuse a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskRule {
    /// The amount is above the cap of its currency.
    AmountCap,
    /// The account has sent too many payments in the window.
    VelocityCount,
    /// The account has sent too much in the window.
    VelocitySum,
}

impl RiskRule {
    /// The rule's stable id.
    pub const fn id(self) -> &'static str {
        match self {
            RiskRule::AmountCap => "amount_cap",
            RiskRule::VelocityCount => "velocity_count",
            RiskRule::VelocitySum => "velocity_sum",
        }
    }
}

/// How a payment was assessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// How much of the tightest limit is used, in percent, at most 100.
    pub score: u8,
    /// The rules that refuse it; none: it may pass.
    pub broken: Vec<RiskRule>,
}

/// Assesses a payment. `velocity` includes the payment itself.
pub fn assess(amount: Money, velocity: Velocity, limits: &RiskLimits) -> Assessment {
    let amount_max = limits.amount_max(amount.currency);
    let sum_max = amount_max.saturating_mul(limits.sum_max_multiple);
    let uses = [
        (RiskRule::AmountCap, i128::from(amount.minor), i128::from(amount_max)),
        (RiskRule::VelocityCount, i128::from(velocity.count), i128::from(limits.count_max)),
        (RiskRule::VelocitySum, i128::from(velocity.sum_minor), i128::from(sum_max)),
    ];
    let percent =
        |used: i128, limit: i128| u8::try_from((used * 100 / limit.max(1)).clamp(0, 100)).unwrap_or(100);
    Assessment {
        score: uses.iter().map(|(_, used, limit)| percent(*used, *limit)).max().unwrap_or(0),
        broken: uses.iter().filter(|(_, used, limit)| used > limit).map(|(rule, ..)| *rule).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_refuses_above_and_not_at_its_bound() {
        use RiskRule::{AmountCap, VelocityCount, VelocitySum};
        let (usd, jpy) = (Currency::parse("USD").unwrap(), Currency::parse("JPY").unwrap());
        let limits = RiskLimits {
            amount_max: HashMap::from([(usd, 1_000)]),
            amount_max_default: 50,
            count_max: 10,
            sum_max_multiple: 3,
        };
        let rows: [(Currency, i64, u64, i64, u8, &[RiskRule]); 8] = [
            (usd, 10, 1, 10, 10, &[]),
            (usd, 500, 1, 500, 50, &[]),
            (usd, 1_000, 1, 1_000, 100, &[]),
            (usd, 1_001, 1, 1_001, 100, &[AmountCap]),
            (usd, 1, 11, 11, 100, &[VelocityCount]),
            (usd, 1, 3, 3_000, 100, &[]),
            (usd, 1_001, 11, 3_001, 100, &[AmountCap, VelocityCount, VelocitySum]),
            (jpy, 51, 1, 51, 100, &[AmountCap]),
        ];
        for (currency, minor, count, sum_minor, score, broken) in rows {
            let seen = assess(Money::new(minor, currency), Velocity { count, sum_minor }, &limits);
            assert_eq!(
                seen,
                Assessment { score, broken: broken.to_vec() },
                "{minor} {currency} as number {count}"
            );
        }
    }
}
