//! Counting anew what accounts have sent lately: first the intake's messages, then the ledger's rows, page by
//! page. The window ends where the judging goes on: at the instant in which the first message that was not
//! delivered was stored, or now where there is none. So a backlog, however old, is judged by what had been
//! sent when it was accepted. Each payment of the window is counted once, whatever happens meanwhile:
//!
//! - A message that was delivered before is counted here, and not again when it is delivered again. One that
//!   was not is counted when it comes: a backlog is neither read at the start nor counted early, but for its
//!   first second (see [`READ_AHEAD_MICROS`]). To a consumer that was never given anything all is delivered,
//!   and all of it that lies in the window before now is counted here.
//! - Only what has a row is purged, or is dead and counts no more. A message that was purged before the intake
//!   was read had its row by then, and the ledger is read after; a row that is not to be seen yet has its
//!   message still.
//! - A row whose message was met is not counted again. Every other row is, whatever sequence it names: that
//!   message was purged, or a later copy has replaced it.
//! - A copy that is driven again takes the place of a message that may have been counted. The copies that are
//!   there at the start have replaced what is not counted here, and count when they come. Those that come
//!   while the intake is read are looked at after it; those that come later have replaced what was met.
//!
//! Kept are the counters, one page, some thousand heads, and a few bytes of each message that was met: the
//! janitor purges the intake, and its limits bound it when there is no janitor.

use domain::velocity::VelocityBook;
use domain::{AccountKey, Money, PaymentKey, Timestamp};
use runtime::broker::{AcceptedHead, BrokerError, Since, Stored, Streams};
use runtime::config::PipelineConfig;
use runtime::process::chain;
use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::Duration;
use store::{StageLedger, StoreError};
use wire::message::PaymentAccepted;
use wire::{Stream, envelope};

/// Rows of a page: a few megabytes, and a statement of some hundredths of a second.
const PAGE_ROWS: u32 = 10_000;

/// Between an outage and the next attempt.
const RETRY: Duration = Duration::from_millis(500);

/// What was stored so long after the first message that was not delivered is counted with it: a server that is
/// killed forgets the deliveries of its last tenth of a second, and what it delivers again may have its row.
const READ_AHEAD_MICROS: i64 = 1_000_000;

/// Messages that are counted so at most: a tenth of a second at 40,000 a second.
const READ_AHEAD_MAX: usize = 4_096;

/// Why it cannot go on yet.
#[derive(Debug, thiserror::Error)]
pub(super) enum RebuildError {
    /// The intake cannot be read.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How far it has come. What it has counted stays counted when an outage interrupts it, so that it comes to
/// its end wherever one page can be read at a time.
pub(super) struct Rebuild {
    now: Timestamp,
    since: Timestamp,
    window_seconds: u32,
    range: Option<Range>,
    /// Where the reading of the intake goes on.
    next: Since,
    /// Rows that were recorded up to here are read.
    read_to: Timestamp,
    book: VelocityBook,
    payments: u64,
    /// Of the payments whose messages were met. Among two million rows one has the hash of another payment once
    /// in millions of starts, and then it is not counted; nobody outside can choose such two.
    met: HashSet<u64>,
    hashes: RandomState,
}

/// What was counted of the intake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Range {
    /// Every message of the window up to here, whether it was delivered already or not.
    pub(super) counted_to: u64,
    /// The last message when the reading began: copies up to here that are driven again, and are above
    /// `counted_to`, have replaced messages that were not counted.
    pub(super) redriven_to: u64,
}

impl Rebuild {
    /// Nothing is read yet of the window that ends `now`, or earlier where messages wait.
    pub(super) fn new(window_seconds: u32, now: Timestamp) -> Rebuild {
        Rebuild::ending(now, window_seconds, now)
    }

    /// Nothing is read yet of the window with this end.
    fn ending(end: Timestamp, window_seconds: u32, now: Timestamp) -> Rebuild {
        let since = Timestamp::from_micros(end.micros() - i64::from(window_seconds) * 1_000_000);
        Rebuild {
            now,
            since,
            window_seconds,
            range: None,
            next: Since::Instant(since),
            read_to: Timestamp::from_micros(since.micros() - 1),
            book: VelocityBook::new(window_seconds),
            payments: 0,
            met: HashSet::new(),
            hashes: RandomState::new(),
        }
    }

