//! Servers for tests. Each has its own ports, data and watcher, and is gone with its handle or with the test
//! process.
//!
//! The functions panic with the reason: a test that cannot have its server has failed. They wait in a
//! blocking thread, so a paused tokio clock does not disturb them.

mod collector;
mod prometheus;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OnceCell;

pub use self::collector::TestCollector;
pub use self::prometheus::TestPrometheus;
pub use crate::unread::UnreadProgram;

use crate::nats::{NatsOptions, NatsServer};
use crate::port::{PortLease, loopback};
use crate::postgres::{self, FirstData, PostgresOptions, PostgresServer};
use crate::process::ProcessIdentity;
use crate::server::Server;
use crate::watcher::Watcher;
use crate::{Error, checkout, launch};

/// Numbers folders and databases within this process.
static NEXT_NUMBER: AtomicU32 = AtomicU32::new(1);
static SHARED_POSTGRES: OnceCell<TestPostgres> = OnceCell::const_new();

/// A nats-server for one test.
#[derive(Debug, Clone)]
pub struct TestNats {
    url: String,
    monitor_url: String,
    guarded: Guarded<NatsServer>,
}

impl TestNats {
    /// Starts a server with empty JetStream storage.
    ///
    /// # Panics
    /// When no server can be started.
    pub async fn start() -> Self {
        in_background(move || {
            let (port, monitor_port) = (PortLease::take()?, PortLease::take()?);
            let folder = make_run_folder()?;
            let options = NatsOptions::new(
                port.port,
                monitor_port.port,
                &folder.join("data"),
                &folder.join("nats.log"),
            );
            let url = format!("nats://{}", loopback(port.port));
            let monitor_url = format!("http://{}", loopback(monitor_port.port));
            let guarded = Guarded::start(NatsServer::new(options), &folder, vec![port, monitor_port])?;
            Ok(Self { url, monitor_url, guarded })
        })
        .await
    }

    /// For clients: `nats://127.0.0.1:PORT`, the same after a restart.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// For the monitoring pages: `http://127.0.0.1:PORT`.
    #[must_use]
    pub fn monitor_url(&self) -> &str {
        &self.monitor_url
    }

    /// Ends the server with SIGKILL, as a crash.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill(&self) {
        self.guarded.kill().await;
    }

    /// Ends the server in good order.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&self) {
        self.guarded.stop().await;
    }

    /// Starts the server again on the same ports and data; one that still runs is stopped before.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.guarded.restart().await;
    }

    /// The server's process, to look at or to signal; none while it is down.
    pub async fn process(&self) -> Option<ProcessIdentity> {
        self.guarded.process().await
    }
}

/// A Postgres for one test, or with [`TestPostgres::shared`] for all tests of a process.
#[derive(Debug, Clone)]
pub struct TestPostgres {
    port: u16,
    guarded: Guarded<PostgresServer>,
}

impl TestPostgres {
    /// Starts a server of its own with fsync off: for tests that kill it, or change its settings.
    ///
    /// # Panics
    /// When no server can be started.
    pub async fn start() -> Self {
        Self::start_with(|options| options).await
    }

    /// Starts a server of its own, with options changed: `start_with(|options|
    /// options.setting("max_connections", "10"))`.
    ///
    /// # Panics
    /// When no server can be started.
    pub async fn start_with(
        change: impl FnOnce(PostgresOptions) -> PostgresOptions + Send + 'static,
    ) -> Self {
        in_background(move || {
            let lease = PortLease::take()?;
            let port = lease.port;
            let folder = make_run_folder()?;
            let options = PostgresOptions::new(port, &folder.join("data"), &folder.join("postgres.log"));
            // A test machine does not lose power; a small buffer starts faster.
            let options = PostgresOptions { fsync: false, ..options }.setting("shared_buffers", "32MB");
            let server = PostgresServer::new(change(options), FirstData::Template)?;
            Ok(Self { port, guarded: Guarded::start(server, &folder, vec![lease])? })
        })
        .await
    }

