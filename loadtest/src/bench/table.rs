//! The figures for people, each with its ratio and the bound that it is held to.

use super::figures::{Named, Spread, rounded};
use super::knee::SETTLE_P99_MS;
use super::processes::OWN;
use super::report::{Held, Report, Uniform};
use crate::output::grouped;
use crate::replay::latencies::Quantiles;

/// What a figure is held to.
#[derive(Debug, Clone, PartialEq)]
struct Bound {
    text: String,
    holds: bool,
}

/// A line of the table.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    what: String,
    figure: String,
    of: String,
    bound: Option<Bound>,
}

fn line(what: &str, figure: String, of: String) -> Line {
    Line { what: what.to_owned(), figure, of, bound: None }
}

impl Line {
    fn at_least(self, value: f64, bound: f64, aim: &str) -> Line {
        Line { bound: Some(Bound { text: format!(">= {bound}{aim}"), holds: value >= bound }), ..self }
    }

    fn at_most(self, value: f64, bound: f64, unit: &str, aim: &str) -> Line {
        Line { bound: Some(Bound { text: format!("<= {bound}{unit}{aim}"), holds: value <= bound }), ..self }
    }
}

/// The whole table.
pub(crate) fn render(report: &Report) -> String {
    let mut text = head(report);
    for Line { what, figure, of, bound } in lines(report) {
        let bound = bound.map_or_else(String::new, |bound| {
            format!("{:<19}{}", bound.text, if bound.holds { "ok" } else { "short" })
        });
        text.push_str(format!("  {what:<24}{figure:>11}  {bound:<26}{of}").trim_end());
        text.push('\n');
    }
    text.push_str(&tail(report));
    text
}

fn head(report: &Report) -> String {
    let Report { versions, settings, .. } = report;
    let kind = if report.quick { "QUICK, one short pair: an impression, no result" } else { "whole" };
    let ledger = &settings.ledger;
    let disk = report.uniform.spread.get("fdatasync_us").copied().unwrap_or_default();
    format!(
        "benchmark ({kind})\n  {} cores, {}, {} MB, Linux {}\n  \
         nats-server {}, Postgres {}, {}, commit {}\n  \
         fsync {}, synchronous_commit {}, full_page_writes {}, sync_interval {}, fdatasync {} us ({:.0} to {:.0})\n\n",
        versions.cores,
        versions.cpu,
        grouped(versions.memory_mb),
        versions.kernel,
        versions.nats_server,
        versions.postgres,
        versions.rustc,
        versions.commit,
        ledger.fsync,
        ledger.synchronous_commit,
        ledger.full_page_writes,
        settings.sync_interval,
        report.fdatasync_us,
        disk.min,
        disk.max,
    )
}

fn lines(report: &Report) -> Vec<Line> {
    let mut lines = flat_out(report);
    lines.extend(at_rates(report));
    lines
}

fn a_second(rate: f64) -> String {
    format!("{}/s", grouped(rate.round() as u64))
}

/// What is measured as fast as it goes.
fn flat_out(report: &Report) -> Vec<Line> {
    let uniform = &report.uniform;
    let spread = |name: &str, digits: usize| {
        let spread = uniform.spread.get(name).copied().unwrap_or_default();
        if uniform.runs.len() > 1 {
            format!(" ({:.digits$} to {:.digits$})", spread.min, spread.max)
        } else {
            String::new()
        }
    };
    let mut lines = vec![
        line("pgbench", format!("{:.0} tps", report.pgbench_tps), spread("pgbench_tps", 0)),
        line(
            "  CPU of a transaction",
            format!("{:.0} us", report.pgbench_cpu_us),
            by_process(&report.pgbench_cpu_us_by_process),
        ),
        line(
            "uniform",
            a_second(uniform.settled_per_s),
            format!("{:.2} of pgbench{}", uniform.ratio_to_pgbench, spread("ratio_to_pgbench", 2)),
        )
        .at_least(uniform.ratio_to_pgbench, 2.0, " (aim 2.5)"),
        line(
            "  CPU of a payment",
            format!("{:.0} us", uniform.cpu_us_per_payment),
            format!("{:.2} of pgbench{}", uniform.cpu_ratio_to_pgbench, spread("cpu_ratio_to_pgbench", 2)),
        )
        .at_most(uniform.cpu_ratio_to_pgbench, 0.55, "", " (aim 0.4)"),
        line("    of it", String::new(), by_process(&uniform.cpu_us_by_process)),
        line(
            "  all of the machine",
            format!("{:.0} us", uniform.machine_us_per_payment),
            format!("{:.3} of the processor were stolen meanwhile", uniform.stolen_share),
        ),
    ];
    lines.extend(per_payment(uniform));
    for (name, hot) in [("hot destination", &report.hot_destination), ("hot source", &report.hot_source)] {
        let Spread { min, max } = hot.spread;
        let between = if hot.runs.len() > 1 { format!(" ({min:.2} to {max:.2})") } else { String::new() };
        let of = format!("{:.2} of uniform{between}", hot.ratio_to_uniform);
        lines.push(line(name, a_second(hot.settled_per_s), of).at_least(hot.ratio_to_uniform, 0.95, ""));
    }
    let batches = &report.batch_api;
    let of = format!(
        "{:.2} of pgbench, {:.2} of uniform; {:.0} us a payment",
        batches.ratio_to_pgbench, batches.ratio_to_uniform, batches.cpu_us_per_payment,
    );
    lines.push(line("batches of 100", a_second(batches.settled_per_s), of).at_least(
        batches.ratio_to_pgbench,
        3.5,
        " (aim)",
    ));
    lines
}

