//! Random operations on a small world, so that they meet: few accounts, few ids, and everything that can be
//! wrong.

use crate::common::{at, converted, currency, refused, request, settlement, settlements};
use domain::fx::Rate;
use domain::{
    AccountId, AccountKey, Currency, Money, OperationId, PaymentId, PaymentKey, PaymentRecord, Tenant,
    Timestamp, TraceContext,
};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use store::{Deposit, HoldRequest, SettleRequest};

const CURRENCIES: [&str; 4] = ["USD", "IDR", "JPY", "KWD"];
const ACCOUNTS_PER_TENANT: usize = 9;
/// Few, so that most ids come again: within a batch, in later batches, as a reservation and as a refusal.
const PAYMENT_IDS: u32 = 120;
const BATCH_MAX: usize = 24;
/// The account that can afford anything, and the one of the same currency that can take almost nothing; it
/// never pays.
const RICH: &str = "ACC0";
const FULL: &str = "ACC3";

/// A call of the store.
#[derive(Clone)]
pub(crate) enum Operation {
    Reserve(Vec<HoldRequest>),
    Settle { requests: Vec<SettleRequest>, shard: u16 },
    Reject(Vec<PaymentRecord>),
    Deposit(Vec<Deposit>),
}

/// An account of the world; its currency follows from its number.
#[derive(Debug, Clone)]
pub(crate) struct WorldAccount {
    pub(crate) key: AccountKey,
    pub(crate) currency: Currency,
    pub(crate) is_frozen: bool,
    /// Named by payments and deposits, but never opened.
    pub(crate) is_missing: bool,
}

pub(crate) struct World {
    pub(crate) random: StdRng,
    pub(crate) accounts: Vec<WorldAccount>,
    /// Every payment that was asked for; settlements and redeliveries choose from it.
    asked: Vec<HoldRequest>,
    instant: i64,
    /// Who gets the large deposits that come before everything else.
    large_deposits_to: Vec<&'static str>,
}

impl World {
    /// Two tenants, whose ids are the same.
    pub(crate) fn new(seed: u64) -> World {
        let accounts = ["a", "b"].into_iter().flat_map(|half| {
            let tenant = Tenant::parse(format!("seed{seed}{half}")).unwrap();
            (0..ACCOUNTS_PER_TENANT).map(move |number| WorldAccount {
                key: AccountKey {
                    tenant: tenant.clone(),
                    id: AccountId::parse(format!("ACC{number}")).unwrap(),
                },
                currency: currency(CURRENCIES[number % 3 + usize::from(number == 8)]),
                is_frozen: number == 6,
                is_missing: number == 7,
            })
        });
        World {
            random: StdRng::seed_from_u64(seed),
            accounts: accounts.collect(),
            asked: Vec::new(),
            instant: 100,
            large_deposits_to: vec![RICH, FULL, FULL],
        }
    }

    pub(crate) fn now(&mut self) -> Timestamp {
        self.instant += self.random.random_range(1..1_000);
        at(self.instant)
    }

    pub(crate) fn operation(&mut self) -> Operation {
        if let Some(id) = self.large_deposits_to.pop() {
            return Operation::Deposit(self.large_deposits(id));
        }
        let size = self.random.random_range(1..=BATCH_MAX);
        match self.random.random_range(0..10) {
            0 | 1 => {
                let mut deposits: Vec<Deposit> = (0..size).map(|_| self.deposit()).collect();
                deposits.extend(if self.random.random_bool(0.2) {
                    self.large_deposits(FULL)
                } else {
                    Vec::new()
                });
                Operation::Deposit(deposits)
            }
            2..=5 => Operation::Reserve((0..size).map(|_| self.redelivered_or_new()).collect()),
            6 => Operation::Reject((0..size).map(|_| refused(&self.redelivered_or_new())).collect()),
            _ => self.settlement(size),
        }
    }

    /// Some of the payments that were asked for, and one that never was.
    pub(crate) fn some_payments(&mut self) -> Vec<PaymentKey> {
        let size = self.random.random_range(0..BATCH_MAX);
        let asked = (0..size).filter_map(|_| self.asked.choose(&mut self.random));
        let mut keys: Vec<PaymentKey> = asked.map(|request| request.facts.payment.key()).collect();
        keys.push(PaymentKey {
            tenant: self.accounts[0].key.tenant.clone(),
            id: PaymentId::parse("NEVER").unwrap(),
        });
        keys
    }

