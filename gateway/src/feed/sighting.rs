//! What a message or a row says of a payment: the hops that it has behind it, and its end.

use domain::facts::{Facts, Quote, RecordState, Screening};
use domain::{PaymentKey, PaymentRecord, Refusal, Tenant, Timestamp};
use runtime::broker::Stored;
use std::collections::BTreeMap;
use wire::message::{
    FinalStatus, PaymentFinished, PaymentQuoted, PaymentRejected, PaymentReserved, PaymentScreened,
};
use wire::{Hop, Stream, Subject, envelope};

/// Each hop with its own moment: when it was accepted, screened, quoted or held, and not when that was told.
pub(super) type Hops = BTreeMap<Hop, Timestamp>;

/// How a payment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct End {
    pub(super) status: FinalStatus,
    pub(super) reason: Option<Refusal>,
    pub(super) at: Timestamp,
}

/// What is known of a payment from one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sighting {
    pub(super) key: PaymentKey,
    /// Those before its end; a message has all that came before it.
    pub(super) hops: Hops,
    /// From a row, or from what is published after its commit.
    pub(super) end: Option<End>,
}

/// Whether the headers of a stream's messages say all that is told of them.
pub(super) fn headers_are_enough(stream: Stream) -> bool {
    stream == Stream::Accepted
}

impl Sighting {
    /// What a message says; nothing where it cannot be read, or is not the default tenant's, who is the only one
    /// that is told so far.
    pub(super) fn of_message(stream: Stream, stored: &Stored) -> Option<Sighting> {
        let key = Subject::payment(&stored.subject).ok().filter(|key| key.tenant == Tenant::default())?;
        let of = |hops| Some(Sighting { key: key.clone(), hops, end: None });
        let payload = &stored.payload;
        match stream.hop()? {
            Hop::Accepted => of(Hops::from([(Hop::Accepted, stored.accepted_at())])),
            Hop::Screened => {
                let message: PaymentScreened = envelope::decode(payload).ok()?;
                of(hops(&message.facts, Some(&message.screening), None, None))
            }
            Hop::Quoted => {
                let message: PaymentQuoted = envelope::decode(payload).ok()?;
                of(hops(&message.facts, Some(&message.screening), Some(&message.quote), None))
            }
            Hop::Reserved => {
                let message: PaymentReserved = envelope::decode(payload).ok()?;
                let at = Some(message.reserved_at);
                of(hops(&message.facts, Some(&message.screening), Some(&message.quote), at))
            }
            // That it is refused is true once it is recorded.
            Hop::Rejected => {
                let message: PaymentRejected = envelope::decode(payload).ok()?;
                of(hops(&message.facts, message.screening.as_ref(), message.quote.as_ref(), None))
            }
            Hop::Finished => {
                let message: PaymentFinished = envelope::decode(payload).ok()?;
                let end = End { status: message.status, reason: message.reason, at: message.finished_at };
                Some(Sighting {
                    key,
                    hops: Hops::from([(Hop::Accepted, message.accepted_at)]),
                    end: Some(end),
                })
            }
        }
    }

    /// What a row says.
    pub(super) fn of_record(record: &PaymentRecord) -> Sighting {
        let facts = &record.facts;
        let (hops, end) = match &record.state {
            RecordState::Reserved(held) => {
                (hops(facts, Some(&held.screening), Some(&held.quote), Some(held.at)), None)
            }
            RecordState::Captured { reserved: held, finished_at } => (
                hops(facts, Some(&held.screening), Some(&held.quote), Some(held.at)),
                Some(End { status: FinalStatus::Captured, reason: None, at: *finished_at }),
            ),
            RecordState::Failed { screening, quote, reserved_at, rejection, finished_at } => (
                hops(facts, screening.as_ref(), quote.as_ref(), *reserved_at),
                Some(End { status: FinalStatus::Failed, reason: Some(rejection.reason), at: *finished_at }),
            ),
        };
        Sighting { key: facts.payment.key(), hops, end }
    }
}

fn hops(
    facts: &Facts,
    screening: Option<&Screening>,
    quote: Option<&Quote>,
    reserved_at: Option<Timestamp>,
) -> Hops {
    let known = [
        (Hop::Accepted, Some(facts.accepted_at)),
        (Hop::Screened, screening.map(|screening| screening.at)),
        (Hop::Quoted, quote.map(|quote| quote.at)),
        (Hop::Reserved, reserved_at),
    ];
    known.into_iter().filter_map(|(hop, at)| Some((hop, at?))).collect()
}
