//! A payment as clients see it.

use domain::facts::{Quote, RecordState, Screening};
use domain::{Currency, Metadata, Payment, PaymentRecord, Refusal, Timestamp, TraceContext};
use serde::Serialize;
use wire::{Hop, Place};

/// The body of `/payments/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PaymentView {
    id: String,
    status: &'static str,
    stage: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Refusal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
    #[serde(flatten)]
    asked: Option<Asked>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination_currency: Option<Currency>,
    #[serde(flatten)]
    converted: Option<Converted>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    timeline: Vec<Moment>,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace_id: Option<String>,
}

/// What the sender asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Asked {
    amount: String,
    currency: Currency,
    source_account: String,
    destination_account: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

/// How what arrives was worked out, in the currency that arrives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Converted {
    rate: String,
    gross: String,
    fee: String,
    spread_bps: u32,
    rate_as_of: Timestamp,
}

impl Converted {
    /// Nothing within one currency.
    fn of(quote: &Quote, source: Currency) -> Option<Converted> {
        let applied = quote.conversion.as_ref()?;
        Some(Converted {
            rate: quote.rate_text(source)?,
            gross: quote.gross().to_decimal_string(),
            fee: quote.fee().to_decimal_string(),
            spread_bps: applied.spread_bps,
            rate_as_of: applied.as_of,
        })
    }
}

/// When a payment had a hop behind it, and what came of it there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Moment {
    stage: &'static str,
    at: Timestamp,
    /// When the hop before was behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entered_at: Option<Timestamp>,
    /// Which copy of it the intake has, where that is not the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    score: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Refusal>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    rules: Vec<String>,
}

/// Something that has happened to a payment, as those are told who listen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PaymentEvent<'v> {
    /// The hop's number, by which a listener goes on where it was.
    #[serde(skip)]
    pub(crate) number: Option<u64>,
    id: &'v str,
    stage: &'static str,
    status: &'static str,
    pub(crate) at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Refusal>,
}

/// The status of a payment that has not ended.
const PENDING: &str = "PENDING";

/// The stage of a payment that a stage could not judge.
const DEAD: &str = "dead";

impl PaymentView {
    /// A payment that is on its way and of which only the request is known.
    pub(crate) fn pending(payment: &Payment) -> PaymentView {
        let asked = Asked {
            amount: payment.amount.to_decimal_string(),
            currency: payment.amount.currency,
            source_account: payment.source_account.to_string(),
            destination_account: payment.destination_account.to_string(),
            description: payment.description.clone(),
            metadata: payment.metadata.clone(),
        };
        PaymentView {
            asked: Some(asked),
            ..PaymentView::unreadable(payment.id.as_str(), Hop::Accepted.as_str())
        }
    }

    /// A payment whose message cannot be read.
    pub(crate) fn unreadable(id: &str, stage: &'static str) -> PaymentView {
        PaymentView {
            id: id.to_owned(),
            status: PENDING,
            stage,
            reason: None,
            rules: Vec::new(),
            asked: None,
            destination_amount: None,
            destination_currency: None,
            converted: None,
            timeline: Vec::new(),
            trace_id: None,
        }
    }

    /// Which payment.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A payment that is in the ledger.
    pub(crate) fn of_record(record: &PaymentRecord) -> PaymentView {
        let view = PaymentView::pending(&record.facts.payment)
            .at(Hop::Accepted, record.facts.accepted_at)
            .traced(record.trace);
        match &record.state {
            RecordState::Reserved(reserved) => {
                view.screened(&reserved.screening).quoted(&reserved.quote).at(Hop::Reserved, reserved.at)
            }
            RecordState::Captured { reserved, finished_at } => {
                let view =
                    view.screened(&reserved.screening).quoted(&reserved.quote).at(Hop::Reserved, reserved.at);
                PaymentView { status: "CAPTURED", ..view.at(Hop::Finished, *finished_at) }
            }
            RecordState::Failed { screening, quote, reserved_at, rejection, finished_at } => {
                let view = screening.iter().fold(view, |view, screening| view.screened(screening));
                let view = quote.iter().fold(view, |view, quote| view.quoted(quote));
                let view = reserved_at.iter().fold(view, |view, at| view.at(Hop::Reserved, *at));
                let (reason, rules) = (Some(rejection.reason), rejection.rules.clone());
                let view = view.at(Hop::Finished, *finished_at).telling(|moment| {
                    (moment.reason, moment.rules) = (reason, rules.clone());
                });
                PaymentView { status: "FAILED", reason, rules, ..view }
            }
        }
    }

    /// The payment has this hop behind it.
    pub(crate) fn at(self, hop: Hop, at: Timestamp) -> PaymentView {
        self.came_to(hop.as_str(), at)
    }

    fn came_to(mut self, stage: &'static str, at: Timestamp) -> PaymentView {
        let entered_at = self.timeline.last().map(|before| before.at);
        let (attempt, score, reason, rules) = (None, None, None, Vec::new());
        self.stage = stage;
        self.timeline.push(Moment { stage, at, entered_at, attempt, score, reason, rules });
        self
    }

    /// Says more of the newest moment.
    fn telling(mut self, tell: impl FnOnce(&mut Moment)) -> PaymentView {
        if let Some(newest) = self.timeline.last_mut() {
            tell(newest);
        }
        self
    }

    /// So many times the intake has been given it again.
    pub(crate) fn redriven(self, times: u32) -> PaymentView {
        let attempt = Some(times.saturating_add(1)).filter(|attempt| *attempt > 1);
        self.telling(|moment| moment.attempt = attempt)
    }