    /// The server that all tests of this process share, started by the first; it ends with the process.
    ///
    /// # Panics
    /// When no server can be started.
    pub async fn shared() -> &'static Self {
        SHARED_POSTGRES.get_or_init(Self::start).await
    }

    /// Makes a new, empty database and returns its URL. Its owner is the superuser.
    ///
    /// # Panics
    /// When the server is down.
    pub async fn fresh_database(&self) -> String {
        let name = format!("test_{}", NEXT_NUMBER.fetch_add(1, Ordering::Relaxed));
        let (url, port) = (self.url(&name), self.port);
        in_background(move || postgres::create_database(port, &name)).await;
        url
    }

    /// For clients: the URL of a database on this server, the same after a restart; `postgres` is always
    /// there.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        postgres::database_url(self.port, database)
    }

    /// Runs SQL as the superuser, and returns the rows: a line each, columns separated by `|`.
    ///
    /// # Panics
    /// When the statement fails.
    pub async fn query(&self, database: &str, sql: &str) -> String {
        let (url, sql) = (self.url(database), sql.to_owned());
        in_background(move || postgres::query(&url, &sql)).await
    }

    /// Ends the server and all its backends with SIGKILL, as a crash.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn kill(&self) {
        self.guarded.kill().await;
    }

    /// Ends the server in good order; open transactions are rolled back.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn stop(&self) {
        self.guarded.stop().await;
    }

    /// Starts the server again on the same port and data; one that still runs is stopped before.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn restart(&self) {
        self.guarded.restart().await;
    }

    /// The postmaster, to look at or to signal; none while the server is down.
    pub async fn process(&self) -> Option<ProcessIdentity> {
        self.guarded.process().await
    }
}

/// A server with its watcher, shared by the clones of a handle; it ends with the last of them.
#[derive(Debug)]
struct Guarded<S: Server>(Arc<Mutex<Managed<S>>>);

impl<S: Server> Clone for Guarded<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: Server> Guarded<S> {
    fn start(server: S, folder: &Path, leases: Vec<PortLease>) -> Result<Self, Error> {
        let watcher = Watcher::start(S::ABANDON_SIGNAL, folder)?;
        let mut managed = Managed { server, watcher, _leases: leases };
        managed.start()?;
        Ok(Self(Arc::new(Mutex::new(managed))))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Managed<S>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn kill(&self) {
        let guarded = self.clone();
        in_background(move || guarded.with(Managed::kill)).await;
    }

    async fn stop(&self) {
        let guarded = self.clone();
        in_background(move || guarded.with(Managed::stop)).await;
    }

    async fn restart(&self) {
        let guarded = self.clone();
        in_background(move || {
            guarded.with(|managed| {
                managed.stop()?;
                managed.start()
            })
        })
        .await;
    }

    async fn process(&self) -> Option<ProcessIdentity> {
        let guarded = self.clone();
        in_background(move || Ok(guarded.with(|managed| managed.server.daemon().identity()))).await
    }
}

#[derive(Debug)]
struct Managed<S: Server> {
    server: S,
    watcher: Watcher,
    _leases: Vec<PortLease>,
}

impl<S: Server> Managed<S> {
    fn start(&mut self) -> Result<(), Error> {
        self.server.launch()?;
        let identity = self.server.daemon().identity();
        self.watcher.watch(identity)?;
        self.server.await_ready()
    }

    fn kill(&mut self) -> Result<(), Error> {
        self.server.daemon().kill()?;
        self.watcher.watch(None)
    }

    fn stop(&mut self) -> Result<(), Error> {
        self.server.daemon().stop(S::STOP_SIGNAL)?;
        self.watcher.watch(None)
    }
}

impl<S: Server> Drop for Managed<S> {
    fn drop(&mut self) {
        self.watcher.clean_up();
        self.server.daemon().collect();
    }
}

/// A new folder for one server of this process.
fn make_run_folder() -> Result<PathBuf, Error> {
    let number = NEXT_NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = checkout::scratch_folder()?.join(format!("test-{}-{number}", std::process::id()));
    if folder.exists() {
        // Left by a process with the same pid whose watcher was killed too.
        fs::remove_dir_all(&folder).map_err(Error::file("remove", &folder))?;
    }
    launch::make_folder(&folder)?;
    Ok(folder)
}

async fn in_background<T: Send + 'static>(work: impl FnOnce() -> Result<T, Error> + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => panic!("{}", error.chain()),
        Err(error) => panic!("the blocking thread ended early: {error}"),
    }
}

/// A port for a service under test: no other test on this machine is lent it while this lives.
#[derive(Debug)]
pub struct TestPort(crate::port::PortLease);

impl TestPort {
    /// Takes a free port.
    ///
    /// # Panics
    /// When there is none.
    #[must_use]
    #[expect(clippy::panic, reason = "a test without a port cannot go on")]
    pub fn take() -> Self {
        Self(crate::port::PortLease::take().unwrap_or_else(|error| panic!("{error}")))
    }

    /// The number to listen on; it stays taken as long as this handle lives.
    #[must_use]
    pub fn number(&self) -> u16 {
        self.0.port
    }
}
