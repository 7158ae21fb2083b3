//! The ledger's invariants over the tables in memory, by their names in `loadtest/sql/invariants.sql`.
//!
//! `currencies_sum_to_zero` follows from `operations_sum_to_zero`; `captured_means_one_debit`,
//! `captured_means_one_credit`, `unsettled_payments_have_no_entries` and `conversions_pass_through_fx_and_fee`
//! are one comparison of the entries with those that the row asks for. Not looked at: what is said of one row
//! by itself (`destination_amounts_recompute`, `gross_amounts_recompute`,
//! `conversions_exactly_between_currencies`), which only the arithmetic of conversions could break; privileges
//! and triggers, of which memory has none; and `holds_end`, which is about time.

use crate::locks::{AccountRow, customer_row};
use crate::memory::tables::{EntryLine, PaymentRow, Tables};
use crate::posting::OperationKind;
use domain::facts::{Quote, RecordState};
use domain::ledger::LedgerAccount;
use domain::{AccountId, Currency, Money, OperationId, Payment, PaymentId, PaymentKey, Tenant};
use std::collections::BTreeMap;

/// Sentences told at most: a ledger that is broken in so many places is broken.
const TOLD_MAX: usize = 50;

/// An entry without its place: a customer's account, or what an account of ours is for; currency and amount.
type Line = (String, Currency, i64);

