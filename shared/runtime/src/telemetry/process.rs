//! What there is once a process, whatever it plays: its resources, its tasks, its release.
//!
//! Read from `/proc` at each scrape, under the names that every Prometheus client gives these figures. The
//! collector of the `prometheus` crate counts processor time in whole seconds, of which a busy process has
//! five between two scrapes.

use super::Metrics;
use opentelemetry::KeyValue;
use signals::metric;
use std::fs;
use std::time::Duration;

/// Of `/proc`: the kernel tells every program of 100 ticks a second, whatever it counts itself.
const TICKS_PER_SECOND: u64 = 100;

/// The places of figures in `/proc/self/stat`, from the process' state on, which is the first that is no name.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

/// Shows the process on this role's port. To be called in the runtime that the tasks run in.
pub fn observe_process(metrics: &Metrics, program: &'static str) {
    let release = [KeyValue::new("program", program), KeyValue::new("version", env!("CARGO_PKG_VERSION"))];
    metrics.observed(&metric::BUILD_INFO, move |show| show(1, &release));
    observe_resources(metrics);
    observe_tasks(metrics);
}

fn observe_resources(metrics: &Metrics) {
    metrics.observed_seconds(&metric::PROCESS_CPU, || {
        let stat = text("/proc/self/stat");
        ticks(stat_field(&stat, USER_TICKS) + stat_field(&stat, SYSTEM_TICKS))
    });
    let started_at = boot_seconds() + ticks(stat_field(&text("/proc/self/stat"), START_TICKS)).as_secs();
    metrics.observed(&metric::PROCESS_START, move |show| show(started_at, &[]));
    for (metric, field) in [
        (metric::PROCESS_RESIDENT, "VmRSS:"),
        (metric::PROCESS_VIRTUAL, "VmSize:"),
        (metric::PROCESS_THREADS, "Threads:"),
    ] {
        // Sizes are told in kibibytes.
        let factor = if field.starts_with("Vm") { 1_024 } else { 1 };
        metrics.observed(&metric, move |show| {
            show(field_after(&text("/proc/self/status"), field).saturating_mul(factor), &[]);
        });
    }
    metrics.observed(&metric::PROCESS_OPEN_FILES, |show| {
        show(fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64), &[]);
    });
    metrics.observed(&metric::PROCESS_OPEN_FILES_MAX, |show| {
        show(field_after(&text("/proc/self/limits"), "Max open files"), &[]);
    });
}

fn observe_tasks(metrics: &Metrics) {
    let tokio = tokio::runtime::Handle::current().metrics();
    let (workers, tasks, queue) = (tokio.clone(), tokio.clone(), tokio.clone());
    metrics.observed(&metric::TOKIO_WORKERS, move |show| show(workers.num_workers() as u64, &[]));
    metrics.observed(&metric::TOKIO_TASKS, move |show| show(tasks.num_alive_tasks() as u64, &[]));
    metrics.observed(&metric::TOKIO_QUEUE, move |show| show(queue.global_queue_depth() as u64, &[]));
    metrics.observed_seconds(&metric::TOKIO_BUSY, move || {
        (0..tokio.num_workers()).map(|worker| tokio.worker_total_busy_duration(worker)).sum()
    });
}

/// A file of `/proc`; empty where there is none, and then its figures are 0.
fn text(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn ticks(count: u64) -> Duration {
    Duration::from_millis(count.saturating_mul(1_000 / TICKS_PER_SECOND))
}

/// The program's name stands in parentheses, and may have any character.
fn stat_field(stat: &str, place: usize) -> u64 {
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_ascii_whitespace().nth(place).and_then(|field| field.parse().ok()).unwrap_or(0)
}

/// The first number after the name of a line.
fn field_after(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("");
    line.split_ascii_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn boot_seconds() -> u64 {
    field_after(&text("/proc/stat"), "btime")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_found_whatever_the_program_is_called() {
        let fields: Vec<String> = (0..30).map(|place| (place * 10).to_string()).collect();
        for name in ["stages", "a b", "x) S 9 9", "("] {
            let stat = format!("4711 ({name}) {}", fields.join(" "));
            let found = [USER_TICKS, SYSTEM_TICKS, START_TICKS].map(|place| stat_field(&stat, place));
            assert_eq!(found, [110, 120, 190], "{name}");
        }
        for (text, name, expected) in [
            ("VmPeak:\t 9 kB\nVmRSS:\t  2048 kB\n", "VmRSS:", 2_048),
            (
                "Max open files            1024                 4096                 files",
                "Max open files",
                1_024,
            ),
            (
                "Max open files            unlimited            unlimited            files",
                "Max open files",
                0,
            ),
            ("", "VmRSS:", 0),
        ] {
            assert_eq!(field_after(text, name), expected, "{text}");
        }
        assert_eq!(ticks(150), Duration::from_millis(1_500));
    }

    #[test]
    fn this_process_has_figures() {
        let stat = text("/proc/self/stat");
        assert!(stat_field(&stat, START_TICKS) > 0 && boot_seconds() > 1_500_000_000, "{stat}");
        assert!(field_after(&text("/proc/self/status"), "VmRSS:") > 0);
        assert!(field_after(&text("/proc/self/limits"), "Max open files") > 0);
    }
}
