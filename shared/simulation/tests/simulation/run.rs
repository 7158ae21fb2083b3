//! One run: a world, its clients and its faults, from one seed to its end.

use crate::chance::Chance;
use crate::conditions::Conditions;
use crate::door::Street;
use crate::faults::{Fault, Plan};
use crate::guards::Guard;
use crate::steps::Steps;
use crate::strikes;
use crate::tally::Tally;
use crate::world::World;
use crate::{clients, ending};
use std::panic::AssertUnwindSafe;
use std::time::Duration;

/// Where only locks are in the way, everybody else has ended after this.
const PROGRESS: Duration = Duration::from_secs(90);

/// What one run is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) seed: u64,
    /// The rule that is taken out.
    pub(crate) removed: Option<Guard>,
    /// Whether its steps are kept, to be read.
    pub(crate) is_told: bool,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) seed: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) tally: Tally,
    /// The faults that were enabled.
    pub(crate) plan: Vec<Fault>,
    pub(crate) steps: Vec<String>,
}

impl Run {
    pub(crate) fn of(seed: u64) -> Run {
        Run { seed, removed: None, is_told: false }
    }

    /// Runs it to its end, in this thread and in no time.
    pub(crate) fn play(self) -> Outcome {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = runtime.unwrap();
        let conditions = runtime.block_on(async {
            let chance = Chance::new(self.seed);
            let plan = Plan::draw(&chance);
            Conditions::new(chance, Steps::new(self.is_told), plan, self.removed)
        });
        let living = AssertUnwindSafe(|| runtime.block_on(live(&conditions)));
        if let Err(panic) = std::panic::catch_unwind(living) {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
            conditions.violated(format!("panicked: {}", text.unwrap_or_default()));
        }
        drop(runtime);
        let (tally, violations) = conditions.found();
        let (plan, steps) = (conditions.plan().faults().collect(), conditions.steps().lines());
        Outcome { seed: self.seed, violations, tally, plan, steps }
    }
}

async fn live(conditions: &Conditions) {
    conditions.tell("world", || {
        let faults: Vec<&str> = conditions.plan().faults().map(Fault::name).collect();
        format!("faults of this run: {}", faults.join("; "))
    });
    let world = World::begin(conditions.clone()).await;
    let history = world.history.clone();
    world.spawn(strikes::strike(world.clone()));
    let clients = clients::start(&Street(world.clone()), &history);
    tokio::time::sleep(conditions.chance().seconds(20..60)).await;
    let before = ending::on_their_way(&world);
    if ending::has_only_locks(&world) {
        tokio::time::sleep(PROGRESS).await;
        ending::check_progress(&world, &before);
    } else {
        tokio::time::sleep(conditions.chance().seconds(20..70)).await;
    }
    strikes::end(&world);
    clients.ended().await;
    ending::come_to_rest(&world, &history).await;
    ending::check(&world, &history);
}
