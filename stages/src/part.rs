//! What every role is put together from: a port with health and metrics, a service, stages.

use crate::pipeline::trimming;
use host::{Host, LedgerLetters, StartError};
use runtime::broker::{JetStreamTransport, ServiceHandler};
use runtime::clock::Clock;
use runtime::harness::{Harness, StageTelemetry};
use runtime::http::{Admin, Check, serve};
use runtime::process::chain;
use runtime::stage::Stage;
use runtime::telemetry::{RequestMetrics, StageMetrics};
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;
use wire::service::Endpoint;
use wire::{Message, Role, StageName};

/// Between two attempts to serve requests.
const RETRY: Duration = Duration::from_millis(500);

/// One role of this process.
pub(crate) struct Part {
    /// What it works with.
    pub(crate) host: Host,
    /// Its connections to the ledger.
    pub(crate) store: Store,
    dead_letters: LedgerLetters,
}

impl Part {
    /// The role of this host; nothing of it runs yet.
    pub(crate) fn open(mut host: Host) -> Result<Part, StartError> {
        let store = host.open_ledger("", host.connections_max())?;
        Ok(Part { dead_letters: LedgerLetters::new(store.clone()), host, store })
    }

    /// Opens the role's port, and answers its endpoints there and by NATS. `check` is what else it needs to
    /// be ready.
    pub(crate) async fn serve<H: ServiceHandler>(
        &self,
        service: Arc<H>,
        check: Option<(&'static str, Check)>,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), StartError> {
        let Host { role, config, metrics, traces, drain, .. } = &self.host;
        let admin = Arc::new(Admin {
            role: *role,
            health: self.host.health(check),
            service: service.clone(),
            http: config.http.clone(),
        });
        let requests = RequestMetrics::new(metrics);
        // A stage may begin long after its port opens, and is not to be missed there: instruments of one name
        // and label are one.
        for stage in StageName::ALL.into_iter().filter(|stage| Role::playing(*stage) == *role) {
            drop(StageMetrics::new(metrics, stage));
        }
        for listener in self.host.listen().await? {
            tasks.spawn(serve(
                listener,
                admin.clone(),
                config.http.clone(),
                requests.clone(),
                traces.clone(),
                drain.clone(),
            ));
        }
        tasks.spawn(answer(self.host.clone(), service, requests));
        Ok(())
    }

    /// Starts a stage on its input, once a shard, and the trimming of those streams.
    pub(crate) fn stage<S: Stage>(&self, of_shard: impl Fn(u16) -> S, tasks: &mut JoinSet<()>) {
        let Host { config, broker, drain, .. } = &self.host;
        let metrics = StageMetrics::new(&self.host.metrics, S::NAME);
        let shards = if S::In::HOP.is_sharded() { config.pipeline.shards } else { 1 };
        for shard in 0..shards {
            let pipeline = config.pipeline.clone();
            let transport = JetStreamTransport::new::<S>(broker.clone(), shard, pipeline.clone());
            let input = S::input(shard);
            if input.is_derived() {
                tasks.spawn(trimming::follow(broker.clone(), input, pipeline.clone(), drain.clone()));
            }
            let (stage, letters) = (of_shard(shard), self.dead_letters.clone());
            let telemetry = StageTelemetry { metrics: metrics.clone(), traces: self.host.traces.clone() };
            tasks.spawn(
                Harness::new(stage, transport, letters, pipeline, telemetry, Clock::wall(), drain.clone())
                    .run(),
            );
        }
    }

    /// Keeps in mind which payments are dead.
    pub(crate) fn refresh_dead_letters(&self, tasks: &mut JoinSet<()>) {
        let every = Duration::from_millis(self.host.config.pipeline.dead_refresh_ms);
        tasks.spawn(self.dead_letters.clone().refresh(every, self.host.drain.clone()));
    }
}

/// Answers the role's endpoints by NATS until the drain begins.
async fn answer<H: ServiceHandler>(host: Host, service: Arc<H>, requests: RequestMetrics) {
    let Host { role, broker, traces, drain, .. } = host;
    let endpoints = Endpoint::of(role);
    if endpoints.is_empty() {
        return;
    }
    loop {
        tokio::select! {
            biased;
            () = drain.begun() => return,
            served = broker.serve(&endpoints, &*service, &requests, &traces) => if let Err(error) = served {
                tracing::warn!(%role, error = chain(&error), "requests cannot be served");
            },
        }
        if !drain.sleep(RETRY).await {
            return;
        }
    }
}
