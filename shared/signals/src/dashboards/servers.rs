//! For whoever asks what it runs on: Postgres, our processes, the machine.

use crate::metric;
use crate::panel::{Colour, Dashboard, Drawing, Panel, Row, Source, Unit};
use crate::query::{Expression, Series};
use crate::rules::disk_left;

pub(super) fn dashboard() -> Dashboard {
    Dashboard {
        uid: "kilat-servers",
        title: "Kilat: Postgres and host",
        description: "What payments run on, and how much of it is left",
        rows: vec![
            first(),
            postgres(),
            tables(),
            sessions(),
            pools(),
            processes(),
            runtime(),
            host(),
            exporter(),
        ],
    }
}

/// What part of the blocks that were needed lay in Postgres' own memory.
fn cache_hits() -> Expression {
    let blocks = || Series::of(&metric::BLOCKS_READ);
    let all = of_the_server(blocks(), &["from"]).sum(&[]);
    of_the_server(blocks().with("from", "memory"), &[]).part_of(all)
}

/// How fast a figure of the server grows. Every janitor tells the same: they do not add up.
fn of_the_server(counter: Series, by: &[&str]) -> Expression {
    counter.rate().max(by)
}

fn first() -> Row {
    let panels = vec![
        Panel::new("database-size", "Database", "How large is the ledger?")
            .drawn(Drawing::Number)
            .unit(Unit::Bytes)
            .asking("bytes", Series::of(&metric::DATABASE_BYTES).now().max(&[])),
        Panel::new("sessions-part", "Sessions", "How many of Postgres' sessions are taken?")
            .drawn(Drawing::Number)
            .unit(Unit::Part)
            .asking(
                "of its bound",
                Series::of(&metric::SESSIONS)
                    .now()
                    .max(&["state"])
                    .sum(&[])
                    .part_of(Series::of(&metric::SESSIONS_MAX).now().max(&[])),
            )
            .from(0.7, Colour::Yellow)
            .from(0.9, Colour::Red),
        Panel::new("cache-hits", "Cache hits", "Does what is needed lie in memory?")
            .drawn(Drawing::Number)
            .unit(Unit::Part)
            .asking("of all blocks", cache_hits()),
        Panel::new(
            "lock-waits",
            "Waiting for locks",
            "How many sessions wait for each other? Only those of our services are seen.",
        )
        .drawn(Drawing::Number)
        .asking("sessions", Series::of(&metric::LOCK_WAITS).now().max(&[]))
        .from(3.0, Colour::Yellow)
        .from(10.0, Colour::Red),
        Panel::new(
            "oldest-transaction",
            "Oldest transaction",
            "Does something keep old rows from being cleaned? Only our services are seen.",
        )
        .drawn(Drawing::Number)
        .unit(Unit::Seconds)
        .asking("open for", Series::of(&metric::OLDEST_TRANSACTION).now().max(&[]))
        .from(10.0, Colour::Yellow)
        .from(300.0, Colour::Red),
        Panel::new("targets-down", "Targets down", "How many of those that should be scraped do not answer?")
            .drawn(Drawing::Number)
            .asking("down", Series::named("up").now().only("== 0").grouped().count().or_zero())
            .from(1.0, Colour::Red),
    ];
    Row { title: "What is left", height: 5, panels }
}

fn postgres() -> Row {
    let panels = vec![
        Panel::new("transactions", "Transactions/s", "How much does Postgres do, and how much for nothing?")
            .unit(Unit::PerSecond)
            .asking("{{outcome}}", of_the_server(Series::of(&metric::TRANSACTIONS), &["outcome"])),
        Panel::new("write-ahead-log", "Write-ahead log", "How much does it write to stay durable?")
            .unit(Unit::BytesPerSecond)
            .asking("written", of_the_server(Series::of(&metric::WAL_BYTES), &[])),
        Panel::new("blocks", "Blocks/s", "Where are the blocks found that are needed?")
            .unit(Unit::PerSecond)
            .asking("{{from}}", of_the_server(Series::of(&metric::BLOCKS_READ), &["from"])),
        Panel::new("checkpoints", "Checkpoints/s", "Are checkpoints forced, more often than by the clock?")
            .unit(Unit::PerSecond)
            .asking("{{cause}}", of_the_server(Series::of(&metric::CHECKPOINTS), &["cause"])),
    ];
    Row { title: "Postgres", height: 8, panels }
}

