//! What can befall the streams in memory, when a test or a simulation says so.

use super::{BrokerError, MemoryStreams};
use tokio::time::Instant;
use wire::Stream;

impl MemoryStreams {
    /// The stream vanishes with its messages and its consumer, as one in memory does with its server.
    pub fn lose(&self, stream: Stream) {
        self.lose_consumer(stream);
        self.state().streams.remove(&stream);
    }

    /// The stream's consumer vanishes: one that is declared again delivers everything that is there.
    pub fn lose_consumer(&self, stream: Stream) {
        let state = &mut *self.state();
        if let Some(mut consumer) = state.streams.get_mut(&stream).and_then(|log| log.consumer.take()) {
            consumer.end(&mut state.inboxes, &BrokerError::Missing);
        }
    }

    /// The server dies and starts: streams in memory vanish, and the consumers of those on disk have forgotten
    /// what they delivered and what was acknowledged in the last tenth of a second.
    pub fn restart(&self) {
        let state = &mut *self.state();
        state.disconnect();
        state.streams.retain(|_, log| log.is_on_disk());
        let now = Instant::now();
        for log in state.streams.values_mut() {
            log.pass_time(now, &mut state.inboxes);
            log.restart();
        }
    }

    /// A message that was delivered comes again now, although nobody asked for it; whether there is one.
    pub fn redeliver(&self, stream: Stream, seq: u64) -> bool {
        let redelivered = self.state().touch(stream, |log| {
            log.consumer.as_mut().is_some_and(|consumer| consumer.redeliver(seq, &log.messages))
        });
        redelivered.unwrap_or(false)
    }

    /// After so many more calls every call fails, until the outage ends.
    pub fn begin_outage_after(&self, calls: usize) {
        self.state().calls_left = Some(calls);
    }

    /// The broker is there again; whoever had an input opened has to open it again.
    pub fn end_outage(&self) {
        let state = &mut *self.state();
        if state.is_away() {
            state.disconnect();
        }
        state.calls_left = None;
    }

    /// The next publish gets no answer, and is stored or not.
    pub fn lose_next_answer(&self, is_stored: bool) {
        self.state().lost_answer = Some(is_stored);
    }

    /// From now on a read of several subjects finds so many messages at most, whatever is there.
    pub fn cut_answers_short(&self, found_max: usize) {
        self.state().found_max = Some(found_max);
    }
}