impl Tables {
    /// Each sentence that does not hold, with what breaks it; none where the ledger is sound.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut statements: BTreeMap<AccountRow, Vec<&EntryLine>> = BTreeMap::new();
        for ((kind, tenant, id), lines) in &self.entries {
            self.check_operation(*kind, tenant, id, lines, &mut broken);
            for line in lines {
                statements.entry((tenant.clone(), line.account.clone())).or_default().push(line);
            }
        }
        let mut held: BTreeMap<AccountRow, i64> = BTreeMap::new();
        for (key, row) in &self.payments {
            self.check_payment(key, row, &mut broken);
            if matches!(row.record.state, RecordState::Reserved(_)) {
                let payment = &row.record.facts.payment;
                *held.entry(customer_row(&key.tenant, &payment.source_account)).or_default() +=
                    payment.amount.minor;
            }
        }
        for row in self.accounts.keys() {
            let lines = statements.remove(row).unwrap_or_default();
            self.check_account(row, lines, held.remove(row).unwrap_or(0), &mut broken);
        }
        for ((tenant, account), minor) in held {
            broken.push(format!(
                "held_is_the_sum_of_reserved_payments: {minor} on {tenant}~{account}, which is not there"
            ));
        }
        self.check_deposits(&mut broken);
        broken.truncate(TOLD_MAX);
        broken
    }

    fn check_operation(
        &self,
        kind: OperationKind,
        tenant: &Tenant,
        id: &str,
        lines: &[EntryLine],
        broken: &mut Vec<String>,
    ) {
        let operation = format!("{} {tenant}~{id}", kind.as_str());
        let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
        for line in lines {
            *sums.entry(line.amount.currency).or_default() += i128::from(line.amount.minor);
            let account = self.accounts.get(&(tenant.clone(), line.account.clone()));
            if account.is_none_or(|account| account.currency != line.amount.currency) {
                broken
                    .push(format!("entries_carry_their_accounts_currency: {operation} on {}", line.account));
            }
        }
        for (currency, excess) in sums.into_iter().filter(|(_, sum)| *sum != 0) {
            broken.push(format!("operations_sum_to_zero: {operation} by {excess} {currency}"));
        }
        if lines.len() < 2 {
            broken.push(format!("operations_have_two_sides: {operation}"));
        }
        let is_there = match kind {
            OperationKind::Payment => PaymentId::parse(id)
                .is_ok_and(|id| self.payments.contains_key(&PaymentKey { tenant: tenant.clone(), id })),
            OperationKind::Deposit => {
                OperationId::parse(id).is_ok_and(|id| self.deposits.contains_key(&(tenant.clone(), id)))
            }
        };
        if !is_there {
            broken.push(format!("entries_belong_to_an_operation: {operation}"));
        }
    }

    fn check_account(
        &self,
        row: &AccountRow,
        mut lines: Vec<&EntryLine>,
        reserved: i64,
        broken: &mut Vec<String>,
    ) {
        let Some(state) = self.accounts.get(row) else { return };
        let (account, is_customer) = (format!("{}~{}", row.0, row.1), is_customer(&row.1));
        lines.sort_by_key(|line| line.number);
        let mut running = 0_i128;
        for (line, number) in lines.iter().zip(1..) {
            running += i128::from(line.amount.minor);
            if line.number != number {
                broken.push(format!("entries_are_numbered_without_gap: {account} at {number}"));
            }
            if i128::from(line.balance_after) != running {
                broken.push(format!("running_balances_are_exact: {account} at {number}"));
            }
            if is_customer && line.balance_after < 0 {
                broken.push(format!("customers_were_never_overdrawn: {account} at {number}"));
            }
        }
        if usize::try_from(state.entry_count) != Ok(lines.len()) {
            broken.push(format!("entries_are_numbered_without_gap: {account} has {}", lines.len()));
        }
        if i128::from(state.balance) != running {
            broken.push(format!("balances_are_sums: {account} has {} instead of {running}", state.balance));
        }
        if is_customer && state.balance < state.held {
            broken.push(format!("customers_cover_their_holds: {account}"));
        }
        if state.held != reserved {
            let held = state.held;
            broken.push(format!(
                "held_is_the_sum_of_reserved_payments: {account} has {held} instead of {reserved}"
            ));
        }
    }

    fn check_payment(&self, key: &PaymentKey, row: &PaymentRow, broken: &mut Vec<String>) {
        let payment = &row.record.facts.payment;
        let (quote, is_captured) = match &row.record.state {
            RecordState::Reserved(reserved) => (Some(&reserved.quote), false),
            RecordState::Captured { reserved, .. } => (Some(&reserved.quote), true),
            RecordState::Failed { quote, reserved_at, .. } => {
                (quote.as_ref().filter(|_| reserved_at.is_some()), false)
            }
        };
        let mut expected =
            quote.filter(|_| is_captured).map(|quote| lines_of(payment, quote)).unwrap_or_default();
        let entries = self.entries.get(&(OperationKind::Payment, key.tenant.clone(), key.id.to_string()));
        let mut posted: Vec<Line> = entries.into_iter().flatten().map(line_of).collect();
        expected.sort_unstable();
        posted.sort_unstable();
        if posted != expected {
            let sentence = if is_captured {
                "captured_means_one_settlement"
            } else {
                "unsettled_payments_have_no_entries"
            };
            broken.push(format!("{sentence}: {}~{} has {} entries", key.tenant, key.id, posted.len()));
        }
        let currency = |id: &AccountId| Some(self.accounts.get(&customer_row(&key.tenant, id))?.currency);
        if let Some(quote) = quote {
            let arrives = quote.destination_amount.currency;
            let is_asked = payment.destination_currency.is_none_or(|asked| asked == arrives);
            if currency(&payment.source_account) != Some(payment.amount.currency)
                || currency(&payment.destination_account) != Some(arrives)
                || !is_asked
            {
                broken.push(format!("payments_match_their_accounts: {}~{}", key.tenant, key.id));
            }
        }
    }

    fn check_deposits(&self, broken: &mut Vec<String>) {
        for ((tenant, id), recorded) in &self.deposits {
            let Money { minor, currency } = recorded.amount;
            let entries = self.entries.get(&(OperationKind::Deposit, tenant.clone(), id.to_string()));
            let mut posted: Vec<Line> = entries.into_iter().flatten().map(line_of).collect();
            let mut expected =
                [(recorded.account_id.clone(), currency, minor), ("external".to_owned(), currency, -minor)];
            posted.sort_unstable();
            expected.sort_unstable();
            let is_last = |line: &EntryLine| {
                line.account.as_str() != recorded.account_id || line.balance_after == recorded.balance_after
            };
            if posted != expected || !entries.into_iter().flatten().all(is_last) {
                broken.push(format!("deposits_have_their_two_entries: {tenant}~{id}"));
            }
        }
    }
}

/// The entries that a captured payment has.
fn lines_of(payment: &Payment, quote: &Quote) -> Vec<Line> {
    let (leaves, arrives) = (payment.amount, quote.destination_amount);
    let mut lines = vec![
        (payment.source_account.to_string(), leaves.currency, -leaves.minor),
        (payment.destination_account.to_string(), arrives.currency, arrives.minor),
    ];
    if let Some(applied) = &quote.conversion {
        lines.push(("fx".to_owned(), leaves.currency, leaves.minor));
        lines.push(("fx".to_owned(), arrives.currency, -applied.gross_minor));
        lines.push(("fee".to_owned(), arrives.currency, applied.gross_minor - arrives.minor));
    }
    lines.retain(|(_, _, minor)| *minor != 0);
    lines
}

fn line_of(entry: &EntryLine) -> Line {
    let name = entry.account.as_str().split(':').next().unwrap_or_default();
    (name.to_owned(), entry.amount.currency, entry.amount.minor)
}

fn is_customer(account: &LedgerAccount) -> bool {
    !account.as_str().contains(':')
}

#[cfg(test)]
#[path = "violations_tests.rs"]
mod tests;
