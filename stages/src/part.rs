//! What every role is put together from: a port with health and metrics, a service, stages.

use crate::workers::{Bench, Inputs, Workshop};
use host::{Host, LedgerLetters, StartError};
use runtime::broker::{Broker, JetStreamTransport, ServiceHandler};
use runtime::clock::Clock;
use runtime::config::PipelineConfig;
use runtime::http::{Admin, Check, serve};
use runtime::process::chain;
use runtime::stage::Stage;
use runtime::telemetry::RequestMetrics;
use std::sync::Arc;
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;
use wire::service::Endpoint;
use wire::{Role, StageName};

/// Between two attempts to serve requests.
const RETRY: Duration = Duration::from_millis(500);

/// One role of this process.
pub(crate) struct Part {
    /// What it works with.
    pub(crate) host: Host,
    /// Its connections to the ledger.
    pub(crate) store: Store,
    /// Where its stages are made.
    pub(crate) workshop: Workshop<Broker>,
    dead_letters: LedgerLetters,
}

/// Inputs on the broker.
struct BrokerInputs {
    broker: Broker,
    pipeline: PipelineConfig,
}

impl Inputs for BrokerInputs {
    type Transport = JetStreamTransport;

    fn input<S: Stage>(&self, shard: u16) -> JetStreamTransport {
        JetStreamTransport::new::<S>(self.broker.clone(), shard, self.pipeline.clone())
    }
}

impl Part {
    /// The role of this host; nothing of it runs yet.
    pub(crate) fn open(mut host: Host) -> Result<Part, StartError> {
        let store = host.open_ledger("", host.connections_max())?;
        let dead_letters = LedgerLetters::new(store.clone());
        let Host { config, broker, metrics, traces, drain, .. } = host.clone();
        let workshop = Workshop::new(broker, config, metrics, traces, Clock::wall(), drain);
        Ok(Part { host, store, workshop, dead_letters })
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
        // A stage may begin long after its port opens, and is not to be missed there.
        self.stages().for_each(|stage| drop(self.workshop.metrics_of(stage)));
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

    /// Starts every stage that the role plays, once a shard, and the trimming of their inputs.
    pub(crate) fn start_stages(&self, tasks: &mut JoinSet<()>) {
        let Host { config, broker, drain, .. } = &self.host;
        let every = Duration::from_millis(config.pipeline.dead_refresh_ms);
        tasks.spawn(self.dead_letters.clone().refresh(every, drain.clone()));
        for stage in self.stages() {
            for shard in 0..self.workshop.shards(stage) {
                tasks.spawn(self.workshop.clone().trimming(stage, shard));
                let (broker, pipeline) = (broker.clone(), config.pipeline.clone());
                let bench = Bench {
                    ledger: self.store.apart(),
                    inputs: BrokerInputs { broker, pipeline },
                    dead_letters: self.dead_letters.clone(),
                };
                tasks.spawn(self.workshop.clone().stage(stage, shard, bench));
            }
        }
    }

    fn stages(&self) -> impl Iterator<Item = StageName> {
        let role = self.host.role;
        StageName::ALL.into_iter().filter(move |stage| Role::playing(*stage) == role)
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
