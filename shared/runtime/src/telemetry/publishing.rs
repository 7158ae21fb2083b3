//! Metrics of publishing.

use super::Metrics;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram};
use signals::metric;
use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use wire::{Hop, Role, Subject};

/// What messages of no hop are: buried.
const DEAD: &str = "dead";

domain::closed_set! {
    /// How the messages of a batch are stored.
    Form {
        /// Each by itself.
        Single = "single",
        /// All or none.
        Atomic = "atomic",
    }
}

/// What a role publishes; clones record together.
#[derive(Debug, Clone)]
pub struct PublishMetrics(Arc<Instruments>);

#[derive(Debug)]
struct Instruments {
    sizes: Histogram<u64>,
    commits: Histogram<f64>,
    /// By hop and form; made when the role first publishes such messages.
    pairs: HashMap<(&'static str, Form), OnceLock<Pair>>,
}

#[derive(Debug)]
struct Pair {
    size: BoundHistogram<u64>,
    commit: BoundHistogram<f64>,
}

impl PublishMetrics {
    /// Those of the role whose metrics these are: what it publishes when all goes well is there from the
    /// start.
    pub fn new(metrics: &Metrics) -> PublishMetrics {
        let hops = Hop::ALL.map(Hop::as_str).into_iter().chain([DEAD]);
        let keys = hops.flat_map(|hop| Form::ALL.map(|form| (hop, form)));
        let publishing = PublishMetrics(Arc::new(Instruments {
            sizes: metrics.sizes(&metric::PUBLISH_BATCH_SIZE),
            commits: metrics.durations(&metric::PUBLISH_COMMIT),
            pairs: keys.map(|key| (key, OnceLock::new())).collect(),
        }));
        for hop in usual(metrics.role()) {
            for form in Form::ALL {
                let _ = publishing.0.pair(hop.as_str(), form);
            }
        }
        publishing
    }

    /// So many messages are stored, the first of them under this subject.
    pub(crate) fn stored(&self, subject: &str, count: usize, form: Form, took: Duration) {
        let hop = Subject::hop(subject).map_or(DEAD, Hop::as_str);
        if let Some(pair) = self.0.pair(hop, form) {
            pair.size.record(count as u64);
            pair.commit.record(took.as_secs_f64());
        }
    }
}

impl Instruments {
    fn pair(&self, hop: &'static str, form: Form) -> Option<&Pair> {
        let bind = || {
            let labels = [KeyValue::new("hop", hop), KeyValue::new("form", form.as_str())];
            Pair { size: self.sizes.bind(&labels), commit: self.commits.bind(&labels) }
        };
        Some(self.pairs.get(&(hop, form))?.get_or_init(bind))
    }
}

/// What a role publishes when all goes well.
fn usual(role: Role) -> &'static [Hop] {
    match role {
        Role::Gateway => &[Hop::Accepted],
        Role::Risk => &[Hop::Screened, Hop::Rejected],
        Role::Fx => &[Hop::Quoted, Hop::Rejected],
        Role::Reserve => &[Hop::Reserved, Hop::Rejected],
        Role::Settle => &[Hop::Finished],
        Role::Wallet | Role::Janitor => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_published_has_its_hop_and_its_form() {
        let metrics = Metrics::new(Role::Risk, true).unwrap();
        let publishing = PublishMetrics::new(&metrics);
        for (subject, count, form) in [
            ("pay.screened.3.P1", 12, Form::Atomic),
            ("pay.screened.3.P2", 1, Form::Single),
            ("pay.dead.risk.P3", 1, Form::Single),
        ] {
            publishing.stored(subject, count, form, Duration::from_millis(2));
        }
        let text = String::from_utf8(metrics.render().unwrap()).unwrap();
        for (name, labels, value) in [
            ("publish_batch_size_sum", r#"form="atomic",hop="screened""#, "12"),
            ("publish_commit_seconds_count", r#"form="atomic",hop="screened""#, "1"),
            ("publish_batch_size_count", r#"form="single",hop="screened""#, "1"),
            ("publish_batch_size_count", r#"form="single",hop="dead""#, "1"),
            ("publish_batch_size_count", r#"form="single",hop="rejected""#, "0"),
        ] {
            let line = format!("{name}{{{labels}}} {value}\n");
            assert!(text.contains(&line), "{line} is not in:\n{text}");
        }
        assert!(!text.contains("quoted") && !text.contains(r#"form="atomic",hop="dead""#), "{text}");
    }
}
