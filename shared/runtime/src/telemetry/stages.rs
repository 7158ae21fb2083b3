//! Metrics of stages.

use super::Metrics;
use domain::Refusal;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundGauge, BoundHistogram, Counter};
use signals::metric;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use wire::message::FinalStatus;
use wire::{HopMessage, StageName};

/// The metrics of one stage over all shards; clones record together.
#[derive(Debug, Clone)]
pub struct StageMetrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    stage: StageName,
    batch_size: BoundHistogram<u64>,
    duration: BoundHistogram<f64>,
    /// Of the stages that end payments.
    ends: Option<Ends>,
    refusals: Counter<u64>,
    /// By refusal: those that the stage is known for from the start, any other once it occurs.
    rejected: [OnceLock<BoundCounter<u64>>; Refusal::ALL.len()],
    dead: BoundCounter<u64>,
    redeliveries: BoundCounter<u64>,
    halted: BoundGauge<u64>,
    halted_shards: Mutex<u64>,
}

/// What counts in a message once it is told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Telling {
    refusal: Option<Refusal>,
    end: Option<(FinalStatus, Duration)>,
}

/// From acceptance to the end, by how it ended.
#[derive(Debug)]
struct Ends {
    captured: BoundHistogram<f64>,
    failed: BoundHistogram<f64>,
}

impl StageMetrics {
    /// Those of a stage that the role plays: what counts is there from the start.
    pub fn new(metrics: &Metrics, stage: StageName) -> StageMetrics {
        let label = KeyValue::new("stage", stage.as_str());
        let labels = std::slice::from_ref(&label);
        let instruments = StageMetrics(Arc::new(Instruments {
            stage,
            batch_size: metrics.sizes(&metric::STAGE_BATCH_SIZE).bind(labels),
            duration: metrics.durations(&metric::STAGE_DURATION).bind(labels),
            ends: Ends::of(metrics, stage),
            refusals: metrics.counter(&metric::PAYMENTS_REJECTED),
            rejected: [const { OnceLock::new() }; Refusal::ALL.len()],
            dead: metrics.counter(&metric::PAYMENTS_DEAD).bind(labels),
            redeliveries: metrics.counter(&metric::STAGE_REDELIVERIES).bind(labels),
            halted: metrics.gauge(&metric::STAGE_HALTED).bind(labels),
            halted_shards: Mutex::default(),
        }));
        for refusal in Refusal::of_stage(stage) {
            instruments.0.rejected(*refusal).add(0);
        }
        instruments.0.halted.record(0);
        instruments
    }

    /// A batch was taken, so many of it not for the first time.
    pub fn batch(&self, size: usize, redelivered: usize) {
        self.0.batch_size.record(size as u64);
        if redelivered > 0 {
            self.0.redeliveries.add(redelivered as u64);
        }
    }

    /// A batch was judged, published and acknowledged.
    pub fn judged(&self, took: Duration) {
        self.0.duration.record(took.as_secs_f64());
    }

    /// What will count in this message.
    pub(crate) fn telling(&self, message: &HopMessage) -> Telling {
        // What a stage tells again of another was counted there.
        let refusal = match message {
            HopMessage::Rejected(rejected) if rejected.rejection.stage == self.0.stage => {
                Some(rejected.rejection.reason)
            }
            HopMessage::Finished(finished) if self.0.stage == StageName::Settle => finished.reason,
            HopMessage::Rejected(_)
            | HopMessage::Finished(_)
            | HopMessage::Accepted(_)
            | HopMessage::Screened(_)
            | HopMessage::Quoted(_)
            | HopMessage::Reserved(_) => None,
        };
        let end = match message {
            HopMessage::Finished(finished) => {
                let micros = (finished.finished_at.micros() - finished.accepted_at.micros()).max(0);
                Some((finished.status, Duration::from_micros(u64::try_from(micros).unwrap_or(0))))
            }
            _ => None,
        };
        Telling { refusal, end }
    }

    /// A message is told.
    pub(crate) fn told(&self, telling: Telling) {
        if let Some(refusal) = telling.refusal {
            self.0.rejected(refusal).add(1);
        }
        if let (Some((status, took)), Some(ends)) = (telling.end, &self.0.ends) {
            ends.by(status).record(took.as_secs_f64());
        }
    }

    /// A message was buried.
    pub fn buried(&self) {
        self.0.dead.add(1);
    }

    /// Burials are halted in one more shard, or may go on in one that was.
    pub fn halted(&self, is_halted: bool) {
        // Held while it is told: the last word of two shards must be the later one's.
        let mut shards = self.0.halted_shards.lock().unwrap_or_else(PoisonError::into_inner);
        *shards = if is_halted { *shards + 1 } else { shards.saturating_sub(1) };
        self.0.halted.record(u64::from(*shards > 0));
    }
}

impl Instruments {
    fn rejected(&self, refusal: Refusal) -> &BoundCounter<u64> {
        let stage = KeyValue::new("stage", self.stage.as_str());
        let bind = || self.refusals.bind(&[stage, KeyValue::new("code", refusal.code())]);
        self.rejected[refusal as usize].get_or_init(bind)
    }
}

impl Ends {
    fn of(metrics: &Metrics, stage: StageName) -> Option<Ends> {
        match stage {
            StageName::Settle | StageName::SettleRejected => {}
            StageName::Risk | StageName::Fx | StageName::Reserve => return None,
        }
        let end_to_end = metrics.durations(&metric::END_TO_END);
        let bind = |status: FinalStatus| end_to_end.bind(&[KeyValue::new("status", status.as_str())]);
        Some(Ends { captured: bind(FinalStatus::Captured), failed: bind(FinalStatus::Failed) })
    }

    fn by(&self, status: FinalStatus) -> &BoundHistogram<f64> {
        match status {
            FinalStatus::Captured => &self.captured,
            FinalStatus::Failed => &self.failed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Role;

    fn shows(metrics: &Metrics, row: &str) -> bool {
        String::from_utf8(metrics.render().unwrap()).unwrap().contains(&format!("{row}\n"))
    }

    #[test]
    fn a_stage_is_halted_while_any_of_its_shards_is() {
        let metrics = Metrics::new(Role::Risk, true).unwrap();
        let (first, second) = {
            let stage = StageMetrics::new(&metrics, StageName::Risk);
            (stage.clone(), stage)
        };
        for (shard, is_halted, expected) in
            [(&first, true, 1), (&second, true, 1), (&first, false, 1), (&second, false, 0)]
        {
            shard.halted(is_halted);
            assert!(shows(&metrics, &format!(r#"stage_halted{{stage="risk"}} {expected}"#)), "{is_halted}");
        }
    }

    #[test]
    fn a_refusal_that_no_stage_is_known_for_is_counted_too() {
        let metrics = Metrics::new(Role::Risk, true).unwrap();
        let stage = StageMetrics::new(&metrics, StageName::Risk);
        for refusal in Refusal::ALL {
            let row = |count| format!(r#"payments_rejected_total{{code="{refusal}",stage="risk"}} {count}"#);
            let is_known = Refusal::of_stage(StageName::Risk).contains(refusal);
            assert_eq!(shows(&metrics, &row(0)), is_known, "{refusal}");
            stage.told(Telling { refusal: Some(*refusal), end: None });
            assert!(shows(&metrics, &row(1)), "{refusal}");
        }
    }
}
