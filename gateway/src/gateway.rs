//! Putting the gateway together: connect, listen, serve, drain.

use crate::border::BorderParts;
use crate::feed::Feed;
use crate::http::Routes;
use crate::live::Live;
use crate::page::Page;
use crate::panels::Panels;
use crate::payments::Payments;
use host::{Host, StartError};
use runtime::broker::Broker;
use runtime::config::Config;
use runtime::drain::Drain;
use runtime::http::{BodyLimit, BodyRoom, Check, serve};
use runtime::process::{all_ended, chain};
use runtime::telemetry::{RequestMetrics, observe_process};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use store::Store;
use tokio::task::JoinSet;
use wire::Role;

/// Between two attempts to declare the streams.
const RETRY: Duration = Duration::from_millis(500);

/// Bodies of the largest size that requests for many payments may have in hand together. Most of them are a
/// twentieth of that: there are far more before anybody is turned away.
const BATCHES_MAX: usize = 32;

/// How long the end of acceptance is waited for once every port has closed. Its last requests were answered or
/// cut off by then: it has only to notice.
const ACCEPTANCE_PATIENCE: Duration = Duration::from_secs(1);

/// The ledger as each kind of request sees it. What one kind does to its connections is nothing to the other.
struct Ledgers {
    look_ups: Store,
    reads: Store,
}

impl Ledgers {
    fn open(host: &mut Host) -> Result<Ledgers, StartError> {
        let connections_max = host.connections_max();
        // One look-up runs at a time, for a whole batch; the second connection is for when the first is lost.
        let look_ups = 2.min(connections_max.saturating_sub(1)).max(1);
        let reads = connections_max.saturating_sub(look_ups).max(1);
        Ok(Ledgers {
            look_ups: host.open_ledger("look-ups", look_ups)?,
            reads: host.open_ledger("reads", reads)?,
        })
    }
}

/// Serves until the drain begins and the requests in flight are answered.
pub async fn run(config: Config, drain: Drain) -> Result<(), StartError> {
    let mut host = Host::open(Role::Gateway, Arc::new(config), drain).await?;
    let ledgers = Ledgers::open(&mut host)?;
    let Host { config, broker, metrics, traces, drain, .. } = &host;
    observe_process(metrics, "gateway");
    let is_declared = Arc::new(AtomicBool::new(false));
    let (payments, accepting) = Payments::start(BorderParts {
        streams: broker.clone(),
        look_ups: ledgers.look_ups,
        reads: ledgers.reads.clone(),
        config,
        fresh_id: Arc::new(runtime::ids::fresh),
        metrics,
        traces: traces.clone(),
        drain: drain.clone(),
    });
    // A gateway whose acceptance has panicked must end rather than turn everyone away for ever.
    let mut accepting = tokio::spawn({
        let drain = drain.clone();
        async move { all_ended(accepting, &drain).await }
    });
    let live = Live::new(broker.clone(), drain.clone());
    let feed = Feed::new(broker.clone(), ledgers.reads.clone(), config.pipeline.shards, drain.clone());
    let routes = Arc::new(routes(&host, &ledgers.reads, payments, &live, &feed, is_declared.clone()));
    let (mut servers, requests) = (JoinSet::new(), RequestMetrics::new(metrics));
    servers.spawn(live.run());
    for listener in host.listen().await? {
        servers.spawn(serve(
            listener,
            routes.clone(),
            config.http.clone(),
            requests.clone(),
            traces.clone(),
            drain.clone(),
        ));
    }
    tracing::info!(ports = ?config.gateway.ports, "started");
    let declaring = tokio::spawn(declare(host.clone(), is_declared));
    all_ended(servers, drain).await;
    declaring.abort();
    // Nobody asks it for anything any more, but for connections that were cut off.
    drop(routes);
    if tokio::time::timeout(ACCEPTANCE_PATIENCE, &mut accepting).await.is_err() {
        accepting.abort();
    }
    feed.close().await;
    host.close().await;
    Ok(())
}

/// What the ports answer with.
fn routes(
    host: &Host,
    reads: &Store,
    payments: Payments<Broker, Store>,
    live: &Live,
    feed: &Feed,
    is_declared: Arc<AtomicBool>,
) -> Routes {
    let Host { config, broker, traces, drain, .. } = host;
    let batch_bytes_max = config.gateway.batch_body_bytes_max;
    Routes {
        health: host.health([("intake", flag(is_declared))]),
        admission: payments.admission.clone(),
        listeners: payments.listeners.clone(),
        payments,
        panels: Arc::new(Panels::new(&config.telemetry)),
        live: live.clone(),
        broker: broker.clone(),
        traces: traces.clone(),
        store: reads.clone(),
        body_limit: BodyLimit::of(&config.http),
        batch_body_limit: BodyLimit { bytes_max: batch_bytes_max, ..BodyLimit::of(&config.http) },
        batch_bodies: BodyRoom::of(batch_bytes_max.saturating_mul(BATCHES_MAX)),
        reply_timeout: Duration::from_millis(config.gateway.reply_timeout_ms),
        feed: feed.clone(),
        drain: drain.clone(),
        page: Page::of(&config.gateway.page_dir, &config.telemetry.grafana_url),
    }
}

fn flag(flag: Arc<AtomicBool>) -> Check {
    Arc::new(move || {
        let is_set = flag.load(Ordering::Relaxed);
        Box::pin(async move { is_set })
    })
}

/// The intake must exist before the first payment, and again after its server has come back.
async fn declare(host: Host, is_declared: Arc<AtomicBool>) {
    let mut reconnects = host.broker.reconnects();
    loop {
        match host.broker.declare_all(&host.config.pipeline).await {
            Ok(()) => {
                is_declared.store(true, Ordering::Relaxed);
                if reconnects.changed().await.is_err() {
                    return;
                }
            }
            Err(error) => {
                tracing::debug!(error = chain(&error), "the streams cannot be declared yet");
                if !host.drain.sleep(RETRY).await {
                    return;
                }
            }
        }
    }
}
