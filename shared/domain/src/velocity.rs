//! How much an account has been asked to send lately, in time buckets rather than lists of events.
//!
//! Made for a million accounts: each is one text and buckets of 16 bytes, no more of them than it has paid in.

use crate::{AccountKey, Currency, Money, Timestamp};
use std::collections::HashMap;

/// Buckets in a window: the window slides in steps of a twelfth.
const BUCKETS: i64 = 12;

/// Accounts that are kept at most: with ids of 64 characters 390 MB, and where each has paid in every bucket
/// 820 MB. Nobody has to open an account to name it in a payment, so without a bound strangers could fill the
/// memory.
const ACCOUNTS_MAX: usize = 2_000_000;

/// A table that is used to less than one part in so many is made smaller: a crowd that has left must not be
/// paid for for ever.
const SPARE_MAX: usize = 8;

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
    /// By [`name`]; the buckets in the order of time. The last is within the window, and all of them are
    /// within one that ends with it.
    accounts: HashMap<Box<str>, Box<[Bucket]>>,
    newest: i64,
    /// The oldest bucket that is kept.
    oldest: i64,
    /// See [`ACCOUNTS_MAX`].
    accounts_max: usize,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    sum_minor: i64,
    /// Saturating.
    count: u32,
    /// The low half of the bucket's number: among those of two windows it tells buckets apart.
    low: u32,
}

impl Bucket {
    /// Its whole number, given one that is not below it.
    fn number(self, newest: i64) -> i64 {
        newest - i64::from(low(newest).wrapping_sub(self.low))
    }
}

/// The low half of a bucket's number.
fn low(number: i64) -> u32 {
    number as u32
}

/// An account in one text. None of the three parts may hold the sign between them.
fn name(account: &AccountKey, currency: Currency) -> Box<str> {
    [account.tenant.as_str(), account.id.as_str(), currency.code()].join("~").into_boxed_str()
}

impl VelocityBook {
    /// An empty book over a sliding window of this many seconds, at least one bucket of a microsecond each.
    pub fn new(window_seconds: u32) -> VelocityBook {
        let bucket_micros = (i64::from(window_seconds) * 1_000_000 / BUCKETS).max(1);
        VelocityBook {
            bucket_micros,
            accounts: HashMap::new(),
            newest: i64::MIN,
            oldest: i64::MIN,
            accounts_max: ACCOUNTS_MAX,
        }
    }

    /// Whether the window is as long as it should be. With more accounts than are kept it is shorter, by as
    /// many of its oldest buckets as make room; in the shortest, of one bucket, further accounts are not
    /// counted.
    pub fn is_whole(&self) -> bool {
        self.oldest <= self.newest.saturating_sub(BUCKETS - 1)
    }

    /// Counts one payment. The caller sees to it that each payment is counted once.
    pub fn count(&mut self, account: &AccountKey, amount: Money, at: Timestamp) {
        let number = at.micros().div_euclid(self.bucket_micros);
        self.advance_to(number);
        // A payment that is too old must not make room at the cost of others.
        if number < self.oldest {
            return;
        }
        let name = name(account, amount.currency);
        if self.accounts.len() >= self.accounts_max && !self.accounts.contains_key(&name) && !self.make_room()
        {
            return;
        }
        let (newest, oldest) = (self.newest, self.oldest);
        // The window may be shorter now.
        if number < oldest {
            return;
        }
        let buckets = self.accounts.entry(name).or_default();
        let mut place = buckets.partition_point(|bucket| bucket.number(newest) < number);
        if buckets.get(place).is_none_or(|bucket| bucket.number(newest) != number) {
            // Memory is asked for once a bucket, and then the account's old ones make room.
            let old = buckets.partition_point(|bucket| bucket.number(newest) < oldest);
            place -= old;
            let mut kept = Vec::with_capacity(buckets.len() - old + 1);
            kept.extend_from_slice(&buckets[old..]);
            kept.insert(place, Bucket { sum_minor: 0, count: 0, low: low(number) });
            *buckets = kept.into_boxed_slice();
        }
        if let Some(bucket) = buckets.get_mut(place) {
            bucket.count = bucket.count.saturating_add(1);
            bucket.sum_minor = bucket.sum_minor.saturating_add(amount.minor);
        }
    }

