//! A connection of the pool for one piece of work, and its way back.
//!
//! A server that vanishes without a word, or a network that swallows packets, keeps connections open and says
//! nothing, and no limit of the server's own ends that. sqlx would wait for ever for a sign of life from a
//! connection that goes back to its pool, and keep its place in the pool meanwhile: a few of them, and the
//! pool is empty for good. So each place is free again within a known time, however the work ends:
//!
//! | the work | the connection |
//! |---|---|
//! | is done, or whoever asked has gone away | goes back once it gives a sign of life, within the store's patience; else it is closed |
//! | had no answer until its deadline, for the first time in a row | is closed at once: nothing is sent, nothing is waited for |
//! | had none again | keeps its place for a patience, the next one for two, and so on: until a sign of life, or an answer to another, or its end; then it is closed |
//!
//! What was asked on a connection that was closed may still be carried out. Whoever asks again is answered by
//! the rows. And its session may live on at the server, such as a COMMIT that waits for a standby: nothing
//! ends that, and if each attempt left one behind the server would soon have no session for anybody. Hence the
//! longer and longer waits. Reads and commits are counted apart, for a server that waits for its standby goes
//! on to answer reads.

use crate::renewal::Renewal;
use crate::{Store, StoreError};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use std::time::{Duration, Instant};
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The longest that a connection without an answer keeps its place: six sessions an hour are left behind by
/// each place at most.
const HOLD_MAX: Duration = Duration::from_secs(600);

/// How often in a row one kind of work has had no answer; clones share the count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Silences(watch::Sender<u32>);

impl Silences {
    /// Counts one more, and says how long its connection keeps its place.
    fn one_more(&self, patience: Duration) -> Duration {
        let mut hold = Duration::ZERO;
        self.0.send_modify(|count| {
            if let Some(doublings) = count.checked_sub(1) {
                hold = patience.saturating_mul(2_u32.saturating_pow(doublings)).min(HOLD_MAX);
            }
            *count = count.saturating_add(1);
        });
        hold
    }

    fn end(&self) {
        self.0.send_if_modified(|count| std::mem::take(count) > 0);
    }

    async fn have_ended(&self) {
        // It has a sender itself, so this waits for nothing but the count.
        let _ = self.0.subscribe().wait_for(|count| *count == 0).await;
    }
}

/// A connection for as long as it is needed.
pub(crate) struct Lease {
    connection: PoolConnection<Postgres>,
    taken_at: Instant,
    patience: Duration,
    renewal: Renewal,
    silences: Silences,
    is_silent: bool,
}

impl Lease {
    /// Takes a free connection, or makes one, for work of the kind whose silences these are. The pool's own
    /// limit ends the wait for it. Whatever the server has against a session, it is not about the data.
    pub(crate) async fn take(store: &Store, silences: &Silences) -> Result<Lease, StoreError> {
        let connection = store.pool.acquire().await.map_err(StoreError::Unavailable)?;
        Ok(Lease {
            connection,
            taken_at: Instant::now(),
            patience: store.patience,
            renewal: store.renewal.clone(),
            silences: silences.clone(),
            is_silent: false,
        })
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// The server has answered what was asked: it is not silent, and those that still wait for a sign of life
    /// are not waited for.
    pub(crate) fn is_answered(&self) {
        self.silences.end();
    }

    /// The server has not answered in time.
    pub(crate) fn give_up(mut self) {
        self.is_silent = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // It has the connection and its place in the pool: dropped before its end it closes the one and frees
        // the other. Its sign of life also carries out the ROLLBACK of a transaction that was left.
        let mut returned = Box::pin(self.connection.return_to_pool());
        let (patience, taken_at, silences) = (self.patience, self.taken_at, self.silences.clone());
        let renewal = self.renewal.clone();
        let silence = move || {
            renewal.notice_silence(taken_at);
            silences.one_more(patience)
        };
        let hold = self.is_silent.then(&silence);
        let Ok(runtime) = Handle::try_current() else { return };
        if hold == Some(Duration::ZERO) {
            return;
        }
        let silences = self.silences.clone();
        runtime.spawn(async move {
            if hold.is_none() && tokio::time::timeout(patience, &mut returned).await.is_ok() {
                return;
            }
            let hold = hold.unwrap_or_else(silence);
            tokio::select! {
                biased;
                _ = tokio::time::timeout(hold, returned) => {}
                () = silences.have_ended() => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_silence_in_a_row_is_waited_out_for_longer() {
        const PATIENCE: Duration = Duration::from_secs(7);
        let silences = Silences::default();
        for row in [[0, 7, 14, 28, 56, 112, 224, 448, 600, 600].as_slice(), &[0, 7]] {
            for seconds in row {
                assert_eq!(silences.one_more(PATIENCE), Duration::from_secs(*seconds), "{row:?}");
            }
            silences.end();
        }
        silences.0.send_replace(u32::MAX);
        assert_eq!(silences.one_more(PATIENCE), HOLD_MAX);
    }
}
