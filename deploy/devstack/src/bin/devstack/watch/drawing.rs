//! A second of `/live`: as a picture that is drawn in place, and as one line.

use wire::live::{LiveCurrency, LiveMoney, LiveStage};
use wire::{LiveReport, Role};

/// Currencies that a narrow terminal has room for.
const CODES_MAX: usize = 4;

/// What is not known.
const UNKNOWN: &str = "-";

/// A word of what is good, or bad, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    Plain,
    Green,
    Red,
}

/// A part of a line in one colour.
pub(crate) type Part = (Colour, String);

/// The picture, line by line.
pub(crate) fn picture(report: &LiveReport) -> Vec<Vec<Part>> {
    let plain = |text: String| vec![(Colour::Plain, text)];
    let broker = judged(report.broker, if report.broker { "broker up" } else { "broker AWAY" });
    let (is_green, money) = money(&report.money);
    let mut lines = vec![
        vec![
            (Colour::Plain, format!("{}   ", clock(report))),
            broker,
            (Colour::Plain, "   ".to_owned()),
            judged(is_green, &money),
        ],
        plain(String::new()),
        plain(columns(
            ["accepted/s", "settled/s", "failed/s", "accept p99", "settle p99", "in flight", "dead"]
                .map(str::to_owned),
        )),
        plain(columns([
            number(report.accepted_per_s),
            number(report.settled_per_s),
            number(report.failed_per_s),
            seconds(report.accept_p99_s),
            seconds(report.settle_p99_s),
            count(report.in_flight),
            count(report.dead_letters),
        ])),
        plain(String::new()),
        plain(format!(
            "{:<16} {:<6}{}",
            "stage",
            "",
            cells(["per s", "batch", "p99", "lag"].map(str::to_owned))
        )),
    ];
    lines.extend(report.stages.iter().map(stage));
    lines.push(plain(String::new()));
    let roles = report.roles.iter().map(|role| {
        judged(
            role.is_up,
            &format!("{}{} {}", if role.role == Role::ALL[0] { "" } else { "  " }, role.role, role.instances),
        )
    });
    lines.push(roles.collect());
    lines
}

/// The same in one line of words, for files and pipes.
pub(crate) fn line(report: &LiveReport) -> String {
    let mut text = format!(
        "{} broker={} accepted/s={} settled/s={} failed/s={} accept_p99={} settle_p99={} in_flight={} dead={} money={}",
        clock(report),
        if report.broker { "up" } else { "away" },
        number(report.accepted_per_s),
        number(report.settled_per_s),
        number(report.failed_per_s),
        seconds(report.accept_p99_s).replace(' ', ""),
        seconds(report.settle_p99_s).replace(' ', ""),
        count(report.in_flight),
        count(report.dead_letters),
        word_on(&report.money),
    );
    let named = |kind: &str, names: Vec<String>| match names.is_empty() {
        true => String::new(),
        false => format!(" {kind}={}", names.join(",")),
    };
    let away = report.roles.iter().filter(|role| !role.is_up).map(|role| role.role.to_string());
    text.push_str(&named("away", away.collect()));
    let halted = report.stages.iter().filter(|stage| stage.halted).map(|stage| stage.stage.clone());
    text.push_str(&named("halted", halted.collect()));
    text
}

fn stage(stage: &LiveStage) -> Vec<Part> {
    let (is_good, state) = match (stage.is_up, stage.halted) {
        (false, _) => (false, "AWAY"),
        (true, true) => (false, "HALTED"),
        (true, false) => (true, "up"),
    };
    let figures = [number(stage.per_s), number(stage.batch), seconds(stage.p99_s), count(stage.lag)];
    vec![
        (Colour::Plain, format!("{:<16} ", stage.stage)),
        judged(is_good, &format!("{state:<6}")),
        (Colour::Plain, cells(figures)),
    ]
}

/// In one word.
fn word_on(money: &LiveMoney) -> &'static str {
    // Only what a janitor says now counts: imbalances of one that is gone are what was known last.
    let is_heard = money.violations.is_some();
    let is_off =
        |each: &LiveCurrency| is_heard && each.imbalance_minor != 0 || money.is_audited && !each.is_conserved;
    let is_broken = money.violations > Some(0) || money.currencies.iter().any(is_off);
    match (is_broken, money.is_audited) {
        (true, _) => "BROKEN",
        (false, false) => "not-audited",
        (false, true) if money.currencies.is_empty() => "none",
        (false, true) => "conserved",
    }
}

/// Whether it may be green, and what is said.
fn money(money: &LiveMoney) -> (bool, String) {
    match word_on(money) {
        "conserved" => {
            let lag = seconds(money.audit_lag_s);
            (true, format!("money conserved ({}), audited {lag} ago", currencies(money)))
        }
        "none" => (false, "no money yet".to_owned()),
        "not-audited" => (false, "money NOT AUDITED: no janitor answers, or it is behind".to_owned()),
        _ => {
            let broken = money.currencies.iter().filter(|each| each.imbalance_minor != 0);
            let off = broken.map(|each| format!(" {} off by {}", each.currency, each.imbalance_minor));
            let violations = count(money.violations);
            (false, format!("money BROKEN: {violations} violations{}", off.collect::<String>()))
        }
    }
}

