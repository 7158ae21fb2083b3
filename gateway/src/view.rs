//! A payment as clients see it.

use domain::facts::{Quote, RecordState, Screening};
use domain::{Currency, Metadata, Payment, PaymentRecord, Refusal, Timestamp, TraceContext};
use serde::Serialize;
use wire::Hop;

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
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<String>,
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

/// When a payment had a hop behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Moment {
    stage: &'static str,
    at: Timestamp,
}

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
            status: "PENDING",
            stage,
            reason: None,
            rules: Vec::new(),
            asked: None,
            destination_amount: None,
            destination_currency: None,
            rate: None,
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
                PaymentView { status: "FAILED", reason, rules, ..view.at(Hop::Finished, *finished_at) }
            }
        }
    }

    /// The payment has this hop behind it.
    pub(crate) fn at(mut self, hop: Hop, at: Timestamp) -> PaymentView {
        self.stage = hop.as_str();
        self.timeline.push(Moment { stage: hop.as_str(), at });
        self
    }

    /// It belongs to this trace, if to any.
    pub(crate) fn traced(self, trace: Option<TraceContext>) -> PaymentView {
        PaymentView { trace_id: trace.map(|trace| trace.trace_id_text()), ..self }
    }

    /// Risk has passed it.
    pub(crate) fn screened(self, screening: &Screening) -> PaymentView {
        self.at(Hop::Screened, screening.at)
    }

    /// Fx has quoted it.
    pub(crate) fn quoted(self, quote: &Quote) -> PaymentView {
        let source = self.asked.as_ref().map(|asked| asked.currency);
        PaymentView {
            destination_amount: Some(quote.destination_amount.to_decimal_string()),
            destination_currency: Some(quote.destination_amount.currency),
            rate: source.and_then(|source| quote.rate_text(source)),
            ..self.at(Hop::Quoted, quote.at)
        }
    }

    /// A stage could not judge it; it waits for someone to look at it.
    pub(crate) fn dead(self) -> PaymentView {
        PaymentView { stage: DEAD, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Facts;
    use domain::facts::Rejection;
    use domain::{AccountId, Money, PaymentId, StageName, Tenant};

    #[test]
    fn a_refusal_tells_how_far_the_payment_had_come() {
        let at = Timestamp::from_micros;
        let amount = Money::new(100, Currency::EUR);
        let payment = Payment {
            tenant: Tenant::default(),
            id: PaymentId::parse("P").unwrap(),
            source_account: AccountId::parse("A").unwrap(),
            destination_account: AccountId::parse("B").unwrap(),
            amount,
            destination_currency: None,
            description: None,
            metadata: None,
        };
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
        }
    }
}
