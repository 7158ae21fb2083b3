//! Metrics of stages.

use super::Metrics;
use domain::Refusal;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundGauge, BoundHistogram};
use signals::metric;
use std::collections::HashMap;
use std::sync::Arc;
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
    rejected: HashMap<Refusal, BoundCounter<u64>>,
    dead: BoundCounter<u64>,
    redeliveries: BoundCounter<u64>,
    halted: BoundGauge<u64>,
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
        let rejected = metrics.counter(&metric::PAYMENTS_REJECTED);
        let bind = |refusal: &Refusal| {
            (*refusal, rejected.bind(&[label.clone(), KeyValue::new("code", refusal.code())]))
        };
        let labels = std::slice::from_ref(&label);
        let instruments = StageMetrics(Arc::new(Instruments {
            stage,
            batch_size: metrics.sizes(&metric::STAGE_BATCH_SIZE).bind(labels),
            duration: metrics.durations(&metric::STAGE_DURATION).bind(labels),
            ends: Ends::of(metrics, stage),
            rejected: Refusal::of_stage(stage).iter().map(bind).collect(),
            dead: metrics.counter(&metric::PAYMENTS_DEAD).bind(labels),
            redeliveries: metrics.counter(&metric::STAGE_REDELIVERIES).bind(labels),
            halted: metrics.gauge(&metric::STAGE_HALTED).bind(labels),
        }));
        instruments.halted(false);
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

    /// This is told of a message that was judged.
    pub fn told(&self, message: &HopMessage) {
        // What a stage tells again of another was counted there.
        let refusal = match message {
            HopMessage::Rejected(rejected) if rejected.rejection.stage == self.0.stage => {
                Some(rejected.rejection.reason)
            }
            HopMessage::Finished(finished) => finished.reason,
            HopMessage::Rejected(_)
            | HopMessage::Accepted(_)
            | HopMessage::Screened(_)
            | HopMessage::Quoted(_)
            | HopMessage::Reserved(_) => None,
        };
        if let Some(counter) = refusal.and_then(|refusal| self.0.rejected.get(&refusal)) {
            counter.add(1);
        }
        if let (HopMessage::Finished(finished), Some(ends)) = (message, &self.0.ends) {
            let micros = (finished.finished_at.micros() - finished.accepted_at.micros()).max(0);
            let took = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            ends.by(finished.status).record(took.as_secs_f64());
        }
    }

    /// A message was buried.
    pub fn buried(&self) {
        self.0.dead.add(1);
    }

    /// Burials are halted, or may go on.
    pub fn halted(&self, is_halted: bool) {
        self.0.halted.record(u64::from(is_halted));
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
