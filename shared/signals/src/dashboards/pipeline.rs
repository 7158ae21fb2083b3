//! For whoever asks where payments wait: the stages, what they publish, and the streams between them.

use crate::metric::{self, Metric};
use crate::panel::{Colour, Dashboard, Drawing, Panel, Row, Unit};
use crate::query::{Expression, Series, mean, quantile};

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "kilat-pipeline",
        title: "Kilat: pipeline and NATS",
        description: "Where payments wait, and what holds them up",
        rows: vec![first(), stages(), waiting(), again(), publishing(), streams(), rates()],
    }
}

/// How full each stream is that has a bound.
fn filling() -> Expression {
    let bound = Series::of(&metric::STREAM_BYTES_MAX).now().max(&["stream_name"]).only("> 0").grouped();
    Series::of(&metric::STREAM_BYTES).now().max(&["stream_name"]).part_of(bound)
}

/// A figure of each consumer; every janitor tells the same.
fn by_consumer(metric: &Metric) -> Expression {
    Series::of(metric).now().max(&["stream_name", "consumer_name"])
}

fn first() -> Row {
    let panels = vec![
        Panel::new(
            "deepest-lag",
            "Deepest lag",
            "How many messages wait for the stage that is furthest behind?",
        )
        .drawn(Drawing::Number)
        .asking(
            "messages",
            Series::of(&metric::STAGE_LAG).now().max(&["stage", "shard"]).sum(&["stage"]).max(&[]),
        )
        .from(1_000.0, Colour::Yellow)
        .from(10_000.0, Colour::Red),
        Panel::new(
            "busiest-stage",
            "Busiest stage",
            "Is a stage at the end of its strength? Shards add up, each to 1.",
        )
        .drawn(Drawing::Number)
        .unit(Unit::Part)
        .asking("of its time", Series::sum_of(&metric::STAGE_DURATION).rate().sum(&["stage"]).max(&[]))
        .from(0.8, Colour::Yellow)
        .from(0.95, Colour::Red),
        Panel::new("fullest-stream", "Fullest stream", "Does a stream come near its bound?")
            .drawn(Drawing::Number)
            .unit(Unit::Part)
            .asking("of its bytes", filling().max(&[]))
            .from(0.5, Colour::Yellow)
            .from(0.9, Colour::Red),
        Panel::new(
            "halted-stages",
            "Halted stages",
            "Does a stage have so much to bury that it buries nothing?",
        )
        .drawn(Drawing::Number)
        .asking("stages", Series::of(&metric::STAGE_HALTED).now().max(&["stage"]).sum(&[]))
        .from(1.0, Colour::Red),
        Panel::new(
            "unacknowledged",
            "In the hands of stages",
            "How many messages are delivered and not done?",
        )
        .drawn(Drawing::Number)
        .asking("messages", by_consumer(&metric::CONSUMER_ACK_PENDING).sum(&[])),
        Panel::new("rate-age", "Age of live rates", "How old is the oldest rate that should be kept fresh?")
            .drawn(Drawing::Number)
            .unit(Unit::Seconds)
            .asking("oldest", Series::of(&metric::RATE_AGE).with("source", "live").now().max(&[]))
            .from(43_200.0, Colour::Yellow)
            .from(64_800.0, Colour::Red),
    ];
    Row { title: "Where payments wait", height: 5, panels }
}

fn stages() -> Row {
    let duration = || Series::buckets_of(&metric::STAGE_DURATION);
    let panels = vec![
        Panel::new("stage-messages", "Messages/s by stage", "How fast is each stage?")
            .unit(Unit::PerSecond)
            .asking("{{stage}}", Series::sum_of(&metric::STAGE_BATCH_SIZE).rate().sum(&["stage"])),
        Panel::new("stage-batch-size", "Batch size by stage", "How much does each stage take at once?")
            .asking("{{stage}}", mean(&metric::STAGE_BATCH_SIZE, &["stage"])),
        Panel::new(
            "stage-duration",
            "Batch duration by stage",
            "How long does a batch take, most and worst?",
        )
        .unit(Unit::Seconds)
        .asking("{{stage}} p50", quantile("0.5", duration(), &["stage"]))
        .asking("{{stage}} p99", quantile("0.99", duration(), &["stage"])),
        Panel::new(
            "stage-busy",
            "Busy by stage",
            "Which stage has no time left, and so sets the pace? Shards add up, each to 1.",
        )
        .unit(Unit::Part)
        .asking("{{stage}}", Series::sum_of(&metric::STAGE_DURATION).rate().sum(&["stage"]))
        .from(0.95, Colour::Red),
    ];
    Row { title: "Stages", height: 8, panels }
}