/// What a payment takes beside time.
fn per_payment(uniform: &Uniform) -> Vec<Line> {
    let fsyncs =
        uniform.fsyncs.iter().map(|(name, each)| format!("{name} {each:.3}")).collect::<Vec<_>>().join(", ");
    let batches =
        uniform.mean_batch.iter().map(|(stage, mean)| format!("{stage} {mean:.0}")).collect::<Vec<_>>();
    let mut lines = vec![
        line("  messages a payment", format!("{:.2}", uniform.messages_per_payment), String::new()),
        line("  fsyncs a payment", format!("{:.3}", uniform.fsyncs_per_payment), fsyncs),
        line("  WAL a payment", format!("{:.0} B", uniform.wal_bytes_per_payment), String::new()),
        line(
            "  round trips a payment",
            uniform.round_trips_per_payment.map_or("-".to_owned(), |trips| format!("{trips:.3}")),
            format!("{:.3} transactions", uniform.transactions_per_payment),
        ),
        line("  mean batch", String::new(), batches.join(", ")),
        line(
            "  redeliveries",
            grouped(uniform.redeliveries),
            format!("{} payments driven again", uniform.payments_redriven),
        ),
    ];
    let ours = |name: &str| ["stages", "gateway", OWN].contains(&name);
    lines.extend(uniform.rss_mb.iter().map(|(name, megabytes)| {
        let line = line(&format!("  memory of {name}"), format!("{megabytes:.0} MB"), String::new());
        if ours(name) { line.at_most(*megabytes, 100.0, " MB", "") } else { line }
    }));
    lines
}

fn by_process(us: &Named) -> String {
    us.iter().map(|(name, us)| format!("{name} {us:.0}")).collect::<Vec<_>>().join(", ")
}

/// What is measured at a rate that does not wait for answers.
fn at_rates(report: &Report) -> Vec<Line> {
    let flush_ms = report.fdatasync_us / 1_000.0;
    let mut lines = latencies("half of it", &report.half_load);
    let mut small: Vec<_> = report.small_load.iter().collect();
    small.sort_by(|(_, one), (_, other)| one.rate.total_cmp(&other.rate));
    for (rate, held) in small {
        let [mut accept, mut settle] = latencies(&format!("{rate} a second"), held)
            .try_into()
            .unwrap_or_else(|lines: Vec<Line>| unreachable!("{} lines of latencies", lines.len()));
        if rate == "200" {
            let bound = |base: f64, flushes: f64| rounded(base + flushes * flush_ms, 2);
            let p50 = |quantiles: &Quantiles| quantiles.p50.unwrap_or(f64::INFINITY);
            accept = accept.at_most(p50(&held.run.accept_ms), bound(1.0, 2.0), " ms p50", "");
            settle = settle.at_most(p50(&held.run.settle_ms), bound(3.0, 4.0), " ms p50", "");
        }
        let cpu = held.run.cpu_us_per_payment;
        let cost =
            line("  CPU of a payment", format!("{cpu:.0} us"), by_process(&held.run.cpu_us_by_process));
        let cpu_max = if rate == "200" { 900.0 } else { 500.0 };
        lines.extend([accept, settle, cost.at_most(cpu, cpu_max, " us", "")]);
    }
    let of = format!("{:.2} of uniform, settle p99 < {SETTLE_P99_MS} ms", report.knee_ratio_to_uniform);
    let idle: f64 = report.idle_cpu_us_per_s.values().sum();
    lines.push(line("idle", format!("{idle:.0} us/s"), by_process(&report.idle_cpu_us_per_s)));
    lines.push(line("knee", a_second(report.knee_per_s), of).at_least(report.knee_ratio_to_uniform, 0.8, ""));
    lines
}

fn latencies(name: &str, held: &Held) -> Vec<Line> {
    let told = |quantiles: &Quantiles| {
        let [p50, p95, p99, max] = quantiles.cells();
        format!("p50 {p50}, p95 {p95}, p99 {p99}, max {max} ms")
    };
    vec![
        line(name, a_second(held.rate), format!("accept {}", told(&held.run.accept_ms))),
        line("", String::new(), format!("settle {}", told(&held.run.settle_ms))),
    ]
}

/// The soak's series, and what is wrong.
fn tail(report: &Report) -> String {
    let mut text = String::new();
    if let Some(soak) = &report.soak {
        let minutes = soak.seconds.last().copied().unwrap_or(0) / 60;
        text.push_str(&format!(
            "\nsoak: {} payments in {minutes} minutes at {}, settle p99 at most {:.0} ms; memory in MB, minute by minute\n",
            grouped(soak.payments),
            a_second(soak.rate),
            soak.settle_p99_ms,
        ));
        for (name, values) in &soak.rss_mb {
            let minutes = values.iter().zip(&soak.seconds).filter(|(_, second)| *second % 60 < 10);
            let told: Vec<String> = minutes.map(|(value, _)| format!("{value:.0}")).collect();
            let growth = soak.growth_mb.get(name).map_or("-".to_owned(), |growth| format!("{growth:+.1}"));
            text.push_str(&format!("  {name:<12} {}   growth {growth}\n", told.join(" ")));
        }
    }
    for problem in &report.problems {
        text.push_str(&format!("\nPROBLEM {problem}"));
    }
    text.push_str(if report.verified { "\nverified: true\n" } else { "\nverified: FALSE\n" });
    text
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