    /// Goes on to the end, through outages.
    pub(super) async fn run<S: Streams, L: StageLedger>(
        mut self,
        streams: &S,
        ledger: &L,
        pipeline: &PipelineConfig,
    ) -> (VelocityBook, Range) {
        loop {
            match self.advance(streams, ledger, pipeline).await {
                Ok(range) => return (self.book, range),
                Err(error) => tracing::warn!(error = chain(&error), "velocities cannot be rebuilt yet"),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Goes on from where it was, to the end or to an outage.
    async fn advance<S: Streams, L: StageLedger>(
        &mut self,
        streams: &S,
        ledger: &L,
        pipeline: &PipelineConfig,
    ) -> Result<Range, RebuildError> {
        streams.declare_all(pipeline).await?;
        let range = self.range(streams).await?;
        self.read_intake(streams, range.counted_to, |_| true).await?;
        let further = range.redriven_to + 1;
        self.next = Since::Sequence(match self.next {
            Since::Sequence(next) => next.max(further),
            Since::Instant(_) => further,
        });
        self.read_intake(streams, u64::MAX, |stored| stored.headers.redrive.is_some()).await?;
        self.read_rows(ledger).await?;
        let (payments, Range { counted_to, redriven_to }) = (self.payments, range);
        tracing::info!(payments, counted_to, redriven_to, "velocities rebuilt");
        Ok(range)
    }

    /// What is to be counted of the intake: settled once, unless it is another one than it was.
    async fn range<S: Streams>(&mut self, streams: &S) -> Result<Range, RebuildError> {
        if let Some(range) = self.range {
            if last(streams).await? >= range.redriven_to {
                return Ok(range);
            }
            tracing::warn!("the intake begins anew, and so does the rebuilding of velocities");
            self.range = None;
        }
        // The last message comes last: so nothing is counted beyond it.
        let delivered = streams.progress(Stream::Accepted).await?.and_then(|progress| progress.delivered);
        let waiting = match delivered {
            Some(delivered) => streams.accepted_heads(delivered.saturating_add(1), READ_AHEAD_MAX).await?,
            None => Vec::new(),
        };
        let last = last(streams).await?;
        let end = waiting.first().map_or(self.now, |first| first.stored_at.min(self.now));
        let range = Range {
            // To a consumer that was just made everything is delivered again.
            counted_to: delivered
                .map_or(last, |delivered| read_ahead(&waiting).unwrap_or(delivered).min(last)),
            redriven_to: last,
        };
        *self = Rebuild { range: Some(range), ..Rebuild::ending(end, self.window_seconds, self.now) };
        Ok(range)
    }

    /// Counts those of the intake's messages, up to one, that are wanted and were not met before.
    async fn read_intake<S: Streams>(
        &mut self,
        streams: &S,
        last: u64,
        is_wanted: fn(&Stored) -> bool,
    ) -> Result<(), RebuildError> {
        let since = self.next;
        let mut visit = |stored: Stored| {
            self.next = Since::Sequence(stored.seq + 1);
            // What is no payment is for the stage to bury.
            if is_wanted(&stored)
                && let Ok(PaymentAccepted { payment, .. }) = envelope::decode(&stored.payload)
                && self.met.insert(hash(&self.hashes, &payment.key()))
            {
                self.count(&payment.source_key(), payment.amount, stored.accepted_at());
            }
        };
        Ok(streams.accepted_since(since, last, &mut visit).await?)
    }

    /// Counts those rows whose messages were not met.
    async fn read_rows<L: StageLedger>(&mut self, ledger: &L) -> Result<(), RebuildError> {
        loop {
            let page = ledger.recent_payments(self.read_to, PAGE_ROWS).await?;
            for row in page.payments {
                if !self.met.contains(&hash(&self.hashes, &row.key)) {
                    self.count(&row.source_key(), row.amount, row.accepted_at);
                }
            }
            self.read_to = page.read_to;
            if !page.is_full {
                return Ok(());
            }
        }
    }

    fn count(&mut self, account: &AccountKey, amount: Money, accepted_at: Timestamp) {
        if accepted_at >= self.since {
            self.payments += 1;
            self.book.count(account, amount, accepted_at);
        }
    }
}

/// The last message of the intake, whether it is still there or not.
async fn last<S: Streams>(streams: &S) -> Result<u64, BrokerError> {
    Ok(streams.bounds(Stream::Accepted).await?.map_or(0, |bounds| bounds.last))
}

/// The last of the waiting messages that is counted with the first of them.
fn read_ahead(waiting: &[AcceptedHead]) -> Option<u64> {
    let end = waiting.first()?.stored_at.micros().saturating_add(READ_AHEAD_MICROS);
    waiting.iter().take_while(|head| head.stored_at.micros() <= end).last().map(|head| head.seq)
}

/// The hash of a payment's key.
fn hash(hashes: &RandomState, key: &PaymentKey) -> u64 {
    hashes.hash_one(key)
}