fn tables() -> Row {
    let rows = |state| Series::of(&metric::TABLE_ROWS).with("state", state).now().max(&["table"]);
    let panels = vec![
        Panel::new("table-bytes", "Size by table", "Which table grows?")
            .unit(Unit::Bytes)
            .asking("{{table}}", Series::of(&metric::TABLE_BYTES).now().max(&["table"])),
        Panel::new("table-rows", "Rows by table", "How many rows has each?")
            .asking("{{table}}", rows("live")),
        Panel::new("dead-rows", "Dead rows by table", "Does vacuum keep up?")
            .asking("{{table}}", rows("dead")),
    ];
    Row { title: "Tables", height: 8, panels }
}

fn sessions() -> Row {
    let panels = vec![
        Panel::new("sessions", "Sessions by state", "Who is connected, and what do they do?")
            .drawn(Drawing::Areas)
            .asking("{{state}}", Series::of(&metric::SESSIONS).now().max(&["state"])),
        Panel::new("lock-waits-over-time", "Waiting for locks", "When did sessions of our services wait?")
            .asking("sessions", Series::of(&metric::LOCK_WAITS).now().max(&[])),
        Panel::new(
            "oldest-transaction-over-time",
            "Oldest transaction",
            "When was one of our services open for long?",
        )
        .unit(Unit::Seconds)
        .asking("open for", Series::of(&metric::OLDEST_TRANSACTION).now().max(&[])),
        Panel::new("deadlocks", "Deadlocks/s", "Does anyone break the order of locks?")
            .unit(Unit::PerSecond)
            .asking("ended", of_the_server(Series::of(&metric::DEADLOCKS), &[]))
            .from(0.001, Colour::Red),
    ];
    Row { title: "Sessions and locks", height: 8, panels }
}

fn pools() -> Row {
    let pool = ["service", "instance"];
    let used = Series::of(&metric::POOL_CONNECTIONS).with("state", "busy").now().sum(&pool);
    let bound = Series::of(&metric::POOL_CONNECTIONS_MAX).now().max(&pool);
    let panels = vec![
        Panel::new("pool-connections", "Connections by role", "What does each role's pool hold?").asking(
            "{{service}} {{state}}",
            Series::of(&metric::POOL_CONNECTIONS).now().sum(&["service", "state"]),
        ),
        Panel::new("pool-filling", "Busy part of each pool", "Does a role wait for a connection?")
            .unit(Unit::Part)
            .asking("{{service}} {{instance}}", used.part_of(bound))
            .from(0.8, Colour::Yellow)
            .from(1.0, Colour::Red),
    ];
    Row { title: "Connections of our roles", height: 8, panels }
}

/// A figure of a process by the program that it is. All roles of a process share it, and only one of their
/// ports shows it, so the job says less.
fn by_program(figure: Expression) -> Expression {
    figure.labelled("program", Series::of(&metric::BUILD_INFO).now())
}

/// Likewise; of a process that is none of ours the job says which it is.
fn by_process(figure: Expression, fold: fn(Expression, &[&str]) -> Expression) -> Expression {
    let ours = fold(by_program(figure.clone()), &["program"]);
    let others = figure.unless_on("instance", Series::of(&metric::BUILD_INFO).now());
    ours.or(fold(others, &["job"]))
}

fn processes() -> Row {
    let files = Series::named("process_open_fds").now().part_of(Series::named("process_max_fds").now());
    let age = Series::named("process_start_time_seconds").now().ago();
    let legend = "{{program}}{{job}}";
    let panels = vec![
        Panel::new("process-cpu", "CPU by process", "Who uses the cores? 1 is one core.")
            .asking(legend, by_process(Series::named("process_cpu_seconds_total").rate(), Expression::sum)),
        Panel::new("process-memory", "Memory by process", "Does someone's memory grow?")
            .unit(Unit::Bytes)
            .asking(
                legend,
                by_process(Series::named("process_resident_memory_bytes").now(), Expression::sum),
            ),
        Panel::new(
            "process-files",
            "Open files by process",
            "Does someone come near the bound of open files?",
        )
        .unit(Unit::Part)
        .asking(legend, by_process(files.grouped(), Expression::max))
        .from(0.8, Colour::Red),
        Panel::new("process-age", "Running for", "Who has started again lately?")
            .unit(Unit::Seconds)
            .asking(legend, by_process(age.grouped(), Expression::min)),
    ];
    Row { title: "Processes", height: 8, panels }
}

