//! Whether each payment was judged rightly, and whether what was told of it is what its row says.

use crate::faults::Fault;
use crate::world::{ACCOUNTS, World};
use domain::facts::{Quote, RecordState, Rejection, Reserved};
use domain::{Currency, PaymentRecord, Refusal, StageName};
use std::collections::BTreeMap;
use wire::{Hop, HopMessage};

/// The only account that money may not leave.
const FROZEN: &str = "FROZEN";

/// Faults after which a letter or a message of junk may be gone.
const LOSES_JUNK: [Fault; 4] = [Fault::StreamLost, Fault::BrokerRestart, Fault::LedgerSetBack, Fault::Newer];

/// Everything that is to be said of rows and of what was told.
pub(crate) fn check(world: &World) {
    let records = records(world);
    let sent = Sent::of(&records);
    for record in &records {
        let found =
            if is_held_or_was(record) { passed(world, record) } else { refused(world, record, &sent) };
        if let Some(what) = found {
            world.conditions.violated(format!("{} {what}", record.facts.payment.id));
        }
    }
    // What was told before the ledger was set back may have come out otherwise since.
    if !world.conditions.plan().has(Fault::LedgerSetBack) {
        records.iter().for_each(|record| check_told(world, record));
    }
    check_junk(world);
}

fn records(world: &World) -> Vec<PaymentRecord> {
    let mut records = Vec::new();
    world.ledger.each_record(|record, _| records.push(record.clone()));
    records
}

/// The hold that a payment has or had.
fn hold(record: &PaymentRecord) -> Option<Reserved> {
    match record.state.clone() {
        RecordState::Reserved(reserved) | RecordState::Captured { reserved, .. } => Some(reserved),
        RecordState::Failed { screening, quote, reserved_at, .. } => {
            Some(Reserved { screening: screening?, quote: quote?, at: reserved_at? })
        }
    }
}

fn is_held_or_was(record: &PaymentRecord) -> bool {
    hold(record).is_some()
}

/// What accounts have sent in all.
#[derive(Default)]
struct Sent {
    count: BTreeMap<String, u64>,
    /// Of it, what was held.
    held_minor: BTreeMap<String, i64>,
}

impl Sent {
    fn of(records: &[PaymentRecord]) -> Sent {
        let mut sent = Sent::default();
        for record in records {
            let payment = &record.facts.payment;
            let source = payment.source_account.as_str();
            *sent.count.entry(source.to_owned()).or_default() += 1;
            if is_held_or_was(record) {
                *sent.held_minor.entry(source.to_owned()).or_default() += payment.amount.minor;
            }
        }
        sent
    }
}

/// The currency and the first balance of an account that there is.
fn account(id: &str) -> Option<(Currency, i64)> {
    let (_, currency, balance) = ACCOUNTS.iter().find(|(other, ..)| *other == id)?;
    Some((Currency::parse(currency).unwrap(), *balance))
}

fn is_outdated(world: &World, quote: &Quote, at: domain::Timestamp) -> bool {
    quote.is_outdated(at, world.config.fx.quote_age_seconds_max)
}

/// Whether reserve and fx go by one clock.
fn has_one_clock(world: &World) -> bool {
    !world.conditions.plan().has(Fault::ClockJump)
}

/// What is wrong with a payment that money was held for.
fn passed(world: &World, record: &PaymentRecord) -> Option<String> {
    let payment = &record.facts.payment;
    let (source, destination) = (payment.source_account.as_str(), payment.destination_account.as_str());
    let Reserved { quote, at, .. } = hold(record)?;
    let Some((leaves, _)) = account(source) else { return Some(format!("took money from {source}")) };
    let Some((arrives, _)) = account(destination) else { return Some(format!("pays {destination}")) };
    let wanted = payment.destination_currency.unwrap_or(arrives);
    if source == FROZEN {
        return Some("took money that is frozen".to_owned());
    }
    if (payment.amount.currency, wanted, quote.destination_amount.currency) != (leaves, arrives, arrives) {
        return Some("passed in a currency that its accounts do not have".to_owned());
    }
    if has_one_clock(world) && is_outdated(world, &quote, at) {
        return Some("was held for a quote that was too old".to_owned());
    }
    match &record.state {
        // No account here comes near what a row can hold.
        RecordState::Failed { rejection, .. } => Some(format!("was refused by settle: {}", rejection.reason)),
        RecordState::Reserved(_) | RecordState::Captured { .. } => None,
    }
}

