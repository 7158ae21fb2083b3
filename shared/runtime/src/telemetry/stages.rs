//! Metrics of stages.

use super::Metrics;
use domain::Refusal;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, Histogram};
use signals::metric;
use std::time::Duration;
use wire::{HopMessage, StageName};

/// The metrics of one stage on one shard.
#[derive(Debug, Clone)]
pub struct StageMetrics {
    stage: StageName,
    shard: u16,
    batch_size: Histogram<u64>,
    duration: Histogram<f64>,
    end_to_end: Histogram<f64>,
    rejected: Counter<u64>,
    dead: Counter<u64>,
    redeliveries: Counter<u64>,
    halted: Gauge<u64>,
    lag: Gauge<u64>,
}

impl StageMetrics {
    /// Those of a stage that the role plays.
    pub fn new(metrics: &Metrics, stage: StageName, shard: u16) -> StageMetrics {
        StageMetrics {
            stage,
            shard,
            batch_size: metrics.sizes(&metric::STAGE_BATCH_SIZE),
            duration: metrics.durations(&metric::STAGE_DURATION),
            end_to_end: metrics.durations(&metric::END_TO_END),
            rejected: metrics.counter(&metric::PAYMENTS_REJECTED),
            dead: metrics.counter(&metric::PAYMENTS_DEAD),
            redeliveries: metrics.counter(&metric::STAGE_REDELIVERIES),
            halted: metrics.gauge(&metric::STAGE_HALTED),
            lag: metrics.gauge(&metric::STAGE_LAG),
        }
    }

    fn label(&self) -> KeyValue {
        KeyValue::new("stage", self.stage.as_str())
    }

    /// A batch was taken, so many of it not for the first time.
    pub fn batch(&self, size: usize, redelivered: usize) {
        self.batch_size.record(size as u64, &[self.label()]);
        if redelivered > 0 {
            self.redeliveries.add(redelivered as u64, &[self.label()]);
        }
    }

    /// A batch was judged, published and acknowledged.
    pub fn judged(&self, took: Duration) {
        self.duration.record(took.as_secs_f64(), &[self.label()]);
    }

    /// This is told of a message that was judged.
    pub fn told(&self, message: &HopMessage) {
        let refusal = match message {
            HopMessage::Rejected(rejected) => Some(rejected.rejection.reason),
            // The one refusal that settle makes itself: what it tells again of other stages was counted
            // there.
            HopMessage::Finished(finished) => {
                finished.reason.filter(|reason| *reason == Refusal::DestinationLimit)
            }
            HopMessage::Accepted(_)
            | HopMessage::Screened(_)
            | HopMessage::Quoted(_)
            | HopMessage::Reserved(_) => None,
        };
        if let Some(refusal) = refusal {
            self.rejected.add(1, &[self.label(), KeyValue::new("code", refusal.code())]);
        }
        if let HopMessage::Finished(finished) = message {
            let micros = (finished.finished_at.micros() - finished.accepted_at.micros()).max(0);
            let took = Duration::from_micros(u64::try_from(micros).unwrap_or(0));
            self.end_to_end.record(took.as_secs_f64(), &[KeyValue::new("status", finished.status.as_str())]);
        }
    }

    /// A message was buried.
    pub fn buried(&self) {
        self.dead.add(1, &[self.label()]);
    }

    /// Burials are halted, or may go on.
    pub fn halted(&self, is_halted: bool) {
        self.halted.record(u64::from(is_halted), &[self.label()]);
    }

    /// So many messages wait.
    pub fn lag(&self, messages: u64) {
        self.lag.record(messages, &[self.label(), KeyValue::new("shard", i64::from(self.shard))]);
    }
}
