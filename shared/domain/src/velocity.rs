//! How much an account has been asked to send lately, in time buckets rather than lists of events.

use crate::{AccountKey, Currency, Money, Timestamp};
use std::collections::{HashMap, VecDeque};

/// Buckets in a window: the window slides in steps of a twelfth.
const BUCKETS: i64 = 12;

/// What one account asked for within the window, the payment in hand included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Velocity {
    /// How many payments.
    pub count: u64,
    /// Their sum in minor units, saturating.
    pub sum_minor: i64,
}

/// Counters per account and currency. An account has one currency, so a payment in another is refused later
/// anyway.
#[derive(Debug, Clone)]
pub struct VelocityBook {
    bucket_micros: i64,
    accounts: HashMap<(AccountKey, Currency), VecDeque<Bucket>>,
    newest: i64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    number: i64,
    velocity: Velocity,
}

impl VelocityBook {
    /// An empty book over a sliding window of this many seconds, at least one bucket of a microsecond each.
    pub fn new(window_seconds: u32) -> VelocityBook {
        let bucket_micros = (i64::from(window_seconds) * 1_000_000 / BUCKETS).max(1);
        VelocityBook { bucket_micros, accounts: HashMap::new(), newest: i64::MIN }
    }

    /// Counts one payment. The caller sees to it that each payment is counted once.
    pub fn count(&mut self, account: AccountKey, amount: Money, at: Timestamp) {
        let number = at.micros().div_euclid(self.bucket_micros);
        self.advance_to(number);
        if number <= self.newest - BUCKETS {
            return;
        }
        let buckets = self.accounts.entry((account, amount.currency)).or_default();
        let place = buckets.partition_point(|bucket| bucket.number < number);
        if buckets.get(place).is_none_or(|bucket| bucket.number != number) {
            buckets.insert(place, Bucket { number, velocity: Velocity::default() });
        }
        if let Some(bucket) = buckets.get_mut(place) {
            bucket.velocity.count += 1;
            bucket.velocity.sum_minor = bucket.velocity.sum_minor.saturating_add(amount.minor);
        }
    }

    /// The account's velocity in the window that ends at `at`.
    pub fn observe(&self, account: &AccountKey, currency: Currency, at: Timestamp) -> Velocity {
        let last = at.micros().div_euclid(self.bucket_micros);
        let within = |bucket: &&Bucket| bucket.number > last - BUCKETS && bucket.number <= last;
        let buckets = self.accounts.get(&(account.clone(), currency)).into_iter().flatten();
        buckets.filter(within).fold(Velocity::default(), |total, bucket| Velocity {
            count: total.count + bucket.velocity.count,
            sum_minor: total.sum_minor.saturating_add(bucket.velocity.sum_minor),
        })
    }

    /// Lets whole buckets go when time enters a new one, so memory is bounded by the accounts active in one
    /// window.
    fn advance_to(&mut self, number: i64) {
        if number <= self.newest {
            return;
        }
        self.newest = number;
        let oldest = number - BUCKETS;
        self.accounts.retain(|_, buckets| {
            while buckets.front().is_some_and(|bucket| bucket.number <= oldest) {
                buckets.pop_front();
            }
            !buckets.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountId, Tenant};

    fn account(id: &str) -> AccountKey {
        AccountKey { tenant: Tenant::default(), id: AccountId::parse(id).unwrap() }
    }

    #[test]
    fn the_window_slides_and_forgets() {
        let usd = Currency::parse("USD").unwrap();
        let mut book = VelocityBook::new(60);
        for (id, seconds, minor) in [("A", 0, 100), ("A", 30, 50), ("B", 30, 7), ("A", 59, 1)] {
            book.count(account(id), Money::new(minor, usd), Timestamp::from_micros(seconds * 1_000_000));
        }
        let rows = [
            ("A", 59, 3, 151),
            ("A", 61, 2, 51),
            ("A", 29, 1, 100),
            ("B", 59, 1, 7),
            ("A", 95, 1, 1),
            ("A", 200, 0, 0),
            ("C", 59, 0, 0),
        ];
        for (id, seconds, count, sum_minor) in rows {
            let seen = book.observe(&account(id), usd, Timestamp::from_micros(seconds * 1_000_000));
            assert_eq!(seen, Velocity { count, sum_minor }, "{id} at {seconds} s");
        }
        book.count(account("C"), Money::new(1, usd), Timestamp::from_micros(500_000_000));
        assert_eq!(book.accounts.len(), 1, "idle accounts are let go");
    }
}
