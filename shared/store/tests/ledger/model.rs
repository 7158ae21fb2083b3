//! What the store must answer and leave behind, worked out in memory and in the plainest way, one payment
//! after the other.
//!
//! Conversions are `domain::fx`'s; everything else (who is refused and why, what is held, which entries in
//! which order with which running balances) is said here a second time, on purpose.

use domain::facts::{RecordState, Rejection, Reserved};
use domain::ledger::{LedgerAccount, PostingError};
use domain::{AccountId, Currency, PaymentKey, PaymentRecord, Refusal, StageName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use store::{Deposit, DepositOutcome, HoldRequest, SettleRequest, Settlement};

/// Tenant and account id.
pub(crate) type AccountName = (String, String);

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelEntry {
    pub(crate) kind: &'static str,
    pub(crate) operation: String,
    pub(crate) currency: &'static str,
    pub(crate) amount: i64,
    pub(crate) balance_after: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ModelAccount {
    pub(crate) currency: Currency,
    pub(crate) is_frozen: bool,
    pub(crate) balance: i64,
    pub(crate) held: i64,
    pub(crate) entries: Vec<ModelEntry>,
}

/// The whole ledger.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) accounts: BTreeMap<AccountName, ModelAccount>,
    pub(crate) payments: BTreeMap<PaymentKey, PaymentRecord>,
    deposits: BTreeMap<(String, String), (String, i64, Currency, i64)>,
    /// The row of each of our accounts that is posted to, by tenant and the id of the first; those that are
    /// not here are at it.
    rows: BTreeMap<AccountName, u32>,
}

/// A row of ours this far from zero when a batch begins is followed by the next.
const BOUND: i64 = 4_000_000_000_000_000_000;

impl Model {
    pub(crate) fn open(&mut self, name: AccountName, currency: Currency, is_frozen: bool) {
        self.accounts
            .insert(name, ModelAccount { currency, is_frozen, balance: 0, held: 0, entries: Vec::new() });
    }

    pub(crate) fn reserve(&mut self, requests: &[HoldRequest], now: Timestamp) -> Vec<PaymentRecord> {
        let mut answers = Vec::new();
        for request in requests {
            let key = request.facts.payment.key();
            if !self.payments.contains_key(&key) {
                let record = self.judge(request, now);
                self.payments.insert(key.clone(), record);
            }
            answers.push(self.payments[&key].clone());
        }
        answers
    }

    fn judge(&mut self, request: &HoldRequest, now: Timestamp) -> PaymentRecord {
        let payment = &request.facts.payment;
        let source = self.accounts.get_mut(&(payment.tenant.to_string(), payment.source_account.to_string()));
        let refusal = match &source {
            None => Some(Refusal::AccountNotFound),
            Some(_) if request.is_quote_outdated => Some(Refusal::FxRateStale),
            Some(account) if account.is_frozen => Some(Refusal::AccountFrozen),
            Some(account) if account.currency != payment.amount.currency => Some(Refusal::CurrencyMismatch),
            Some(account) if account.balance - account.held < payment.amount.minor => {
                Some(Refusal::InsufficientFunds)
            }
            Some(_) => None,
        };
        let (screening, quote) = (request.screening.clone(), request.quote.clone());
        let state = match (refusal, source) {
            (None, Some(account)) => {
                account.held += payment.amount.minor;
                RecordState::Reserved(Reserved { screening, quote, at: now })
            }
            (reason, _) => RecordState::Failed {
                screening: Some(screening),
                quote: Some(quote),
                reserved_at: None,
                rejection: Rejection {
                    stage: StageName::Reserve,
                    reason: reason.unwrap(),
                    rules: Vec::new(),
                    at: now,
                },
                finished_at: now,
            },
        };
        PaymentRecord { facts: request.facts.clone(), state, trace: request.trace }
    }

    /// Posts in the order of the ids, and answers in the order asked.
    pub(crate) fn settle(
        &mut self,
        requests: &[SettleRequest],
        now: Timestamp,
        shard: u16,
    ) -> Vec<Settlement> {
        self.continue_full_rows();
        let mut faults = BTreeMap::new();
        for key in requests.iter().map(|request| &request.payment).collect::<BTreeSet<_>>() {
            if let Err(fault) = self.post(key, now, shard) {
                faults.insert(key.clone(), fault);
            }
        }
        let answer = |request: &SettleRequest| match (
            faults.get(&request.payment),
            self.payments.get(&request.payment),
        ) {
            (Some(fault), _) => Settlement::Unpostable(fault.clone()),
            (None, Some(record)) => Settlement::Recorded(Box::new(record.clone())),
            (None, None) => Settlement::NoRow,
        };
        requests.iter().map(answer).collect()
    }

    fn post(&mut self, key: &PaymentKey, now: Timestamp, shard: u16) -> Result<(), PostingError> {
        let Some(record) = self.payments.get(key).cloned() else { return Ok(()) };
        let RecordState::Reserved(reserved) = &record.state else { return Ok(()) };
        let lines = self.lines(&record, reserved, shard);
        let name = |account: &str| (key.tenant.to_string(), account.to_owned());
        if let Some((missing, ..)) =
            lines.iter().find(|(account, ..)| !self.accounts.contains_key(&name(account)))
        {
            return Err(PostingError::UnknownAccount(LedgerAccount::customer(
                &AccountId::parse(missing.as_str()).unwrap(),
            )));
        }
        let destination = &self.accounts[&name(record.facts.payment.destination_account.as_str())];
        let state = if destination.balance.checked_add(reserved.quote.destination_amount.minor).is_some() {
            for (account, amount, currency) in lines {
                self.write(name(&account), "payment", key.id.as_str(), amount, currency);
            }
            RecordState::Captured { reserved: reserved.clone(), finished_at: now }
        } else {
            RecordState::Failed {
                screening: Some(reserved.screening.clone()),
                quote: Some(reserved.quote.clone()),
                reserved_at: Some(reserved.at),
                rejection: Rejection {
                    stage: StageName::Settle,
                    reason: Refusal::DestinationLimit,
                    rules: Vec::new(),
                    at: now,
                },
                finished_at: now,
            }
        };
        self.accounts.get_mut(&name(record.facts.payment.source_account.as_str())).unwrap().held -=
            record.facts.payment.amount.minor;
        self.payments.insert(key.clone(), PaymentRecord { state, ..record });
        Ok(())
    }

    fn continue_full_rows(&mut self) {
        let is_full = |(name, account): &(&AccountName, &ModelAccount)| {
            name.1.contains(':') && account.balance.abs() >= BOUND
        };
        let full: Vec<AccountName> =
            self.accounts.iter().filter(is_full).map(|(name, _)| name.clone()).collect();
        for (tenant, id) in full {
            let (first, row) =
                id.split_once('.').map_or((id.as_str(), 1), |(first, row)| (first, row.parse().unwrap()));
            // The rows after the first name the first shard too.
            let current = self.rows.entry((tenant, first.trim_end_matches(":0").to_owned())).or_insert(1);
            *current = (*current).max(row + 1);
        }
    }

    /// The row that an account of ours is at, opened when it is met first.
    fn system(&mut self, tenant: &str, kind: &str, currency: Currency, shard: u16) -> String {
        let first =
            if shard == 0 { format!("{kind}:{currency}") } else { format!("{kind}:{currency}:{shard}") };
        let id = match self.rows.get(&(tenant.to_owned(), first.clone())) {
            None => first,
            Some(row) => format!("{kind}:{currency}:{shard}.{row}"),
        };
        let new = ModelAccount { currency, is_frozen: false, balance: 0, held: 0, entries: Vec::new() };
        self.accounts.entry((tenant.to_owned(), id.clone())).or_insert(new);
        id
    }

    fn write(
        &mut self,
        name: AccountName,
        kind: &'static str,
        operation: &str,
        amount: i64,
        currency: Currency,
    ) {
        let account = self.accounts.get_mut(&name).unwrap();
        account.balance += amount;
        let (currency, balance_after) = (currency.code(), account.balance);
        account.entries.push(ModelEntry {
            kind,
            operation: operation.to_owned(),
            currency,
            amount,
            balance_after,
        });
    }

    pub(crate) fn record_rejections(&mut self, refused: &[PaymentRecord]) -> Vec<PaymentRecord> {
        let answer = |record: &PaymentRecord| {
            self.payments.entry(record.facts.payment.key()).or_insert_with(|| record.clone()).clone()
        };
        refused.iter().map(answer).collect()
    }

    pub(crate) fn deposit(&mut self, deposits: &[Deposit]) -> Vec<DepositOutcome> {
        self.continue_full_rows();
        deposits.iter().map(|deposit| self.deposit_one(deposit)).collect()
    }

    fn deposit_one(&mut self, deposit: &Deposit) -> DepositOutcome {
        let (tenant, account) = (deposit.account.tenant.to_string(), deposit.account.id.to_string());
        let domain::Money { minor, currency } = deposit.amount;
        let operation = (tenant.clone(), deposit.id.to_string());
        if let Some((before_account, before_minor, before_currency, balance)) = self.deposits.get(&operation)
        {
            let is_same =
                *before_account == account && *before_minor == minor && *before_currency == currency;
            return if is_same {
                DepositOutcome::Replayed(domain::Money::new(*balance, currency))
            } else {
                DepositOutcome::Mismatch
            };
        }
        let customer = (tenant.clone(), account.clone());
        match self.accounts.get(&customer) {
            Some(found) if found.currency != currency => return DepositOutcome::NoAccount,
            None => return DepositOutcome::NoAccount,
            Some(found) if found.balance.checked_add(minor).is_none() => return DepositOutcome::TooLarge,
            Some(_) => {}
        }
        let outside = self.system(&tenant, "external", currency, 0);
        self.write((tenant, outside), "deposit", deposit.id.as_str(), -minor, currency);
        self.write(customer.clone(), "deposit", deposit.id.as_str(), minor, currency);
        let balance = self.accounts[&customer].balance;
        self.deposits.insert(operation, (account, minor, currency, balance));
        DepositOutcome::Posted(domain::Money::new(balance, currency))
    }

    /// What a payment moves: account, signed amount, currency.
    fn lines(
        &mut self,
        record: &PaymentRecord,
        reserved: &Reserved,
        shard: u16,
    ) -> Vec<(String, i64, Currency)> {
        let payment = &record.facts.payment;
        let (from, to) = (payment.amount, reserved.quote.destination_amount);
        let leaves = (payment.source_account.to_string(), -from.minor, from.currency);
        let arrives = (payment.destination_account.to_string(), to.minor, to.currency);
        let Some(applied) = &reserved.quote.conversion else { return vec![leaves, arrives] };
        let mut system =
            |kind: &str, currency: Currency| self.system(payment.tenant.as_str(), kind, currency, shard);
        let mut lines = vec![leaves];
        lines.push((system("fx", from.currency), from.minor, from.currency));
        lines.push((system("fx", to.currency), -applied.gross_minor, to.currency));
        if applied.gross_minor > to.minor {
            lines.push((system("fee", to.currency), applied.gross_minor - to.minor, to.currency));
        }
        lines.push(arrives);
        lines
    }
}
