//! How every role does, once a second, for as long as somebody looks: while nobody does, nobody is asked.
//!
//! All listeners are told the same encoded event; a thousand of them cost a thousand sends and nothing else.

mod listeners;
mod rounds;

use listeners::Watching;
use rounds::Rounds;
use runtime::broker::Broker;
use runtime::drain::Drain;
use runtime::http::EventSender;
use std::sync::Arc;
use tokio::sync::OwnedSemaphorePermit;

/// What listeners of `/live` join; clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Live {
    watching: Arc<Watching>,
    broker: Broker,
    drain: Drain,
}

impl Live {
    pub(crate) fn new(broker: Broker, drain: Drain) -> Live {
        Live { watching: Arc::default(), broker, drain }
    }

    /// Tells a further listener, until it leaves; its place is free again then.
    pub(crate) fn join(&self, sender: EventSender, place: OwnedSemaphorePermit) {
        self.watching.join(sender, place);
    }

    /// Asks and tells until the drain begins.
    pub(crate) async fn run(self) {
        loop {
            tokio::select! {
                biased;
                () = self.drain.begun() => return,
                () = self.watching.begun() => {}
            }
            let rounds = Rounds::new(self.broker.clone());
            tokio::select! {
                biased;
                () = self.drain.begun() => return,
                () = rounds.run(&self.watching) => {}
            }
        }
    }
}
