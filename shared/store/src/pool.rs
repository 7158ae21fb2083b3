//! Connections and migrations.

use crate::StoreError;
use crate::columns::PgQuery;
use crate::lease::{Lease, Silences};
use crate::locked_rows::LockedRows;
use crate::renewal::Renewal;
use crate::system_accounts::KnownSystemAccounts;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions, PgRow};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// A `postgres://` URL.
    pub url: String,
    /// How the connections are called in `pg_stat_activity`.
    pub application_name: String,
    /// Connections at most.
    pub connections_max: u32,
    /// How long a free connection is waited for.
    pub acquire_timeout: Duration,
    /// The server ends a statement after this.
    pub statement_timeout: Duration,
    /// How long a row that another transaction has locked is waited for; well above the time of a batch.
    pub lock_timeout: Duration,
    /// How the planner may go about it.
    pub plans: Plans,
}

impl StoreOptions {
    /// What services connect with.
    pub fn for_service(
        url: &str,
        name: &str,
        connections_max: u32,
        acquire_timeout: Duration,
        statement_timeout: Duration,
        lock_timeout: Duration,
    ) -> StoreOptions {
        StoreOptions {
            url: url.to_owned(),
            application_name: format!("kilat {name}"),
            connections_max,
            acquire_timeout,
            statement_timeout,
            lock_timeout,
            plans: Plans::ByKey,
        }
    }
}

/// How Postgres may plan the statements of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plans {
    /// By index, row by row. Every statement of a service goes by key, and its plan is made once and kept:
    /// one that was made while the tables were empty would go on to scan them whole when they are full. Nor
    /// by bitmap: on a table that has not been analysed a page of a scan would fetch and sort all that is
    /// left to read; nor with what was read kept aside, which on an empty table is as good as a search by key.
    /// Left to itself the server would plan for the arguments at hand each time, as long as
    /// they are fewer than it would guess: for a batch of one that costs more than all else.
    ByKey,
    /// By index too, and by ranges of pages: for the audit of a window of time, whose index knows no more.
    ByRange,
    /// As the planner likes: for the audit, which reads everything.
    Free,
}

impl Plans {
    /// The settings of the planner that forbid the rest.
    fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Plans::ByKey => &[
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_bitmapscan", "off"),
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
                ("enable_material", "off"),
            ],
            Plans::ByRange => {
                &[("enable_seqscan", "off"), ("enable_hashjoin", "off"), ("enable_mergejoin", "off")]
            }
            Plans::Free => &[],
        }
    }
}

/// The connections of a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolFigures {
    /// Open, free or not.
    pub open: u64,
    /// Open and free.
    pub idle: u64,
    /// That may be open.
    pub max: u64,
}

/// A handle on the ledger; clones share their connections.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) pool: PgPool,
    /// How long the answer of a read is waited for: the server's own limit of a statement, and some for its
    /// way.
    pub(crate) answer_timeout: Duration,
    /// How long a sign of life is waited for, and half of a transaction: the server's own limit of a statement,
    /// and the wait for a connection.
    pub(crate) patience: Duration,
    /// The silences of reads, and those of commits.
    pub(crate) reads: Silences,
    pub(crate) writes: Silences,
    /// Our own accounts that are known to be there.
    pub(crate) system_accounts: Arc<Mutex<KnownSystemAccounts>>,
    /// Which connections are outdated.
    pub(crate) renewal: Renewal,
    /// Rows that were found locked a moment ago.
    pub(crate) locked_rows: Arc<Mutex<LockedRows>>,
}

impl Store {
    /// A handle that connects when it is first used, so that a process can start while the database is away.
    pub fn connect_lazily(options: &StoreOptions) -> Result<Store, StoreError> {
        let [statement_timeout, lock_timeout] =
            [options.statement_timeout, options.lock_timeout].map(|limit| milliseconds(limit).to_string());
        let mut connect = session(&options.url)?.application_name(&options.application_name).options([
            ("statement_timeout", statement_timeout.as_str()),
            ("lock_timeout", lock_timeout.as_str()),
            // A connection that was left inside a transaction must not hold its locks for ever.
            ("idle_in_transaction_session_timeout", statement_timeout.as_str()),
        ]);
        connect = connect.options(options.plans.settings().iter().copied());
        let renewal = Renewal::default();
        let kept = renewal.clone();
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(options.acquire_timeout)
            // A ping before each use would double the round trips; a dead connection shows itself and is
            // retried.
            .test_before_acquire(false)
            .before_acquire(move |_, connection| {
                let is_kept = kept.keeps(connection.age);
                Box::pin(async move { Ok(is_kept) })
            })
            .connect_lazy_with(connect);
        Ok(Store {
            pool,
            answer_timeout: options.statement_timeout + options.acquire_timeout / 4,
            patience: options.statement_timeout + options.acquire_timeout,
            reads: Silences::default(),
            writes: Silences::default(),
            system_accounts: Arc::default(),
            renewal,
            locked_rows: Arc::default(),
        })
    }

    /// Its connections as they are now.
    pub fn connections(&self) -> PoolFigures {
        PoolFigures {
            open: u64::from(self.pool.size()),
            idle: self.pool.num_idle() as u64,
            max: u64::from(self.pool.options().get_max_connections()),
        }
    }

    /// The same connections with a memory of locked rows of its own: what holds up one user of the store is
    /// often another.
    pub fn apart(&self) -> Store {
        Store { locked_rows: Arc::default(), ..self.clone() }
    }

