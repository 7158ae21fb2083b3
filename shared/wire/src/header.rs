//! Headers of our own: what travels beside a message, about its way and not about its payment.

use domain::{Timestamp, TraceContext};
use std::borrow::Cow;

/// On a request to a service: the caller's tenant; absent for the default one.
pub const TENANT: &str = "Kilat-Tenant";
/// On a service's reply: `true` when the operation had been done before and this is its answer again.
pub const REPLAYED: &str = "Kilat-Replayed";
/// On a request to a service: the id under which log lines and problems tell of it.
pub const REQUEST_ID: &str = "Kilat-Request-Id";
/// On everything that belongs to a trace which is seen; as the W3C spells it.
pub const TRACEPARENT: &str = "traceparent";

/// On an accepted payment: nothing but room for what a later copy of it says more, so that no copy is larger
/// than the one before, and each finds its place in an intake that is full.
pub const ROOM: &str = "Kilat-Room";

// Names are case-sensitive in NATS.
const REDRIVE: &str = "Kilat-Redrive";
const ACCEPTED_AT: &str = "Kilat-Accepted-At";
const DEAD_REASON: &str = "Kilat-Dead-Reason";

/// The headers of a message in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers {
    /// On an accepted payment: that this is a later copy of it.
    pub redrive: Option<Redrive>,
    /// On a buried message: why.
    pub dead_reason: Option<String>,
    /// On a message whose payment is traced: the span that it comes from.
    pub trace: Option<TraceContext>,
}

/// An accepted payment that was published again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Redrive {
    /// How many times it has been.
    pub times: u32,
    /// The stream time of the first copy.
    pub first_accepted_at: Timestamp,
}

impl Headers {
    /// Those of a payment that is published again for the so manieth time.
    pub fn redriven(times: u32, first_accepted_at: Timestamp) -> Headers {
        Headers { redrive: Some(Redrive { times, first_accepted_at }), ..Headers::default() }
    }

    /// Those of a buried message.
    pub fn buried(reason: String) -> Headers {
        Headers { dead_reason: Some(reason), ..Headers::default() }
    }

    /// When the payment was accepted, if this copy of it was stored at `stored_at`.
    pub fn accepted_at(&self, stored_at: Timestamp) -> Timestamp {
        self.redrive.map_or(stored_at, |redrive| redrive.first_accepted_at)
    }

    /// Reads ours among all headers of a message. A redrive that does not say when its first copy was
    /// accepted is none.
    pub fn read<'h>(all: impl IntoIterator<Item = (&'h str, &'h str)>) -> Headers {
        let (mut times, mut first_accepted_at, mut dead_reason, mut trace) = (0, None, None, None);
        for (name, value) in all {
            match name {
                REDRIVE => times = value.parse().unwrap_or(0),
                ACCEPTED_AT => first_accepted_at = Timestamp::parse(value).ok(),
                DEAD_REASON => dead_reason = Some(value.to_owned()),
                TRACEPARENT => trace = TraceContext::parse(value),
                _ => {}
            }
        }
        Headers {
            redrive: first_accepted_at.map(|first_accepted_at| Redrive { times, first_accepted_at }),
            dead_reason,
            trace,
        }
    }

    /// Names and values as they are written.
    pub fn pairs(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let redrive = self.redrive.into_iter().flat_map(|Redrive { times, first_accepted_at }| {
            [(REDRIVE, times.to_string().into()), (ACCEPTED_AT, first_accepted_at.to_string().into())]
        });
        let dead_reason = self.dead_reason.as_deref().map(|reason| (DEAD_REASON, reason.into()));
        let trace = self.trace.map(|trace| (TRACEPARENT, trace.to_string().into()));
        redrive.chain(dead_reason).chain(trace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_written_under_their_names_and_read_back() {
        let at = Timestamp::from_micros(1_795_309_323_456_789);
        let traced = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let rows: [(Headers, &[(&str, &str)]); 4] = [
            (Headers::default(), &[]),
            (
                Headers { trace: TraceContext::parse(traced), ..Headers::default() },
                &[("traceparent", traced)],
            ),
            (
                Headers::redriven(3, at),
                &[("Kilat-Redrive", "3"), ("Kilat-Accepted-At", "2026-11-22T01:02:03.456789Z")],
            ),
            (Headers::buried("why".to_owned()), &[("Kilat-Dead-Reason", "why")]),
        ];
        for (headers, pairs) in rows {
            let written: Vec<(&str, String)> =
                headers.pairs().map(|(name, value)| (name, value.into_owned())).collect();
            let expected: Vec<(&str, String)> =
                pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
            assert_eq!(written, expected);
            assert_eq!(Headers::read(pairs.iter().copied().chain([("Nats-Batch-Id", "x")])), headers);
        }
    }

    #[test]
    fn what_others_write_under_our_names_harms_nothing() {
        let at = Timestamp::from_micros(0);
        let rows: [(&[(&str, &str)], Headers); 5] = [
            (&[("traceparent", "00-nothing"), ("Traceparent", "x")], Headers::default()),
            (&[("Kilat-Redrive", "3")], Headers::default()),
            (&[("Kilat-Redrive", "3"), ("Kilat-Accepted-At", "yesterday")], Headers::default()),
            (
                &[("Kilat-Redrive", "-"), ("Kilat-Accepted-At", "1970-01-01T00:00:00Z")],
                Headers::redriven(0, at),
            ),
            (&[("kilat-accepted-at", "1970-01-01T00:00:00Z")], Headers::default()),
        ];
        for (pairs, expected) in rows {
            assert_eq!(Headers::read(pairs.iter().copied()), expected, "{pairs:?}");
        }
    }
}