/// Their codes, or how many they are where a line has no room for them.
fn currencies(money: &LiveMoney) -> String {
    let codes: Vec<&str> = money.currencies.iter().map(|each| each.currency.as_str()).collect();
    match codes.len() {
        0 => "no entries yet".to_owned(),
        1..=CODES_MAX => codes.join(" "),
        more => format!("{more} currencies"),
    }
}

/// The time of day, in UTC.
fn clock(report: &LiveReport) -> String {
    let text = report.at.to_string();
    format!("{}Z", text.get(11..19).unwrap_or(&text))
}

fn judged(is_good: bool, text: &str) -> Part {
    (if is_good { Colour::Green } else { Colour::Red }, text.to_owned())
}

fn columns(texts: [String; 7]) -> String {
    texts.map(|text| format!("{text:>11}")).concat()
}

fn cells(texts: [String; 4]) -> String {
    texts.map(|text| format!("{text:>12}")).concat()
}

fn number(number: Option<f64>) -> String {
    number.map_or(UNKNOWN.to_owned(), |number| format!("{number:.1}"))
}

fn count(count: Option<u64>) -> String {
    count.map_or(UNKNOWN.to_owned(), |count| count.to_string())
}

fn seconds(seconds: Option<f64>) -> String {
    match seconds {
        None => UNKNOWN.to_owned(),
        Some(seconds) if seconds < 1.0 => format!("{:.1} ms", seconds * 1_000.0),
        Some(seconds) => format!("{seconds:.1} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(change: &str) -> LiveReport {
        let stage = |stage: &str| {
            format!(
                r#"{{"stage":"{stage}","is_up":true,"per_s":1234.5,"batch":1.0,"lag":7,"p99_s":0.004,"halted":false}}"#
            )
        };
        let stages = ["gateway", "risk", "fx", "reserve", "settle", "settle_rejected"].map(stage).join(",");
        let roles =
            Role::ALL.map(|role| format!(r#"{{"role":"{role}","instances":1,"is_up":true}}"#)).join(",");
        let text = format!(
            r#"{{"at":"2026-11-27T11:30:37.000000Z","broker":true,"accepted_per_s":1.5,"settled_per_s":1.5,"failed_per_s":0.0,
            "accept_p99_s":0.004,"settle_p99_s":2.5,"in_flight":3,"dead_letters":0,"money":{{"is_audited":true,"audit_lag_s":1.0,
            "violations":0,"currencies":[{{"currency":"USD","imbalance_minor":0,"is_conserved":true}}]}},"stages":[{stages}],"roles":[{roles}]}}"#
        );
        let (from, to) = change.split_once(" => ").unwrap_or(("", ""));
        serde_json::from_str(&text.replacen(from, to, 1)).unwrap()
    }

    const ALL_WELL: &str = "11:30:37Z broker=up accepted/s=1.5 settled/s=1.5 failed/s=0.0 accept_p99=4.0ms settle_p99=2.5s in_flight=3 dead=0 money=conserved";

    #[test]
    fn a_line_says_what_is_known_and_what_is_wrong() {
        let rows = [
            ("", ""),
            (r#""is_audited":true => "is_audited":false"#, "money=not-audited"),
            (r#""violations":0 => "violations":2"#, "money=BROKEN"),
            (r#""is_conserved":true => "is_conserved":false"#, "money=BROKEN"),
            (r#""imbalance_minor":0 => "imbalance_minor":-3"#, "money=BROKEN"),
            (r#"{"currency":"USD","imbalance_minor":0,"is_conserved":true} => "#, "money=none"),
            (r#""accept_p99_s":0.004 => "accept_p99_s":null"#, "accept_p99=-"),
            (r#""broker":true => "broker":false"#, "broker=away"),
            (
                r#""role":"fx","instances":1,"is_up":true => "role":"fx","instances":0,"is_up":false"#,
                "away=fx",
            ),
            (r#""halted":false => "halted":true"#, "halted=gateway"),
        ];
        for (change, said) in rows {
            let line = line(&report(change));
            assert_eq!(line == ALL_WELL, change.is_empty(), "{change}: {line}");
            assert!(line.contains(said), "{change}: {line}");
        }
    }

    #[test]
    fn the_picture_fits_a_narrow_terminal_and_is_red_where_something_is_wrong() {
        let rows = [
            ("", 0),
            (r#""is_audited":true => "is_audited":false"#, 1),
            (r#""violations":0 => "violations":2"#, 1),
            (r#""broker":true => "broker":false"#, 1),
            (r#""is_up":true => "is_up":false"#, 1),
            (r#""halted":false => "halted":true"#, 1),
        ];
        for (change, expected) in rows {
            let picture = picture(&report(change));
            let red = picture.iter().flatten().filter(|(colour, _)| *colour == Colour::Red).count();
            assert_eq!(red, expected, "{change}");
            for line in picture {
                let text: String = line.iter().map(|(_, text)| text.as_str()).collect();
                assert!(text.chars().count() <= 80, "{text}");
            }
        }
    }
}