/// What is wrong with a payment that was refused.
fn refused(world: &World, record: &PaymentRecord, sent: &Sent) -> Option<String> {
    let RecordState::Failed { quote, rejection, .. } = &record.state else { return None };
    let payment = &record.facts.payment;
    let source = payment.source_account.as_str();
    let (leaves, arrives) = (account(source), account(payment.destination_account.as_str()));
    let is_right = match rejection.reason {
        Refusal::AccountNotFound => leaves.is_none() || arrives.is_none(),
        Refusal::AccountFrozen => source == FROZEN,
        Refusal::CurrencyMismatch => {
            let leaves = leaves.is_some_and(|(currency, _)| currency != payment.amount.currency);
            let wanted = payment.destination_currency;
            leaves || arrives.is_some_and(|(currency, _)| wanted.is_some_and(|wanted| wanted != currency))
        }
        Refusal::RiskRejected => return by_risk(world, record, rejection, sent),
        Refusal::InsufficientFunds => {
            // What comes in only adds to it. A hold that a ledger lost with its row took from it, too.
            let is_known = !world.conditions.plan().has(Fault::LedgerSetBack);
            let held = sent.held_minor.get(source).copied().unwrap_or(0);
            !is_known || leaves.is_none_or(|(_, balance)| held + payment.amount.minor > balance)
        }
        Refusal::FxRateStale => {
            let is_old = quote.as_ref().is_some_and(|quote| is_outdated(world, quote, rejection.at));
            is_old || !has_one_clock(world)
        }
        Refusal::AmountTooSmall | Refusal::AmountTooLarge => {
            arrives.is_some_and(|(currency, _)| currency != payment.amount.currency)
        }
        Refusal::FxRateUnavailable => {
            let converts = arrives.is_some_and(|(currency, _)| currency != payment.amount.currency);
            converts && world.conditions.plan().has(Fault::RateMoves)
        }
        Refusal::DestinationLimit => false,
    };
    (!is_right).then(|| format!("was refused for nothing: {}", rejection.reason))
}

/// Risk has counted no more than was sent.
fn by_risk(world: &World, record: &PaymentRecord, rejection: &Rejection, sent: &Sent) -> Option<String> {
    let count = sent.count.get(record.facts.payment.source_account.as_str()).copied().unwrap_or(0);
    let is_counted_out =
        |rule: &String| rule == "velocity_count" && count <= world.config.risk.window_count_max;
    let is_wrong = rejection.rules.is_empty() || rejection.rules.iter().any(is_counted_out);
    is_wrong.then(|| format!("was refused by risk for {:?}, and {count} were sent", rejection.rules))
}

/// What was told of a payment's hold and of its end is what its row says.
fn check_told(world: &World, record: &PaymentRecord) {
    let key = record.facts.payment.key();
    let written = |record: PaymentRecord, stage| HopMessage::of_record(record, stage)?.encode().ok();
    let held = hold(record).and_then(|reserved| {
        written(
            PaymentRecord { state: RecordState::Reserved(reserved), ..record.clone() },
            StageName::Reserve,
        )
    });
    let ended = written(record.clone(), StageName::Settle);
    for (hop, expected) in [(Hop::Reserved, held), (Hop::Finished, ended)] {
        for told in world.observed.told(&key.token(), hop) {
            if expected.as_deref() != Some(&*told) {
                let told = String::from_utf8_lossy(&told);
                world
                    .conditions
                    .violated(format!("{} was told as {hop:?} otherwise than it is: {told}", key.id));
            }
        }
    }
}

/// Junk is kept in the ledger, where somebody can look at it. Its copy in the stream of the dead may be missing:
/// whoever dies before it is published finds the letter next time, and has done with it.
fn check_junk(world: &World) {
    let plan = world.conditions.plan();
    if LOSES_JUNK.iter().any(|fault| plan.has(*fault)) {
        return;
    }
    for id in world.observed.junk() {
        if world.ledger.open_letters("default", &id).is_empty() {
            world.conditions.violated(format!("{id} was not buried"));
        }
    }
}
