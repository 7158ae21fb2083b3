use super::*;
use crate::memory_ledger::MemoryLedger;
use crate::status::tests::{at, facts, line, message, reserved};
use domain::PaymentRecord;
use domain::facts::RecordState;
use runtime::broker::{MemoryStreams, Outgoing};
use runtime::config::PipelineConfig;
use tokio::time::Instant;
use wire::Hop;

/// Something that happens to the payment, or around it.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// A message is stored, and whoever has subscribed sees it.
    Message(Hop),
    /// A message is seen of which nothing is stored.
    Rumour(Hop),
    /// The ledger has it captured; nobody is told.
    Captured,
    LedgerSilent,
    LedgerSpeaks,
    BrokerAway,
    BrokerBack,
}

struct World {
    streams: MemoryStreams,
    ledger: MemoryLedger,
    watches: Watches<MemoryStreams, MemoryLedger>,
}

impl World {
    /// With a payment that was accepted.
    async fn open() -> World {
        let (streams, ledger) = (MemoryStreams::default(), MemoryLedger::default());
        streams.declare_all(&PipelineConfig::default()).await.unwrap();
        streams.set_now(at(1));
        let status = StatusReader { ledger: ledger.clone(), streams: streams.clone(), shards: 1 };
        let world = World { streams, ledger, watches: Watches::new(status) };
        world.happens(Happening::Message(Hop::Accepted)).await;
        world
    }

    async fn happens(&self, happening: Happening) {
        let subject = |hop| Subject::of(hop, 0, &facts().payment.key()).into_string();
        match happening {
            Happening::Message(hop) => {
                let message = Outgoing::new(subject(hop), message(hop).encode().unwrap());
                self.streams.publish(&message).await.unwrap();
            }
            Happening::Rumour(hop) => self.streams.hint(&subject(hop)),
            Happening::Captured => {
                let state = RecordState::Captured { reserved: reserved(), finished_at: at(5) };
                self.ledger.record(PaymentRecord { facts: facts(), state, trace: None });
            }
            Happening::LedgerSilent => self.ledger.fall_silent(),
            Happening::LedgerSpeaks => self.ledger.speak(),
            Happening::BrokerAway => self.streams.begin_outage_after(0),
            Happening::BrokerBack => self.streams.end_outage(),
        }
    }

    /// Waits until nothing is left of those who watched.
    async fn is_left(&self) {
        while self.watches.followed() > 0 || self.streams.subscriptions() > 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn next(watch: &mut Watch) -> Option<String> {
    Some(line(&*watch.next().await?))
}

const ACCEPTED: &str = "PENDING: accepted: accepted";
const SCREENED: &str = "PENDING: screened: accepted screened";
const CAPTURED: &str = "CAPTURED: finished: accepted screened quoted reserved finished";

/// A hint makes it be read at once, the clock in any case, and neither is believed.
#[tokio::test(start_paused = true)]
async fn what_is_seen_is_what_a_status_says() {
    use Happening::{BrokerAway, BrokerBack, Captured, LedgerSilent, LedgerSpeaks, Message, Rumour};
    use Hop::{Finished, Screened};
    // What happens; what is seen then, and after how many seconds.
    let rows: [(&[Happening], &str, u64); 6] = [
        (&[Message(Screened)], SCREENED, 0),
        (&[Captured], CAPTURED, 1),
        (&[Captured, Rumour(Finished)], CAPTURED, 0),
        (&[Rumour(Finished), Rumour(Finished), Message(Screened)], SCREENED, 0),
        (&[BrokerAway, BrokerBack, Message(Screened)], SCREENED, 0),
        (&[LedgerSilent, LedgerSpeaks, Captured], CAPTURED, 1),
    ];
    for (happenings, expected, seconds) in rows {
        let world = World::open().await;
        let mut watch = world.watches.watch(&facts().payment.key());
        assert_eq!(next(&mut watch).await.as_deref(), Some(ACCEPTED));
        // The second look is soon after the first, and only time brings it; the clock is the test's.
        tokio::time::sleep(2 * LOOK_AGAIN).await;
        let started = Instant::now();
        for happening in happenings {
            world.happens(*happening).await;
        }
        assert_eq!(next(&mut watch).await.as_deref(), Some(expected), "{happenings:?}");
        assert_eq!(started.elapsed().as_secs_f64().round() as u64, seconds, "{happenings:?}");
        if expected == CAPTURED {
            assert_eq!(next(&mut watch).await, None, "nothing comes after the end");
        }
        drop(watch);
        world.is_left().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_that_no_hint_told_of_is_seen_soon_after_the_first_look() {
    let world = World::open().await;
    let mut watch = world.watches.watch(&facts().payment.key());
    assert_eq!(next(&mut watch).await.as_deref(), Some(ACCEPTED));
    let started = Instant::now();
    world.happens(Happening::Captured).await;
    assert_eq!(next(&mut watch).await.as_deref(), Some(CAPTURED));
    assert!(started.elapsed() <= LOOK_AGAIN, "{:?}", started.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_waited_out_and_ends_nothing() {
    use Happening::{BrokerAway, BrokerBack, Captured, LedgerSilent, LedgerSpeaks, Message};
    for (away, back, further) in
        [(LedgerSilent, LedgerSpeaks, Captured), (BrokerAway, BrokerBack, Message(Hop::Screened))]
    {
        let world = World::open().await;
        let mut watch = world.watches.watch(&facts().payment.key());
        assert_eq!(next(&mut watch).await.as_deref(), Some(ACCEPTED));
        world.happens(away).await;
        let waited = tokio::time::timeout(Duration::from_secs(600), next(&mut watch)).await;
        assert!(waited.is_err(), "{away:?}: {waited:?}");
        world.happens(back).await;
        world.happens(further).await;
        let started = Instant::now();
        assert!(next(&mut watch).await.is_some(), "{away:?}");
        assert!(started.elapsed() <= PAUSE_MAX, "{away:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_who_watch_a_payment_share_its_follower() {
    let (world, key) = (World::open().await, facts().payment.key());
    let mut first = world.watches.watch(&key);
    assert_eq!(next(&mut first).await.as_deref(), Some(ACCEPTED));
    let mut second = world.watches.watch(&key);
    assert_eq!(next(&mut second).await.as_deref(), Some(ACCEPTED), "who comes later sees what is there");
    assert_eq!((world.watches.followed(), world.streams.subscriptions()), (1, 1));
    drop(first);
    world.happens(Happening::Message(Hop::Screened)).await;
    assert_eq!(next(&mut second).await.as_deref(), Some(SCREENED), "the others stay");
    drop(second);
    world.is_left().await;
    let mut third = world.watches.watch(&key);
    assert_eq!(next(&mut third).await.as_deref(), Some(SCREENED), "whoever comes then begins anew");
}
