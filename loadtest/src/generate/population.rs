//! The accounts of a generated file, and who pays whom.

use super::Side;
use super::random::Random;

/// The currencies in use, by turns: account number n has the n-th, in every generated file, so that files can
/// share accounts. Amounts are a few to a few hundred euros' worth, so that every conversion leaves something
/// to arrive. The dinar, with its three decimals, is only paid within itself: the European Central Bank,
/// whose rates the system starts with, quotes none.
pub(crate) const CURRENCIES: [CurrencyRange; 6] = [
    CurrencyRange { code: "USD", is_quoted: true, minor_min: 100, minor_max: 50_000 },
    CurrencyRange { code: "EUR", is_quoted: true, minor_min: 100, minor_max: 50_000 },
    CurrencyRange { code: "GBP", is_quoted: true, minor_min: 100, minor_max: 40_000 },
    CurrencyRange { code: "JPY", is_quoted: true, minor_min: 150, minor_max: 80_000 },
    CurrencyRange { code: "IDR", is_quoted: true, minor_min: 2_000_000, minor_max: 800_000_000 },
    CurrencyRange { code: "KWD", is_quoted: false, minor_min: 300, minor_max: 150_000 },
];

/// A currency and the amounts paid in it, in minor units.
#[derive(Debug)]
pub(crate) struct CurrencyRange {
    pub(crate) code: &'static str,
    /// Whether payments convert from and to it.
    pub(crate) is_quoted: bool,
    /// The smallest amount.
    pub(crate) minor_min: u64,
    /// The largest amount.
    pub(crate) minor_max: u64,
}

/// The index into [`CURRENCIES`] of an account of either side.
pub(crate) fn currency_of(account: usize) -> usize {
    account % CURRENCIES.len()
}

/// How many accounts there are on each side, and how payments choose among them.
#[derive(Debug)]
pub(crate) struct Population {
    /// Accounts that pay.
    pub(crate) sources: usize,
    /// Accounts that are paid.
    pub(crate) destinations: usize,
    fx_share: f64,
    /// The side that is drawn first; the other is drawn from those of the right currency.
    anchor: Side,
    anchors: Ranks,
    partners: [Ranks; CURRENCIES.len()],
}

impl Population {
    /// Divides `accounts` into sources and destinations; a hot side has one account for all payments. The
    /// accounts must allow for the share of conversions, as [`Population::accounts_min`] says.
    pub(crate) fn new(accounts: usize, fx_share: f64, exponent: f64, hot: Option<Side>) -> Population {
        let (sources, destinations) = match hot {
            None => (accounts / 2, accounts - accounts / 2),
            Some(Side::Source) => (1, accounts.saturating_sub(1)),
            Some(Side::Destination) => (accounts.saturating_sub(1), 1),
        };
        // The hot side first, so that the other, with its many currencies, can fit it. Else the sources,
        // which are never more.
        let anchor = hot.unwrap_or(Side::Source);
        let (anchors, partners) =
            if anchor == Side::Source { (sources, destinations) } else { (destinations, sources) };
        Population {
            sources,
            destinations,
            fx_share,
            anchor,
            anchors: Ranks::new(anchors, exponent),
            partners: std::array::from_fn(|currency| Ranks::new(accounts_of(partners, currency), exponent)),
        }
    }

    /// The fewest accounts that a share of conversions is possible with: one that pays, one paid in each of
    /// the currencies.
    pub(crate) fn accounts_min(fx_share: f64) -> usize {
        if fx_share > 0.0 { 3 } else { 2 }
    }

    /// Draws who pays whom: the numbers of the source and the destination.
    pub(crate) fn draw(&self, random: &mut Random) -> (usize, usize) {
        let converts = random.fraction() < self.fx_share;
        let drawn = self.anchors.draw(random);
        // An account whose currency is not quoted has a neighbour before it whose currency is.
        let anchor = if converts && !CURRENCIES[currency_of(drawn)].is_quoted { drawn - 1 } else { drawn };
        let own = currency_of(anchor);
        let currency = if converts { self.other_currency(own, random) } else { own };
        let partner = self.partners[currency].draw(random) * CURRENCIES.len() + currency;
        match self.anchor {
            Side::Source => (anchor, partner),
            Side::Destination => (partner, anchor),
        }
    }