    /// Asks the database for a sign of life.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let answer = match Lease::take(self, &self.reads).await {
            Ok(lease) => self.answer(lease, sqlx::query("SELECT 1")).await.map(drop),
            // The pool does not say why it has no connection; the server does, or whatever stands before it.
            Err(StoreError::Unavailable(sqlx::Error::PoolTimedOut)) => {
                let asked =
                    async { PgConnection::connect_with(&self.pool.connect_options()).await?.ping().await };
                match tokio::time::timeout(self.answer_timeout, asked).await {
                    Ok(answer) => answer.map_err(StoreError::Unavailable),
                    Err(_) => Err(StoreError::Silent(self.answer_timeout)),
                }
            }
            Err(error) => Err(error),
        };
        answer.map_err(|error| error.of(&self.pool.connect_options()))
    }

    /// Closes the connections, or leaves them to their end when the database does not answer.
    pub async fn close(&self) {
        // Whichever way it ends, the process does too.
        let _ = tokio::time::timeout(self.patience, self.pool.close()).await;
    }

    /// The rows that a query answers. One round trip.
    pub(crate) async fn fetch_all(&self, query: PgQuery<'_>) -> Result<Vec<PgRow>, StoreError> {
        self.fetch_by(|_| query).await
    }

    /// The one row that a query answers. One round trip.
    pub(crate) async fn fetch_one(&self, query: PgQuery<'_>) -> Result<PgRow, StoreError> {
        let row = self.fetch_all(query).await?.into_iter().next();
        row.ok_or_else(|| sqlx::Error::RowNotFound.into())
    }

    /// The rows that a query answers which depends on the server's version, as a number.
    pub(crate) async fn fetch_by<'q>(
        &self,
        query: impl FnOnce(u32) -> PgQuery<'q>,
    ) -> Result<Vec<PgRow>, StoreError> {
        let answer = match Lease::take(self, &self.reads).await {
            Ok(mut lease) => {
                let query = query(lease.connection().server_version_num().unwrap_or(0));
                self.answer(lease, query).await
            }
            Err(error) => Err(error),
        };
        answer.map_err(|error| error.of(&self.pool.connect_options()))
    }

    /// Waits for an answer as long as one can come. The wait for the connection has not used up any of it, or
    /// a server that ends the statement itself would be called silent.
    async fn answer(&self, mut lease: Lease, query: PgQuery<'_>) -> Result<Vec<PgRow>, StoreError> {
        let asked = query.fetch_all(lease.connection());
        let Ok(answer) = tokio::time::timeout(self.answer_timeout, asked).await else {
            lease.give_up();
            return Err(StoreError::Silent(self.answer_timeout));
        };
        if matches!(answer, Ok(_) | Err(sqlx::Error::Database(_))) {
            lease.is_answered();
        }
        Ok(answer.inspect_err(|error| self.renewal.notice(error))?)
    }
}

/// What holds for every session, whatever the server, the database, the role or the URL says.
const SESSION: [(&str, &str); 6] = [
    // A commit is acknowledged to the broker: it is on disk.
    ("synchronous_commit", "on"),
    // The server notices within a minute that the machine of a client has vanished, and lets go of its session
    // and its locks. Through a Unix socket these say nothing, and are ignored.
    ("tcp_keepalives_idle", "30"),
    ("tcp_keepalives_interval", "10"),
    ("tcp_keepalives_count", "3"),
    ("tcp_user_timeout", "60000"),
    // And it looks whether the client is still there while it works: nobody waits for the statement of one
    // that has given up.
    ("client_connection_check_interval", "2000"),
];

/// How a session is opened.
fn session(url: &str) -> Result<PgConnectOptions, StoreError> {
    // Of two options of one name the server takes the last, so these go after those of the URL.
    Ok(url.parse::<PgConnectOptions>().map_err(StoreError::Unavailable)?.options(SESSION))
}

/// A duration as the server takes it.
pub(crate) fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// A server that is starting is waited for so long by a migration, and asked so often.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(10);
const MIGRATION_RETRY: Duration = Duration::from_millis(250);

/// Brings the schema up to date, as its owner. Safe to run from several processes at once.
pub async fn migrate(owner_url: &str) -> Result<(), StoreError> {
    let options = session(owner_url)?;
    let migrated = async {
        await_admission(&options).await?;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(MIGRATION_PATIENCE)
            .connect_lazy_with(options.clone());
        let outcome = sqlx::migrate!("../../migrations").run(&pool).await;
        pool.close().await;
        Ok(outcome?)
    };
    migrated.await.map_err(|error: StoreError| error.of(&options))
}

/// Waits until the server lets us in. Not through a pool, which would not say why it does not.
async fn await_admission(options: &PgConnectOptions) -> Result<(), StoreError> {
    let deadline = Instant::now() + MIGRATION_PATIENCE;
    loop {
        let error = match tokio::time::timeout_at(deadline, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => return Ok(connection.close().await?),
            Ok(Err(error)) => error,
            Err(_) => return Err(StoreError::Silent(MIGRATION_PATIENCE)),
        };
        if !is_starting(&error) || Instant::now() + MIGRATION_RETRY >= deadline {
            return Err(StoreError::Unavailable(error));
        }
        tokio::time::sleep(MIGRATION_RETRY).await;
    }
}

/// Whether the server may let us in in a moment.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        sqlx::Error::Database(error) => error.is_transient_in_connect_phase(),
        _ => false,
    }
}
