//! Who listens: each gets the newest ends first, and then what everyone gets.

use super::stories::Event;
use bytes::Bytes;
use runtime::http::{EventSender, event};
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

/// Events that a listener is sent in a second at most.
pub(super) const EVENTS_PER_SECOND: usize = 50;

const SECOND: Duration = Duration::from_secs(1);

/// What a listener is told first, so that it knows that from now on it hears of what happens.
const WELCOME: &str = ": from here on\n\n";

/// One listener.
pub(super) struct Listener {
    sender: EventSender,
    _place: OwnedSemaphorePermit,
    /// When it was welcomed, and how much it was sent since then.
    welcomed: Option<(Instant, usize)>,
}

impl Listener {
    pub(super) fn new(sender: EventSender, place: OwnedSemaphorePermit) -> Listener {
        Listener { sender, _place: place, welcomed: None }
    }

    /// Whether it still listens.
    pub(super) fn is_there(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Tells it the newest ends, if it has not been told; whether it still listens.
    pub(super) fn welcome<'e>(&mut self, ends: impl Iterator<Item = &'e Event>) -> bool {
        if self.welcomed.is_some() {
            return self.is_there();
        }
        let (text, count) = encode(ends);
        self.welcomed = Some((Instant::now(), count));
        self.sender.send(Bytes::from(format!("{text}{WELCOME}"))).is_ok()
    }

    /// Tells it so many events; whether it still listens. What would be too much together with its welcome is left
    /// out for it.
    pub(super) fn tell(&mut self, events: &Bytes, count: usize) -> bool {
        let Some((since, told)) = &mut self.welcomed else { return self.is_there() };
        if since.elapsed() < SECOND {
            if *told + count > EVENTS_PER_SECOND {
                return self.is_there();
            }
            *told += count;
        }
        self.sender.send(events.clone()).is_ok()
    }
}

/// The events as they are sent, and how many there are.
pub(super) fn encode<'e>(events: impl Iterator<Item = &'e Event>) -> (String, usize) {
    let (mut text, mut count) = (String::new(), 0);
    for told in events {
        // An event is made of plain texts, which are always written.
        let Ok(data) = serde_json::to_string(told) else { continue };
        text.push_str(&event(None, &data));
        count += 1;
    }
    (text, count)
}
