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
//! | had no answer until its deadline | is closed at once: nothing is sent, nothing is waited for |
//!
//! What was asked on a connection that was closed may still be carried out. Whoever asks again is answered by
//! the rows.

use crate::Store;
use crate::renewal::Renewal;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::PgConnection;
use std::time::Duration;
use tokio::runtime::Handle;

/// A connection for as long as it is needed.
pub(crate) struct Lease {
    connection: PoolConnection<Postgres>,
    patience: Duration,
    renewal: Renewal,
    is_silent: bool,
}

impl Lease {
    /// Takes a free connection, or makes one. The pool's own limit ends the wait for it.
    pub(crate) async fn take(store: &Store) -> Result<Lease, sqlx::Error> {
        let connection = store.pool.acquire().await?;
        Ok(Lease { connection, patience: store.patience, renewal: store.renewal.clone(), is_silent: false })
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// The server has not answered in time: the connection is closed at once.
    pub(crate) fn give_up(mut self) {
        self.is_silent = true;
        self.renewal.notice_silence();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // It has the connection and its place in the pool: dropped before its end it closes the one and frees
        // the other. Its sign of life also carries out the ROLLBACK of a transaction that was left.
        let returned = self.connection.return_to_pool();
        match Handle::try_current() {
            Ok(runtime) if !self.is_silent => {
                let (patience, renewal) = (self.patience, self.renewal.clone());
                runtime.spawn(async move {
                    if tokio::time::timeout(patience, returned).await.is_err() {
                        renewal.notice_silence();
                    }
                });
            }
            _ => drop(returned),
        }
    }
}