    /// The account's velocity in the window that ends at `at`.
    pub fn observe(&self, account: &AccountKey, currency: Currency, at: Timestamp) -> Velocity {
        let last = at.micros().div_euclid(self.bucket_micros);
        let oldest = self.oldest.max(last - BUCKETS + 1);
        let within = |bucket: &&Bucket| (oldest..=last).contains(&bucket.number(self.newest));
        let buckets = self.accounts.get(&name(account, currency)).into_iter().flatten();
        buckets.filter(within).fold(Velocity::default(), |total, bucket| Velocity {
            count: total.count + u64::from(bucket.count),
            sum_minor: total.sum_minor.saturating_add(bucket.sum_minor),
        })
    }

    /// Lets accounts go when time enters a new bucket, so memory is bounded by those active in one window.
    fn advance_to(&mut self, number: i64) {
        if number <= self.newest {
            return;
        }
        let before = std::mem::replace(&mut self.newest, number);
        self.oldest = self.oldest.max(number - BUCKETS + 1);
        self.forget(before);
        if self.accounts.capacity() / SPARE_MAX > self.accounts.len() {
            self.accounts.shrink_to(self.accounts.len() * 2);
        }
    }

    /// Makes the window shorter until there is room for another account; whether there is. Goes through all
    /// accounts twice at most, since who counts waits for it, and not at all in the shortest window.
    fn make_room(&mut self) -> bool {
        if self.oldest >= self.newest {
            return false;
        }
        // How many accounts have their last payment in each bucket, beginning with the oldest that is kept.
        let mut by_last = [0_usize; BUCKETS as usize];
        for last in self.accounts.values().filter_map(|buckets| buckets.last()) {
            let place = usize::try_from(last.number(self.newest) - self.oldest);
            if let Some(accounts) = place.ok().and_then(|place| by_last.get_mut(place)) {
                *accounts += 1;
            }
        }
        let mut kept = self.accounts.len();
        for accounts in by_last {
            if kept < self.accounts_max || self.oldest == self.newest {
                break;
            }
            kept -= accounts;
            self.oldest += 1;
        }
        self.forget(self.newest);
        self.accounts.len() < self.accounts_max
    }