    /// Any quoted currency with accounts but `own`.
    fn other_currency(&self, own: usize, random: &mut Random) -> usize {
        let usable = |currency: &usize| {
            *currency != own && CURRENCIES[*currency].is_quoted && !self.partners[*currency].is_empty()
        };
        let others = || (0..CURRENCIES.len()).filter(usable);
        let chosen = usize::try_from(random.below(others().count() as u64)).unwrap_or(0);
        others().nth(chosen).unwrap_or(own)
    }
}

/// How many of `accounts`, numbered from 0, have this currency.
fn accounts_of(accounts: usize, currency: usize) -> usize {
    (accounts + CURRENCIES.len() - 1 - currency) / CURRENCIES.len()
}

/// Draws ranks with Zipf's law: the n-th in proportion to 1 / n^exponent; all alike at exponent 0.
#[derive(Debug)]
enum Ranks {
    Uniform(usize),
    Weighted(Vec<f64>),
}

impl Ranks {
    fn new(count: usize, exponent: f64) -> Ranks {
        if exponent == 0.0 {
            return Ranks::Uniform(count);
        }
        let weights = (1..=count).scan(0.0, |total, rank| {
            *total += (rank as f64).powf(-exponent);
            Some(*total)
        });
        Ranks::Weighted(weights.collect())
    }

    fn is_empty(&self) -> bool {
        match self {
            Ranks::Uniform(count) => *count == 0,
            Ranks::Weighted(totals) => totals.is_empty(),
        }
    }

    fn draw(&self, random: &mut Random) -> usize {
        match self {
            Ranks::Uniform(count) => usize::try_from(random.below(*count as u64)).unwrap_or(0),
            Ranks::Weighted(totals) => {
                let point = random.fraction() * totals.last().copied().unwrap_or(0.0);
                totals.partition_point(|total| *total <= point).min(totals.len().saturating_sub(1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_account_has_a_place_and_a_currency() {
        for accounts in 0..30 {
            let counts = (0..CURRENCIES.len()).map(|currency| accounts_of(accounts, currency));
            assert_eq!(counts.sum::<usize>(), accounts);
            for account in 0..accounts {
                assert!(account / CURRENCIES.len() < accounts_of(accounts, currency_of(account)));
            }
        }
    }

    #[test]
    fn draws_follow_the_shape_that_was_asked_for() {
        // accounts, share of conversions, exponent, hot side -> payments of the busiest source and
        // destination, of 20,000
        let rows = [
            (1_000, 0.3, 0.0, None, 20..120, 20..120),
            (1_000, 0.3, 1.0, None, 2_500..3_500, 400..3_000),
            (1_000, 0.3, 0.0, Some(Side::Source), 20_000..20_001, 5..120),
            (1_000, 0.3, 0.0, Some(Side::Destination), 5..120, 20_000..20_001),
            (2, 0.0, 0.0, None, 20_000..20_001, 20_000..20_001),
            (3, 1.0, 0.0, None, 20_000..20_001, 20_000..20_001),
            (3, 0.5, 0.0, Some(Side::Destination), 9_000..11_001, 20_000..20_001),
        ];
        for (accounts, fx_share, exponent, hot, source_range, destination_range) in rows {
            let population = Population::new(accounts, fx_share, exponent, hot);
            assert_eq!(population.sources + population.destinations, accounts);
            let mut random = Random::new(1);
            let mut counts = [vec![0; population.sources], vec![0; population.destinations]];
            let mut conversions = 0;
            for _ in 0..20_000 {
                let (source, destination) = population.draw(&mut random);
                counts[0][source] += 1;
                counts[1][destination] += 1;
                let [from, to] = [source, destination].map(|account| &CURRENCIES[currency_of(account)]);
                conversions += i32::from(from.code != to.code);
                assert!(
                    from.code == to.code || (from.is_quoted && to.is_quoted),
                    "{} to {}",
                    from.code,
                    to.code
                );
            }
            let case = format!("{accounts} accounts, share {fx_share}, exponent {exponent}, hot {hot:?}");
            let busiest = counts.map(|counts| counts.into_iter().max().unwrap());
            assert!(
                source_range.contains(&busiest[0]) && destination_range.contains(&busiest[1]),
                "{case}: {busiest:?}"
            );
            assert!(
                (f64::from(conversions) / 20_000.0 - fx_share).abs() < 0.02,
                "{case}: {conversions} conversions"
            );
        }
    }
}