fn runtime() -> Row {
    let by = |figure| by_program(figure).sum(&["program"]);
    let workers = by(Series::of(&metric::TOKIO_WORKERS).now());
    let panels = vec![
        Panel::new("tokio-busy", "Busy part of workers", "Is a process at the end of its threads?")
            .unit(Unit::Part)
            .asking("{{program}}", by(Series::of(&metric::TOKIO_BUSY).rate()).part_of(workers))
            .from(0.9, Colour::Yellow),
        Panel::new("tokio-queue", "Tasks that wait", "Do tasks wait for a thread?")
            .asking("{{program}}", by(Series::of(&metric::TOKIO_QUEUE).now()))
            .asking("{{program}} alive", by(Series::of(&metric::TOKIO_TASKS).now())),
        Panel::new("spans", "Spans/s by outcome", "Do sampled traces arrive?").unit(Unit::PerSecond).asking(
            "{{service}} {{outcome}}",
            Series::of(&metric::SPANS).rate().sum(&["service", "outcome"]),
        ),
        Panel::new("builds", "Builds", "Which version of which program runs?")
            .drawn(Drawing::Table)
            .asking("{{program}}", Series::of(&metric::BUILD_INFO).now().max(&["job", "program", "version"])),
    ];
    Row { title: "Inside our processes", height: 8, panels }
}

fn host() -> Row {
    let node = |id, title, question| Panel::new(id, title, question).of(Source::NodeExporter);
    let memory = |name: &str| Series::named(name).now().max(&["instance"]);
    let panels = vec![
        node("host-cpu", "Cores by mode", "What are the cores doing?").drawn(Drawing::Areas).asking(
            "{{mode}}",
            Series::named("node_cpu_seconds_total").without("mode", "idle").rate().sum(&["mode"]),
        ),
        node("host-memory", "Memory left", "How much memory is left to the machine?")
            .unit(Unit::Part)
            .asking(
                "{{instance}}",
                memory("node_memory_MemAvailable_bytes").part_of(memory("node_memory_MemTotal_bytes")),
            ),
        node("host-disk-left", "Disk left", "How much room is left on each disk?")
            .unit(Unit::Part)
            .asking("{{instance}} {{device}}", disk_left()),
        node("host-disk-busy", "Disk busy", "Which disk is at the end of its strength?")
            .unit(Unit::Part)
            .asking(
                "{{instance}} {{device}}",
                Series::named("node_disk_io_time_seconds_total").rate().sum(&["instance", "device"]),
            )
            .from(0.9, Colour::Yellow),
    ];
    Row { title: "Host, where node-exporter runs", height: 8, panels }
}

fn exporter() -> Row {
    let exported = |id, title, question| Panel::new(id, title, question).of(Source::PostgresExporter);
    let panels = vec![
        exported("exporter-activity", "Sessions by database", "Who else uses this Postgres?").asking(
            "{{datname}} {{state}}",
            Series::named("pg_stat_activity_count").now().sum(&["datname", "state"]),
        ),
        exported("exporter-rows", "Rows/s written", "How many rows are inserted and changed?")
            .unit(Unit::PerSecond)
            .asking(
                "{{datname}} inserted",
                Series::named("pg_stat_database_tup_inserted").rate().sum(&["datname"]),
            )
            .asking(
                "{{datname}} changed",
                Series::named("pg_stat_database_tup_updated").rate().sum(&["datname"]),
            ),
        exported("exporter-locks", "Locks by mode", "Which locks are held?")
            .asking("{{mode}}", Series::named("pg_locks_count").now().sum(&["mode"])),
    ];
    Row { title: "All databases, where postgres-exporter runs", height: 8, panels }
}
