//! What the store must answer and leave behind, worked out in memory and in the plainest way, one payment after the other.
//!
//! Conversions are `domain::fx`'s; everything else (who is refused and why, what is held, which entries in which order with
//! which running balances) is said here a second time, on purpose.

use domain::facts::{RecordState, Rejection, Reserved};
use domain::ledger::PostingError;
use domain::{Currency, PaymentKey, PaymentRecord, Refusal, StageName, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use store::{Deposit, DepositOutcome, HoldRequest, SettleFault};

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
}

impl Model {
    pub(crate) fn open(&mut self, name: AccountName, currency: Currency, is_frozen: bool) {
        self.accounts.insert(name, ModelAccount { currency, is_frozen, balance: 0, held: 0, entries: Vec::new() });
    }

    pub(crate) fn reserve(&mut self, requests: &[HoldRequest], now: Timestamp) -> Vec<PaymentRecord> {
        let mut answers = Vec::new();
        for request in requests {
            let key = request.payment.key();
            if !self.payments.contains_key(&key) {
                let record = self.judge(request, now);
                self.payments.insert(key.clone(), record);
            }
            answers.push(self.payments[&key].clone());
        }
        answers
    }

    fn judge(&mut self, request: &HoldRequest, now: Timestamp) -> PaymentRecord {
        let payment = &request.payment;
        let source = self.accounts.get_mut(&(payment.tenant.to_string(), payment.source_account.to_string()));
        let refusal = match &source {
            None => Some(Refusal::AccountNotFound),
            Some(account) if account.is_frozen => Some(Refusal::AccountFrozen),
            Some(account) if account.currency != payment.amount.currency => Some(Refusal::CurrencyMismatch),
            Some(account) if account.balance - account.held < payment.amount.minor => Some(Refusal::InsufficientFunds),
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
                rejection: Rejection { stage: StageName::Reserve, reason: reason.unwrap(), rules: Vec::new(), at: now },
                finished_at: now,
            },
        };
        PaymentRecord {
            payment: payment.clone(),
            fingerprint: request.fingerprint,
            accepted_seq: request.accepted_seq,
            accepted_at: request.accepted_at,
            state,
        }
    }

    /// Posts in the order of the ids, and answers in the order asked.
    pub(crate) fn settle(&mut self, keys: &[PaymentKey], now: Timestamp, shard: u16) -> Vec<Result<PaymentRecord, SettleFault>> {
        let mut faults = BTreeMap::new();
        for key in keys.iter().collect::<BTreeSet<_>>() {
            if let Err(fault) = self.post(key, now, shard) {
                faults.insert(key.clone(), fault);
            }
        }
        let answer = |key: &PaymentKey| match faults.get(key) {
            Some(fault) => Err(SettleFault::Posting(fault.clone())),
            None => self.payments.get(key).cloned().ok_or(SettleFault::NoRow),
        };
        keys.iter().map(answer).collect()
    }

    fn post(&mut self, key: &PaymentKey, now: Timestamp, shard: u16) -> Result<(), PostingError> {
        let Some(record) = self.payments.get(key).cloned() else { return Ok(()) };
        let RecordState::Reserved(reserved) = &record.state else { return Ok(()) };
        let lines = lines(&record, reserved, shard);
        for (account, _, currency) in &lines {
            // Settling opens the system accounts that a conversion meets first.
            if account.contains(':') {
                self.open_system(key.tenant.as_str(), *currency, shard);
            }
        }
        let name = |account: &str| (key.tenant.to_string(), account.to_owned());
        if let Some((missing, ..)) = lines.iter().find(|(account, ..)| !self.accounts.contains_key(&name(account))) {
            return Err(PostingError::UnknownAccount(missing.clone()));
        }
        for (account, amount, currency) in lines {
            self.write(name(&account), "payment", key.id.as_str(), amount, currency);
        }
        self.accounts.get_mut(&name(record.payment.source_account.as_str())).unwrap().held -= record.payment.amount.minor;
        let state = RecordState::Captured { reserved: reserved.clone(), finished_at: now };
        self.payments.insert(key.clone(), PaymentRecord { state, ..record });
        Ok(())
    }

    fn open_system(&mut self, tenant: &str, currency: Currency, shard: u16) {
        for kind in ["external", "fee", "fx"] {
            let name = (tenant.to_owned(), system(kind, currency, shard));
            self.accounts.entry(name).or_insert(ModelAccount { currency, is_frozen: false, balance: 0, held: 0, entries: Vec::new() });
        }
    }

    fn write(&mut self, name: AccountName, kind: &'static str, operation: &str, amount: i64, currency: Currency) {
        let account = self.accounts.get_mut(&name).unwrap();
        account.balance += amount;
        let (currency, balance_after) = (currency.code(), account.balance);
        account.entries.push(ModelEntry { kind, operation: operation.to_owned(), currency, amount, balance_after });
    }

    pub(crate) fn record_rejections(&mut self, refused: &[PaymentRecord]) -> Vec<PaymentRecord> {
        let answer = |record: &PaymentRecord| self.payments.entry(record.payment.key()).or_insert_with(|| record.clone()).clone();
        refused.iter().map(answer).collect()
    }

    pub(crate) fn deposit(&mut self, deposits: &[Deposit]) -> Vec<DepositOutcome> {
        deposits.iter().map(|deposit| self.deposit_one(deposit)).collect()
    }

    fn deposit_one(&mut self, deposit: &Deposit) -> DepositOutcome {
        let (tenant, account) = (deposit.account.tenant.to_string(), deposit.account.id.to_string());
        let domain::Money { minor, currency } = deposit.amount;
        self.open_system(&tenant, currency, 0);
        let operation = (tenant.clone(), deposit.id.to_string());
        if let Some((before_account, before_minor, before_currency, balance)) = self.deposits.get(&operation) {
            let is_same = *before_account == account && *before_minor == minor && *before_currency == currency;
            return if is_same { DepositOutcome::Replayed(domain::Money::new(*balance, currency)) } else { DepositOutcome::Mismatch };
        }
        let customer = (tenant.clone(), account.clone());
        if self.accounts.get(&customer).is_none_or(|found| found.currency != currency) {
            return DepositOutcome::NoAccount;
        }
        self.write((tenant, system("external", currency, 0)), "deposit", deposit.id.as_str(), -minor, currency);
        self.write(customer.clone(), "deposit", deposit.id.as_str(), minor, currency);
        let balance = self.accounts[&customer].balance;
        self.deposits.insert(operation, (account, minor, currency, balance));
        DepositOutcome::Posted(domain::Money::new(balance, currency))
    }
}

/// What a payment moves: account, signed amount, currency.
fn lines(record: &PaymentRecord, reserved: &Reserved, shard: u16) -> Vec<(String, i64, Currency)> {
    let payment = &record.payment;
    let (from, to) = (payment.amount, reserved.quote.destination_amount);
    let leaves = (payment.source_account.to_string(), -from.minor, from.currency);
    let arrives = (payment.destination_account.to_string(), to.minor, to.currency);
    let Some(applied) = &reserved.quote.conversion else { return vec![leaves, arrives] };
    let mut lines = vec![leaves];
    lines.push((system("fx", from.currency, shard), from.minor, from.currency));
    lines.push((system("fx", to.currency, shard), -applied.gross_minor, to.currency));
    if applied.gross_minor > to.minor {
        lines.push((system("fee", to.currency, shard), applied.gross_minor - to.minor, to.currency));
    }
    lines.push(arrives);
    lines
}

fn system(kind: &str, currency: Currency, shard: u16) -> String {
    if shard == 0 { format!("{kind}:{currency}") } else { format!("{kind}:{currency}:{shard}") }
}
