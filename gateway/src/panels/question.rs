//! One question to Prometheus, and what its answer says.

use bytes::Bytes;
use domain::Timestamp;
use serde::{Deserialize, Serialize};
use signals::panel::{Drawing, Panel, Query};
use signals::prometheus::INTERVAL_SECONDS;
use std::collections::BTreeMap;
use wire::{Code, Problem};

domain::closed_set! {
    /// How far back a panel looks.
    Range {
        /// Five minutes.
        FiveMinutes = "5m",
        /// A quarter of an hour.
        QuarterHour = "15m",
        /// An hour.
        Hour = "1h",
        /// Six hours.
        SixHours = "6h",
        /// A day.
        Day = "24h",
    }
}

impl Range {
    /// Where nobody says another.
    pub(crate) const DEFAULT: Range = Range::QuarterHour;

    const fn seconds(self) -> u32 {
        match self {
            Range::FiveMinutes => 300,
            Range::QuarterHour => 900,
            Range::Hour => 3_600,
            Range::SixHours => 21_600,
            Range::Day => 86_400,
        }
    }
}

/// Steps of every range; its points are one more.
const STEPS: u32 = 120;

/// Series of a panel: those of the table have some twenty, and one for each currency at most.
const SERIES_MAX: usize = 200;

/// That many series with a point for each step, written out.
pub(super) const ANSWER_BYTES_MAX: usize = 2 << 20;

/// A rate is asked over so many scrapes at least: one may be missed, and a rate needs two.
const SCRAPES_MIN: u32 = 4;

/// Which instants are asked for, in seconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    range: Range,
    from: f64,
    to: f64,
    step: f64,
}

impl Span {
    /// The range that ends now.
    pub(super) fn until(now: Timestamp, range: Range) -> Span {
        let milliseconds = u32::try_from(now.micros().rem_euclid(1_000_000) / 1_000).unwrap_or_default();
        let seconds = u32::try_from(now.micros().div_euclid(1_000_000)).unwrap_or_default();
        let to = f64::from(seconds) + f64::from(milliseconds) / 1_000.0;
        let length = f64::from(range.seconds());
        Span { range, from: to - length, to, step: length / f64::from(STEPS) }
    }

    /// What rates are asked over: no scrape between two steps is left out.
    fn window(&self) -> String {
        let steps = 2 * self.range.seconds() / STEPS;
        format!("{}s", steps.max(SCRAPES_MIN * INTERVAL_SECONDS))
    }

    fn instant(&self, place: u32) -> f64 {
        // Prometheus counts milliseconds.
        ((self.from + f64::from(place) * self.step) * 1_000.0).round() / 1_000.0
    }
}

/// What is asked for.
pub(super) fn path(query: &Query, span: &Span) -> String {
    let mut parameters = form_urlencoded::Serializer::new(String::new());
    parameters.append_pair("query", &query.expression.over(&span.window()));
    for (name, seconds) in [("start", span.from), ("end", span.to), ("step", span.step)] {
        parameters.append_pair(name, &format!("{seconds:.3}"));
    }
    // It gives up with us. One more than is shown tells that there are more; older ones know no limit.
    parameters.append_pair("timeout", "5s");
    parameters.append_pair("limit", &(SERIES_MAX + 1).to_string());
    format!("/api/v1/query_range?{}", parameters.finish())
}

#[derive(Deserialize)]
struct Body {
    data: Data,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "snake_case")]
enum Data {
    Matrix(Vec<Found>),
}

#[derive(Deserialize)]
struct Found {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// One line of a panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Series {
    legend: String,
    labels: BTreeMap<String, String>,
    /// An instant and a value for each step; none where nothing was known.
    points: Vec<(f64, Option<f64>)>,
}

/// The series of an answer.
pub(super) fn series(query: &Query, span: &Span, body: &[u8]) -> Result<Vec<Series>, serde_json::Error> {
    let Body { data: Data::Matrix(found) } = serde_json::from_slice(body)?;
    // One more than is shown, as above, and never more than that many in memory for long.
    Ok(found.into_iter().take(SERIES_MAX + 1).map(|found| one(query, span, found)).collect())
}