fn waiting() -> Row {
    let panels = vec![
        Panel::new(
            "stage-lag",
            "Lag by stage",
            "How many messages wait for each stage, or are in its hands?",
        )
        .asking("{{stage}} {{shard}}", Series::of(&metric::STAGE_LAG).now().max(&["stage", "shard"]))
        .from(1_000.0, Colour::Yellow),
        Panel::new(
            "stage-backlog-age",
            "Backlog age by stage",
            "For how long has the oldest of them waited?",
        )
        .unit(Unit::Seconds)
        .asking("{{stage}} {{shard}}", Series::of(&metric::STAGE_BACKLOG_AGE).now().max(&["stage", "shard"]))
        .from(10.0, Colour::Red),
        Panel::new("consumer-pending", "Not delivered", "What has the broker not handed out yet?")
            .asking("{{stream_name}} {{consumer_name}}", by_consumer(&metric::CONSUMER_PENDING)),
        Panel::new("consumer-unacknowledged", "Not acknowledged", "What have stages taken and not finished?")
            .asking("{{stream_name}} {{consumer_name}}", by_consumer(&metric::CONSUMER_ACK_PENDING)),
    ];
    Row { title: "Waiting", height: 8, panels }
}

fn again() -> Row {
    let panels = vec![
        Panel::new(
            "redeliveries",
            "Redeliveries/s by stage",
            "Which stage is given messages more than once?",
        )
        .unit(Unit::PerSecond)
        .asking("{{stage}}", Series::of(&metric::STAGE_REDELIVERIES).rate().sum(&["stage"])),
        Panel::new(
            "consumer-redelivered",
            "Redelivered now",
            "How many unfinished messages came back before?",
        )
        .asking("{{stream_name}} {{consumer_name}}", by_consumer(&metric::CONSUMER_REDELIVERED)),
        Panel::new(
            "brought-back",
            "Brought back/s",
            "Does the janitor find payments that were lost on the way?",
        )
        .unit(Unit::PerSecond)
        .asking("accepted again", Series::of(&metric::PAYMENTS_REDRIVEN).rate().sum(&[]))
        .asking("emitted again", Series::of(&metric::PAYMENTS_EMITTED_AGAIN).rate().sum(&[])),
        Panel::new("stage-halted", "Halted by stage", "Which stage has stopped burying? 1: it has.")
            .asking("{{stage}}", Series::of(&metric::STAGE_HALTED).now().max(&["stage"]))
            .from(1.0, Colour::Red),
    ];
    Row { title: "Again", height: 8, panels }
}

fn publishing() -> Row {
    let commit = || Series::buckets_of(&metric::PUBLISH_COMMIT);
    let panels = vec![
        Panel::new("published", "Published/s", "How much is published to each hop, and in which form?")
            .unit(Unit::PerSecond)
            .asking(
                "{{hop}} {{form}}",
                Series::sum_of(&metric::PUBLISH_BATCH_SIZE).rate().sum(&["hop", "form"]),
            ),
        Panel::new("publish-batch-size", "Published at once", "Do batches grow with the load?")
            .asking("{{hop}} {{form}}", mean(&metric::PUBLISH_BATCH_SIZE, &["hop", "form"])),
        Panel::new("publish-commit", "Commit time by form", "How long until the broker has stored a batch?")
            .unit(Unit::Seconds)
            .asking("{{form}} p50", quantile("0.5", commit(), &["form"]))
            .asking("{{form}} p99", quantile("0.99", commit(), &["form"]))
            .from(0.1, Colour::Yellow),
    ];
    Row { title: "Publishing", height: 8, panels }
}

fn streams() -> Row {
    let by_stream = |metric: &Metric| Series::of(metric).now().max(&["stream_name"]);
    let panels = vec![
        Panel::new("stream-messages", "Messages by stream", "How much does each stream keep?")
            .asking("{{stream_name}}", by_stream(&metric::STREAM_MESSAGES)),
        Panel::new("stream-bytes", "Bytes by stream", "How much room does it take?")
            .unit(Unit::Bytes)
            .asking("{{stream_name}}", by_stream(&metric::STREAM_BYTES)),
        Panel::new("stream-filling", "Filling by stream", "Which stream comes near its bound of bytes?")
            .unit(Unit::Part)
            .asking("{{stream_name}}", filling())
            .from(0.5, Colour::Yellow)
            .from(0.9, Colour::Red),
    ];
    Row { title: "Streams", height: 8, panels }
}

fn rates() -> Row {
    let panels = vec![
        Panel::new("rate-age-by-source", "Age of the oldest rate by source", "Are rates kept fresh?")
            .unit(Unit::Seconds)
            .asking("{{source}}", Series::of(&metric::RATE_AGE).now().max(&["source"])),
        Panel::new("rates-by-source", "Rates in the book by source", "Where do rates come from?")
            .asking("{{source}}", Series::of(&metric::RATES).now().max(&["source"])),
    ];
    Row { title: "Rates", height: 8, panels }
}