    /// Lets those accounts go that have nothing in the buckets that are kept. `newest` was the newest bucket
    /// until now.
    fn forget(&mut self, newest: i64) {
        let oldest = self.oldest;
        self.accounts.retain(|_, buckets| buckets.last().is_some_and(|last| last.number(newest) >= oldest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AccountId, Tenant};
    use proptest::prelude::*;

    fn account(id: &str) -> AccountKey {
        AccountKey { tenant: Tenant::default(), id: AccountId::parse(id).unwrap() }
    }

    /// Its window is one of twelve buckets of five seconds.
    fn book(accounts_max: usize) -> VelocityBook {
        VelocityBook { accounts_max, ..VelocityBook::new(60) }
    }

    fn pay(book: &mut VelocityBook, id: &str, seconds: i64, minor: i64) {
        let usd = Currency::parse("USD").unwrap();
        book.count(&account(id), Money::new(minor, usd), Timestamp::from_micros(seconds * 1_000_000));
    }

    fn seen(book: &VelocityBook, id: &str, seconds: i64) -> (u64, i64) {
        let usd = Currency::parse("USD").unwrap();
        let seen = book.observe(&account(id), usd, Timestamp::from_micros(seconds * 1_000_000));
        (seen.count, seen.sum_minor)
    }

    #[test]
    fn the_window_slides_and_forgets() {
        let mut book = book(ACCOUNTS_MAX);
        for (id, seconds, minor) in [("A", 0, 100), ("A", 30, 50), ("B", 30, 7), ("A", 59, 1)] {
            pay(&mut book, id, seconds, minor);
        }
        let rows = [
            ("A", 59, (3, 151)),
            ("A", 61, (2, 51)),
            ("A", 29, (1, 100)),
            ("B", 59, (1, 7)),
            ("A", 95, (1, 1)),
            ("A", 200, (0, 0)),
            ("C", 59, (0, 0)),
        ];
        for (id, seconds, expected) in rows {
            assert_eq!(seen(&book, id, seconds), expected, "{id} at {seconds} s");
        }
        pay(&mut book, "C", 500, 1);
        assert_eq!(book.accounts.len(), 1, "idle accounts are let go");
    }

    #[test]
    fn with_too_many_accounts_the_window_is_shorter_rather_than_the_memory_larger() {
        let mut book = book(3);
        // Who pays in which second, how many accounts are kept then, whether the window is whole, and what is
        // known of A at the time.
        let rows = [
            ("A", 0, 1, true, 1),
            ("B", 10, 2, true, 1),
            ("C", 20, 3, true, 1),
            ("B", 21, 3, true, 1),
            // A's bucket makes room; those of B and C stay.
            ("D", 30, 3, false, 0),
            // What is too old to be counted makes no room.
            ("E", 2, 3, false, 0),
            ("B", 31, 3, false, 0),
            ("A", 35, 3, false, 1),
            // The window is whole again when what was let go would be out of it.
            ("B", 70, 3, false, 1),
            ("B", 85, 3, true, 1),
            // In one bucket no more are counted; those that are there go on.
            ("A", 200, 1, true, 1),
            ("B", 200, 2, true, 1),
            ("C", 200, 3, true, 1),
            ("D", 200, 3, false, 1),
            ("A", 201, 3, false, 2),
            // All accounts of a bucket leave with it, and only as many buckets as make room.
            ("A", 300, 1, true, 1),
            ("B", 300, 2, true, 1),
            ("C", 320, 3, true, 1),
            ("D", 355, 2, false, 0),
            ("E", 355, 3, false, 0),
            ("A", 355, 3, false, 1),
            ("B", 355, 3, false, 1),
        ];
        for (id, seconds, accounts, is_whole, of_a) in rows {
            pay(&mut book, id, seconds, 1);
            let about = format!("{id} at {seconds} s");
            assert_eq!((book.accounts.len(), book.is_whole()), (accounts, is_whole), "{about}");
            assert_eq!(seen(&book, "A", seconds), (of_a, i64::try_from(of_a).unwrap()), "{about}");
        }
        for (id, expected) in [("A", 1), ("B", 0), ("C", 0), ("D", 1), ("E", 1)] {
            assert_eq!(seen(&book, id, 355).0, expected, "{id}");
        }
    }

    #[test]
    fn memory_follows_the_accounts_and_each_has_twelve_buckets_at_most() {
        let mut book = book(ACCOUNTS_MAX);
        for number in 0..10_000 {
            pay(&mut book, &format!("A{number}"), number / 1_000, 1);
        }
        for seconds in 0..600 {
            pay(&mut book, "B", seconds, 1);
            let buckets = &book.accounts[&name(&account("B"), Currency::parse("USD").unwrap())];
            assert!(buckets.len() <= 12 && size_of_val(&**buckets) <= 12 * 16, "at {seconds} s");
        }
        assert!(book.accounts.capacity() < 10_000 / SPARE_MAX, "{} places", book.accounts.capacity());
    }

    /// The same in the plainest form: all payments, in a list.
    #[derive(Default)]
    struct Model {
        payments: Vec<(u8, i64, i64)>,
        newest: Option<i64>,
    }

    impl Model {
        fn count(&mut self, id: u8, number: i64, minor: i64) {
            let newest = *self.newest.insert(self.newest.unwrap_or(number).max(number));
            self.payments.push((id, number, minor));
            self.payments.retain(|(_, number, _)| *number > newest - BUCKETS);
        }

        fn observe(&self, id: u8, last: i64) -> Velocity {
            let is_seen = |payment: &&(u8, i64, i64)| {
                payment.0 == id && (last - BUCKETS + 1..=last).contains(&payment.1)
            };
            self.payments.iter().filter(is_seen).fold(Velocity::default(), |total, payment| Velocity {
                count: total.count + 1,
                sum_minor: total.sum_minor.saturating_add(payment.2),
            })
        }
    }

    proptest! {
        #[test]
        fn the_book_answers_as_a_list_of_all_payments_would(
            steps in prop::collection::vec((0_u8..4, -15_i64..15, 0_u8..20, 1_i64..1_000), 1..200),
        ) {
            let (mut book, mut model, mut now) = (VelocityBook::new(12), Model::default(), -40_i64);
            for (id, offset, leap, minor) in steps {
                // Mostly a little further, and now and then further than the low halves of numbers reach.
                now += match leap { 0 => 1 << 32, 1 => 3 << 31, 2 => 30, leap => i64::from(leap % 3) };
                let at = |number: i64| Timestamp::from_micros(number * 1_000_000 + 7);
                let key = account(&id.to_string());
                book.count(&key, Money::new(minor, Currency::EUR), at(now + offset));
                model.count(id, now + offset, minor);
                for last in [now - 20, now - 3, now, now + offset, now + 5, now + (1 << 32)] {
                    prop_assert_eq!(book.observe(&key, Currency::EUR, at(last)), model.observe(id, last));
                }
            }
        }
    }
}
