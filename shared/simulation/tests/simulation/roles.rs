//! What runs in a process of each role: what the programs run, on the links of that process.

use crate::broker_link::BrokerLink;
use crate::process::Process;
use crate::worker::WorkerTransport;
use crate::world::World;
use gateway::border::{Border, BorderParts};
use host::LedgerLetters;
use runtime::broker::{MemoryTransport, Streams};
use runtime::drain::Drain;
use runtime::stage::Stage;
use runtime::telemetry::Traces;
use stages::workers::{Bench, Inputs, Workshop};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use wire::StageName;

/// Between two attempts of a gateway to declare the streams.
const RETRY: Duration = Duration::from_millis(500);

/// Starts a process; `place` is that of the process among all.
pub(crate) async fn start(world: Arc<World>, process: Arc<Process>, place: usize) -> JoinSet<()> {
    match process.role {
        "gateway" => gateway(&world, &process, place),
        "janitor" => janitor(&world, &process),
        role => stages(&world, &process, role),
    }
}

/// The gateways are the first processes, so that their places are those of their borders.
fn gateway(world: &Arc<World>, process: &Arc<Process>, place: usize) -> JoinSet<()> {
    let streams = world.broker_of(process);
    let conditions = world.conditions.clone();
    let fresh_id = move || format!("fresh-{:08x}", conditions.chance().below(1 << 32));
    let (border, mut tasks) = Border::start(BorderParts {
        streams: streams.clone(),
        look_ups: world.ledger_of(process),
        reads: world.ledger_of(process),
        config: &world.config,
        fresh_id: Arc::new(fresh_id),
        metrics: &world.metrics,
        traces: Traces::inert(),
        drain: process.drain(),
    });
    world.borders.lock().unwrap()[place] = Some(Arc::new(border));
    let of_end = world.clone();
    process.at_its_end(move || of_end.borders.lock().unwrap()[place] = None);
    tasks.spawn(declare(streams, world.clone(), process.drain()));
    tasks
}

/// As the gateway does at its start; it goes on as long as the process, which is how parts of one are told
/// from parts that have failed.
async fn declare(streams: BrokerLink, world: Arc<World>, drain: Drain) {
    while streams.declare_all(&world.config.pipeline).await.is_err() && drain.sleep(RETRY).await {}
    drain.begun().await;
}

fn workshop(world: &World, process: &Arc<Process>) -> Workshop<BrokerLink> {
    let (config, metrics) = (world.config.clone(), world.metrics.clone());
    let (streams, clock, drain) = (world.broker_of(process), process.clock(), process.drain());
    Workshop::new(streams, config, metrics, Traces::inert(), clock, drain)
}

fn janitor(world: &World, process: &Arc<Process>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(workshop(world, process).janitor(world.ledger_of(process)));
    tasks
}

fn stages(world: &Arc<World>, process: &Arc<Process>, role: &str) -> JoinSet<()> {
    let workshop = workshop(world, process);
    let letters = LedgerLetters::new(world.ledger_of(process));
    let mut tasks = JoinSet::new();
    if role == "fx" {
        let told = workshop.clone();
        world.rates.follow(&process.name, move |event| told.tell_rates(event));
    }
    let every = Duration::from_millis(world.config.pipeline.dead_refresh_ms);
    tasks.spawn(letters.clone().refresh(every, process.drain()));
    let played = StageName::ALL.into_iter().filter(|stage| wire::Role::playing(*stage).as_str() == role);
    for stage in played {
        for shard in 0..workshop.shards(stage) {
            let inputs = Links { world: world.clone(), process: process.clone() };
            let bench = Bench { ledger: world.ledger_of(process), inputs, dead_letters: letters.clone() };
            tasks.spawn(workshop.clone().stage(stage, shard, bench));
            if stage != StageName::Risk {
                tasks.spawn(workshop.clone().trimming(stage, shard));
            }
        }
    }
    tasks
}

/// The inputs of one process' stages.
struct Links {
    world: Arc<World>,
    process: Arc<Process>,
}

impl Inputs for Links {
    type Transport = WorkerTransport;

    fn input<S: Stage>(&self, shard: u16) -> WorkerTransport {
        let (broker, pipeline) = (self.world.broker_of(&self.process), self.world.config.pipeline.clone());
        let inner = MemoryTransport::new::<S>(self.world.streams.clone(), shard, pipeline.clone());
        WorkerTransport::new(inner, broker, S::NAME, pipeline)
    }
}