fn one(query: &Query, span: &Span, found: Found) -> Series {
    let mut labels = found.metric;
    labels.remove("__name__");
    let mut values = found.values.into_iter().peekable();
    let points = (0..=STEPS).map(|place| {
        let instant = span.instant(place);
        let half = span.step / 2.0;
        let mut value = None;
        while let Some((_, text)) = values.next_if(|(at, _)| *at < instant + half) {
            // What is no number, as the quantile of nothing, is not known.
            value = text.parse::<f64>().ok().filter(|value| value.is_finite());
        }
        (instant, value)
    });
    let points = points.collect();
    Series { legend: legend(query.legend, &labels), labels, points }
}

/// The legend with the values of its labels.
fn legend(pattern: &str, labels: &BTreeMap<String, String>) -> String {
    let filled = labels
        .iter()
        .fold(pattern.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value));
    // What a series has no label for is empty, as in Grafana.
    let mut text = String::new();
    for (place, part) in filled.split("{{").enumerate() {
        let rest = if place == 0 { part } else { part.split_once("}}").map_or("", |(_, rest)| rest) };
        text.push_str(rest);
    }
    text.trim().to_owned()
}

/// The body of an answer about a panel.
pub(super) fn answered(panel: &Panel, span: &Span, mut series: Vec<Series>) -> Result<Bytes, Problem> {
    #[derive(Serialize)]
    struct Shown<'p> {
        id: &'p str,
        range: &'p str,
        from: f64,
        to: f64,
        step: f64,
        series: &'p [Series],
        /// There are more series than these.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        is_cut: bool,
    }
    if panel.drawing == Drawing::Heatmap {
        let bound = |series: &Series| series.labels.get("le").and_then(|bound| bound.parse::<f64>().ok());
        series.sort_by(|one, other| {
            bound(one).unwrap_or(f64::NAN).total_cmp(&bound(other).unwrap_or(f64::NAN))
        });
    }
    let is_cut = series.len() > SERIES_MAX;
    series.truncate(SERIES_MAX);
    let Span { range, from, to, step } = *span;
    let shown = Shown { id: panel.id, range: range.as_str(), from, to, step, series: &series, is_cut };
    let body = serde_json::to_vec(&shown).map(Bytes::from);
    body.map_err(|_| Problem::new(Code::Internal, "the answer cannot be written"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use signals::query::Expression;

    #[test]
    fn legends_are_filled_from_labels() {
        let labels =
            BTreeMap::from([("code".to_owned(), "200".to_owned()), ("job".to_owned(), "{{x}}".to_owned())]);
        for (pattern, expected) in [
            ("p99", "p99"),
            ("{{code}}", "200"),
            ("{{stage}} {{code}}", "200"),
            ("{{code}} alive", "200 alive"),
            ("{{program}}{{code}}", "200"),
            ("{{code", ""),
        ] {
            assert_eq!(legend(pattern, &labels), expected, "{pattern}");
        }
    }

    #[test]
    fn every_step_has_a_point_and_a_window_that_reaches_the_one_before() {
        let now = Timestamp::from_micros(1_000_000_500_999);
        for (range, step, window) in [
            (Range::FiveMinutes, 2.5, "20s"),
            (Range::QuarterHour, 7.5, "20s"),
            (Range::Hour, 30.0, "60s"),
            (Range::SixHours, 180.0, "360s"),
            (Range::Day, 720.0, "1440s"),
        ] {
            let span = Span::until(now, range);
            assert_eq!((span.step, span.window().as_str(), span.to), (step, window, 1_000_000.5));
            let query = Query { legend: "{{a}}", expression: Expression::verbatim("up") };
            // The first, one in the middle and the last; those that are no numbers are not known.
            let texts = ["1", "NaN", "+Inf", "2.5"];
            let values: Vec<_> =
                [0, 60, 61, 120].into_iter().map(|place| span.instant(place)).zip(texts).collect();
            let metric = serde_json::json!({ "__name__": "up", "a": "b" });
            let body = serde_json::json!({ "status": "success", "data": { "resultType": "matrix", "result": [{ "metric": metric, "values": values }] } });
            let found = series(&query, &span, body.to_string().as_bytes()).unwrap();
            let known: Vec<_> =
                found[0].points.iter().filter_map(|(at, value)| Some((*at, (*value)?))).collect();
            assert_eq!((found[0].legend.as_str(), found[0].points.len()), ("b", 121));
            assert_eq!(known, [(span.from, 1.0), (span.to, 2.5)], "{range}");
        }
    }
}