    /// It belongs to this trace, if to any.
    pub(crate) fn traced(self, trace: Option<TraceContext>) -> PaymentView {
        PaymentView { trace_id: trace.map(|trace| trace.trace_id_text()), ..self }
    }

    /// Risk has passed it.
    pub(crate) fn screened(self, screening: &Screening) -> PaymentView {
        self.at(Hop::Screened, screening.at).telling(|moment| moment.score = Some(screening.score))
    }

    /// Fx has quoted it.
    pub(crate) fn quoted(self, quote: &Quote) -> PaymentView {
        let source = self.asked.as_ref().map(|asked| asked.currency);
        PaymentView {
            destination_amount: Some(quote.destination_amount.to_decimal_string()),
            destination_currency: Some(quote.destination_amount.currency),
            converted: source.and_then(|source| Converted::of(quote, source)),
            ..self.at(Hop::Quoted, quote.at)
        }
    }

    /// A stage could not judge it; it waits for someone to look at it.
    pub(crate) fn dead(self, at: Timestamp) -> PaymentView {
        self.came_to(DEAD, at)
    }

    /// Whether nothing will change about it any more.
    pub(crate) fn is_final(&self) -> bool {
        self.status != PENDING
    }

    /// What there is to tell of it to one who was told as far as the hop of number `told`, in order. That it
    /// is dead has no number: it may end, and come again.
    pub(crate) fn events_after(&self, told: u64) -> Vec<PaymentEvent<'_>> {
        let event =
            |stage, at| PaymentEvent { number: None, id: &self.id, stage, status: PENDING, at, reason: None };
        let hops = self.timeline.iter().filter_map(|moment| {
            let hop = Hop::named(moment.stage).filter(|hop| hop.number() > told)?;
            let event = PaymentEvent { number: Some(hop.number()), ..event(moment.stage, moment.at) };
            Some(match hop.place() {
                Place::End => PaymentEvent { status: self.status, reason: self.reason, ..event },
                Place::Intake | Place::OnTheWay | Place::Refused => event,
            })
        });
        let dead = self.timeline.iter().filter(|moment| moment.stage == DEAD);
        hops.chain(dead.map(|moment| event(DEAD, moment.at))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Facts;
    use domain::facts::Rejection;
    use domain::fx::{BookRate, Rate};
    use domain::{AccountId, Money, PaymentId, StageName, Tenant};

    fn payment_of(amount: Money) -> Payment {
        Payment {
            tenant: Tenant::default(),
            id: PaymentId::parse("P").unwrap(),
            source_account: AccountId::parse("A").unwrap(),
            destination_account: AccountId::parse("B").unwrap(),
            amount,
            destination_currency: None,
            description: None,
            metadata: None,
        }
    }

    #[test]
    fn a_refusal_tells_how_far_the_payment_had_come() {
        let at = Timestamp::from_micros;
        let amount = Money::new(100, Currency::EUR);
        let payment = payment_of(amount);
        let rows = [
            (StageName::Reserve, Refusal::InsufficientFunds, None, "accepted screened quoted finished"),
            (
                StageName::Settle,
                Refusal::DestinationLimit,
                Some(at(4)),
                "accepted screened quoted reserved finished",
            ),
        ];
        for (stage, reason, reserved_at, expected) in rows {
            let state = RecordState::Failed {
                screening: Some(Screening { score: 1, at: at(2) }),
                quote: Some(Quote { destination_amount: amount, conversion: None, at: at(3) }),
                reserved_at,
                rejection: Rejection { stage, reason, rules: Vec::new(), at: at(5) },
                finished_at: at(5),
            };
            let record = PaymentRecord {
                facts: Facts {
                    fingerprint: payment.fingerprint(),
                    payment: payment.clone(),
                    accepted_seq: 1,
                    accepted_at: at(1),
                },
                state,
                trace: None,
            };
            let view = PaymentView::of_record(&record);
            let stages: Vec<&str> = view.timeline.iter().map(|moment| moment.stage).collect();
            assert_eq!(
                (view.status, view.stage, view.reason, stages.join(" ").as_str()),
                ("FAILED", "finished", Some(reason), expected)
            );
            let told: Vec<Option<Refusal>> = view.timeline.iter().map(|moment| moment.reason).collect();
            assert_eq!(told.split_last(), Some((&Some(reason), &*vec![None; told.len() - 1])));
        }
    }

    #[test]
    fn what_the_sender_pays_is_told_where_there_was_a_conversion() {
        let at = Timestamp::from_micros;
        let found = BookRate { rate: Rate { numerator: 11, denominator: 10 }, as_of: at(7) };
        let (usd, told) = (Currency::parse("USD").unwrap(), ["rate", "gross", "fee", "rate_as_of"]);
        // What arrives in, and in this order the amount, what is told of it, and the spread.
        for (arrives, amount, expected, spread) in [
            (usd, "2.17", Some(["1.1", "2.20", "0.03", "1970-01-01T00:00:00.000007Z"]), Some(100)),
            (Currency::EUR, "2.00", None, None),
        ] {
            let quote = Quote::of(Money::new(200, Currency::EUR), arrives, found, 100, at(3)).unwrap();
            let payment = payment_of(Money::new(200, Currency::EUR));
            let body = serde_json::to_value(PaymentView::pending(&payment).quoted(&quote)).unwrap();
            assert_eq!(body["destination_amount"], amount);
            for (place, name) in told.into_iter().enumerate() {
                assert_eq!(body[name].as_str(), expected.map(|expected| expected[place]), "{name}");
            }
            assert_eq!(body["spread_bps"].as_u64(), spread);
        }
    }
}
