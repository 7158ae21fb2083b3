//! Which traces are recorded. Decided once, where a request comes in.

use domain::TraceContext;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Traces that clients ask for, in any second: whoever sets the flag on everything gets so many and no more.
/// Whatever else is asked for takes none from payments.
const PAYMENTS_ASKED_FOR_MAX: usize = 90;
const OTHERS_ASKED_FOR_MAX: usize = 10;
/// Those of request-reply that are followed, whoever begins them: more than a gateway ever begins.
const CALLS_FOLLOWED_MAX: usize = PAYMENTS_ASKED_FOR_MAX + OTHERS_ASKED_FOR_MAX;
const SECOND: Duration = Duration::from_secs(1);

/// Draws are of 63 bits, as the SDK's ratio by trace id.
const DRAWS: u64 = 1 << 63;

/// Says which requests are traced.
#[derive(Debug)]
pub(super) struct Sampler {
    /// Draws below this are traced.
    below: u64,
    payments: Mutex<LastSecond>,
    others: Mutex<LastSecond>,
    calls: Mutex<LastSecond>,
}

impl Sampler {
    /// So many of those whose client says nothing of it, from 0 to 1.
    pub(super) fn new(ratio: f64) -> Sampler {
        Sampler {
            below: bound(ratio),
            payments: LastSecond::of(PAYMENTS_ASKED_FOR_MAX),
            others: LastSecond::of(OTHERS_ASKED_FOR_MAX),
            calls: LastSecond::of(CALLS_FOLLOWED_MAX),
        }
    }

    /// Whether a request is traced that came with this `traceparent`. Everyone after us goes by our answer,
    /// so it is drawn and need not follow from the trace's id.
    pub(super) fn is_traced(&self, client: Option<TraceContext>, is_payment: bool) -> bool {
        let draw = || u64::from_be_bytes(RandomIdGenerator::default().new_span_id().to_bytes()) >> 1;
        let budget = if is_payment { &self.payments } else { &self.others };
        is_traced(client, self.below, draw, || admit(budget))
    }

    /// Whether one more request by request-reply is traced that came from a traced one.
    pub(super) fn follows_call(&self) -> bool {
        admit(&self.calls)
    }
}

fn admit(budget: &Mutex<LastSecond>) -> bool {
    budget.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now())
}

fn is_traced(
    client: Option<TraceContext>,
    below: u64,
    draw: impl FnOnce() -> u64,
    admit: impl FnOnce() -> bool,
) -> bool {
    match client {
        Some(client) => client.is_sampled && admit(),
        None => below > 0 && draw() < below,
    }
}

/// The draws of this share of all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share from 0 to 1 of a power of two"
)]
fn bound(ratio: f64) -> u64 {
    (ratio.clamp(0.0, 1.0) * DRAWS as f64) as u64
}

/// The traces that were admitted last, as many as may be in any second.
#[derive(Debug)]
struct LastSecond {
    admitted: VecDeque<Instant>,
    max: usize,
}

impl LastSecond {
    fn of(max: usize) -> Mutex<LastSecond> {
        Mutex::new(LastSecond { admitted: VecDeque::new(), max })
    }

    /// Whether one more may be, at this instant.
    fn admit(&mut self, now: Instant) -> bool {
        if self.admitted.len() == self.max {
            match self.admitted.front() {
                Some(first) if now.saturating_duration_since(*first) < SECOND => return false,
                _ => _ = self.admitted.pop_front(),
            }
        }
        self.admitted.push_back(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_traced() {
        let client = |is_sampled| Some(TraceContext { trace_id: 1, span_id: 1, is_sampled });
        let half = DRAWS / 2;
        // What the client says, the ratio, the draw, whether there is room; and the answer.
        for (client, ratio, draw, has_room, expected) in [
            (client(true), 0.0, DRAWS - 1, true, true),
            (client(true), 1.0, 0, false, false),
            (client(false), 1.0, 0, true, false),
            (None, 0.0, 0, true, false),
            (None, 0.5, half - 1, false, true),
            (None, 0.5, half, true, false),
            (None, 1.0, DRAWS - 1, false, true),
            (None, f64::NAN, 0, true, false),
        ] {
            assert_eq!(
                is_traced(client, bound(ratio), || draw, || has_room),
                expected,
                "{client:?} at {ratio}, draw {draw}, room {has_room}"
            );
        }
    }

    #[test]
    fn draws_are_spread_over_all_there_are() {
        for (ratio, expected) in [(0.01, 700..1_300), (0.5, 49_000..51_000)] {
            let sampler = Sampler::new(ratio);
            let traced = (0..100_000).filter(|_| sampler.is_traced(None, true)).count();
            assert!(expected.contains(&traced), "{traced} of 100,000 at {ratio}");
        }
    }

    /// Requests that all ask to be traced, evenly spread over ten seconds.
    #[test]
    fn no_second_has_more_than_its_share() {
        for requests in [50, 99, 100, 101, 10_000_u32] {
            let start = Instant::now();
            let mut last = LastSecond::of(100).into_inner().unwrap();
            let instants = (0..10 * requests).map(|number| start + SECOND * number / requests);
            let admitted: Vec<Instant> = instants.filter(|at| last.admit(*at)).collect();
            assert_eq!(admitted.len(), 10 * requests.min(100) as usize, "{requests} a second");
            for (place, from) in admitted.iter().enumerate() {
                let within = admitted[place..].iter().take_while(|at| **at - *from < SECOND).count();
                assert!(within <= 100, "{within} in a second");
            }
        }
    }

    /// 10,000 requests of each kind at once, from many threads, within one second.
    #[test]
    fn a_crowd_that_asks_to_be_traced_gets_its_share() {
        let (sampler, began) = (Sampler::new(1.0), Instant::now());
        let client = Some(TraceContext { trace_id: 1, span_id: 1, is_sampled: true });
        let crowd = |admits: &(dyn Fn() -> bool + Sync)| -> usize {
            std::thread::scope(|scope| {
                let count = || (0..2_500).filter(|_| admits()).count();
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(count)).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).sum()
            })
        };
        let admitted = [
            crowd(&|| sampler.is_traced(client, false)),
            crowd(&|| sampler.is_traced(client, true)),
            crowd(&|| sampler.follows_call()),
        ];
        let seconds = usize::try_from(began.elapsed().as_secs()).unwrap() + 1;
        for (admitted, max) in admitted.into_iter().zip([10, 90, 100]) {
            assert!((max..=seconds * max).contains(&admitted), "{admitted} of {max}");
        }
    }
}