    fn settlement(&mut self, size: usize) -> Operation {
        let chosen: Vec<HoldRequest> =
            (0..size).filter_map(|_| self.asked.choose(&mut self.random).cloned()).collect();
        // The message names the accounts and currencies; a row from before may have others.
        let mut requests = settlements(&chosen);
        if self.random.random_bool(0.2) {
            let never_seen = request("NEVER-SEEN", "ACC0", "ACC1", Money::new(1, currency("USD")));
            requests.push(settlement(&never_seen.facts.payment, currency("USD")));
        }
        Operation::Settle { requests, shard: self.random.random_range(0..2) }
    }

    fn redelivered_or_new(&mut self) -> HoldRequest {
        let again = self.asked.choose(&mut self.random).cloned();
        match again {
            Some(request) if self.random.random_bool(0.2) => request,
            _ => {
                let request = self.request();
                self.asked.push(request.clone());
                request
            }
        }
    }

    /// A source and a destination, one in ten times those that meet the limit.
    fn pair(&mut self) -> [WorldAccount; 2] {
        if self.random.random_bool(0.1) {
            let half =
                &self.accounts[ACCOUNTS_PER_TENANT * self.random.random_range(0..2)..][..ACCOUNTS_PER_TENANT];
            return [RICH, FULL]
                .map(|id| half.iter().find(|account| account.key.id.as_str() == id).unwrap().clone());
        }
        [(); 2].map(|()| self.accounts.choose(&mut self.random).unwrap().clone())
    }

    fn request(&mut self) -> HoldRequest {
        loop {
            let [source, destination] = self.pair();
            if source.key.tenant != destination.key.tenant
                || source.key == destination.key
                || source.key.id.as_str() == FULL
            {
                continue;
            }
            let is_mismatch = self.random.random_bool(0.05);
            let pays = if is_mismatch {
                currency(CURRENCIES.choose(&mut self.random).unwrap())
            } else {
                source.currency
            };
            let amount = Money::new(self.amount(), pays);
            let id = format!("PAY{}", self.random.random_range(0..PAYMENT_IDS));
            let mut request = request(&id, source.key.id.as_str(), destination.key.id.as_str(), amount);
            request.facts.payment.tenant = source.key.tenant;
            request.facts.accepted_seq = self.random.random_range(1..1_000_000);
            request.trace = self.random.random_bool(0.3).then(|| TraceContext {
                trace_id: self.random.random_range(1..u128::MAX),
                span_id: self.random.random_range(1..u64::MAX),
                is_sampled: true,
            });
            if pays == destination.currency {
                return request;
            }
            let rate = Rate {
                numerator: self.random.random_range(1..1_000),
                denominator: self.random.random_range(1..1_000),
            };
            let spread_bps = *[0, 1, 25, 300].choose(&mut self.random).unwrap();
            // Too small for its rate: fx refuses it, so it never comes here.
            if let Ok(request) = converted(request, destination.currency, rate, spread_bps) {
                return HoldRequest { is_quote_outdated: self.random.random_bool(0.1), ..request };
            }
        }
    }

    /// To this account of each tenant, so much that our side is beyond its bound and the second time fills
    /// the account almost to its end.
    fn large_deposits(&mut self, id: &str) -> Vec<Deposit> {
        let accounts: Vec<WorldAccount> =
            self.accounts.iter().filter(|account| account.key.id.as_str() == id).cloned().collect();
        let one = |account: WorldAccount| {
            let amount = Money::new((1 << 62) - self.random.random_range(0..2_000), account.currency);
            let id =
                OperationId::parse(format!("LARGE{}", self.random.random_range(0..PAYMENT_IDS))).unwrap();
            Deposit { account: account.key, id, amount }
        };
        accounts.into_iter().map(one).collect()
    }

    fn deposit(&mut self) -> Deposit {
        let account = self.accounts.choose(&mut self.random).unwrap().clone();
        let is_mismatch = self.random.random_bool(0.1);
        let currency = if is_mismatch {
            currency(CURRENCIES.choose(&mut self.random).unwrap())
        } else {
            account.currency
        };
        let id = OperationId::parse(format!("DEP{}", self.random.random_range(0..PAYMENT_IDS))).unwrap();
        Deposit { account: account.key, id, amount: Money::new(self.amount(), currency) }
    }

    /// Of every magnitude, often the same.
    fn amount(&mut self) -> i64 {
        let magnitude = 10_i64.pow(self.random.random_range(0..6));
        magnitude * self.random.random_range(1..10)
    }
}
