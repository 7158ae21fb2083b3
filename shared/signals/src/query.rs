//! Questions to Prometheus, made from the table of metrics.
//!
//! A question has places for its window and its choice of jobs. Grafana fills them by its variables; whoever
//! else asks says a window, and asks for all jobs.

use crate::metric::Metric;

/// The window as Grafana chooses it: never shorter than four scrapes.
const WINDOW: &str = "$__rate_interval";
/// The matchers of what was chosen in Grafana. They stand last in a selector.
const CHOICE: &str = r#"job=~"$job",instance=~"$instance""#;

/// A question that Prometheus answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expression(String);

impl Expression {
    /// One that is written out. It has no places to fill.
    pub fn verbatim(text: &str) -> Expression {
        Expression(text.to_owned())
    }

    /// As a dashboard asks it.
    pub fn in_grafana(&self) -> &str {
        &self.0
    }

    /// As it is asked of Prometheus itself: over this window, for all jobs.
    pub fn over(&self, window: &str) -> String {
        let text = self.0.replace(&format!(",{CHOICE}"), "").replace(&format!("{{{CHOICE}}}"), "");
        text.replace(WINDOW, window)
    }

    /// The sum of its series, for each value of these labels.
    pub fn sum(self, by: &[&str]) -> Expression {
        self.aggregated("sum", by)
    }

    /// The largest of its series, for each value of these labels.
    pub fn max(self, by: &[&str]) -> Expression {
        self.aggregated("max", by)
    }

    /// The smallest of its series, for each value of these labels.
    pub fn min(self, by: &[&str]) -> Expression {
        self.aggregated("min", by)
    }

    fn aggregated(self, how: &str, by: &[&str]) -> Expression {
        match by {
            [] => Expression(format!("{how}({})", self.0)),
            _ => Expression(format!("{how} by ({}) ({})", by.join(", "), self.0)),
        }
    }

    /// How large a part of another it is, series by series with the same labels.
    pub fn part_of(self, whole: Expression) -> Expression {
        Expression(format!("{} / {}", self.0, whole.0))
    }

    /// It and another together.
    pub fn plus(self, other: Expression) -> Expression {
        Expression(format!("{} + {}", self.0, other.0))
    }

    /// What it is more than another.
    pub fn minus(self, other: Expression) -> Expression {
        Expression(format!("{} - {}", self.0, other.0))
    }

    /// Only where it is no less than another.
    pub fn at_least(self, other: Expression) -> Expression {
        Expression(format!("{} >= {}", self.0, other.0))
    }

    /// Only where it compares so, say `> 0`.
    pub fn only(self, comparison: &str) -> Expression {
        Expression(format!("{} {comparison}", self.0))
    }

    /// It, with a label that the series of another have, of the same instance.
    pub fn labelled(self, label: &str, by: Expression) -> Expression {
        Expression(format!("{} * on (instance) group_left ({label}) {}", self.0, by.0))
    }

    /// In parentheses, so that it can be a part of another.
    pub fn grouped(self) -> Expression {
        Expression(format!("({})", self.0))
    }

    /// Without its sign.
    pub fn absolute(self) -> Expression {
        Expression(format!("abs({})", self.0))
    }

    /// Both together: it, where the other has an answer too.
    pub fn and(self, other: Expression) -> Expression {
        Expression(format!("{}\nand\n{}", self.0, other.0))
    }

    /// Either of the two.
    pub fn or(self, other: Expression) -> Expression {
        Expression(format!("{}\nor\n{}", self.0, other.0))
    }

    /// It, where the other has no series with the same value of this label.
    pub fn unless_on(self, label: &str, other: Expression) -> Expression {
        Expression(format!("{}\nunless on ({label})\n{}", self.0, other.0))
    }

    /// 1 where there is no such series at all.
    pub fn absent(self) -> Expression {
        Expression(format!("absent({})", self.0))
    }

    /// It, or zero where there is no such series.
    pub fn or_zero(self) -> Expression {
        Expression(format!("{} or vector(0)", self.0))
    }

    /// How many series it has.
    pub fn count(self) -> Expression {
        Expression(format!("count({})", self.0))
    }

    /// How long ago the instants are that it tells.
    pub fn ago(self) -> Expression {
        Expression(format!("time() - {}", self.0))
    }
}

/// Series of one name.
#[derive(Debug, Clone)]
pub struct Series {
    name: String,
    matchers: String,
}

impl Series {
    /// Those of a metric of ours.
    pub fn of(metric: &Metric) -> Series {
        Series::named(metric.name)
    }

    /// How often a histogram of ours was observed.
    pub fn count_of(histogram: &Metric) -> Series {
        Series::named(&format!("{}_count", histogram.name))
    }

    /// The sum of what a histogram of ours has observed.
    pub fn sum_of(histogram: &Metric) -> Series {
        Series::named(&format!("{}_sum", histogram.name))
    }

    /// What a histogram of ours has observed, by upper bounds.
    pub fn buckets_of(histogram: &Metric) -> Series {
        Series::named(&format!("{}_bucket", histogram.name))
    }

    /// Those that another program or a recording rule makes.
    pub fn named(name: &str) -> Series {
        Series { name: name.to_owned(), matchers: String::new() }
    }

    /// Only those whose label has this value.
    pub fn with(self, label: &str, value: &str) -> Series {
        self.matching(&format!("{label}=\"{value}\""))
    }

    /// Only those whose label has another value.
    pub fn without(self, label: &str, value: &str) -> Series {
        self.matching(&format!("{label}!=\"{value}\""))
    }

    /// Only those whose label matches.
    pub fn like(self, label: &str, pattern: &str) -> Series {
        self.matching(&format!("{label}=~\"{pattern}\""))
    }

    /// Only those whose label does not match.
    pub fn unlike(self, label: &str, pattern: &str) -> Series {
        self.matching(&format!("{label}!~\"{pattern}\""))
    }

    fn matching(self, matcher: &str) -> Series {
        Series { matchers: format!("{}{matcher},", self.matchers), ..self }
    }

    /// Their values now.
    pub fn now(self) -> Expression {
        Expression(format!("{}{{{}{CHOICE}}}", self.name, self.matchers))
    }

    /// How fast they grow, a second.
    pub fn rate(self) -> Expression {
        Expression(format!("rate({}[{WINDOW}])", self.now().0))
    }

    /// How much they have grown over this window; the one before it where `offset` says so.
    pub fn increase(self, window: &str, offset: Option<&str>) -> Expression {
        let offset = offset.map(|offset| format!(" offset {offset}")).unwrap_or_default();
        Expression(format!("increase({}[{window}]{offset})", self.now().0))
    }
}

/// What this part of a histogram's observations stays below, for each value of these labels.
pub fn quantile(part: &str, buckets: Series, by: &[&str]) -> Expression {
    let labels: Vec<&str> = std::iter::once("le").chain(by.iter().copied()).collect();
    Expression(format!("histogram_quantile({part}, {})", buckets.rate().sum(&labels).0))
}

/// The mean of what a histogram has observed, for each value of these labels.
pub fn mean(histogram: &Metric, by: &[&str]) -> Expression {
    let [sum, count] =
        [Series::sum_of(histogram), Series::count_of(histogram)].map(|part| part.rate().sum(by));
    sum.part_of(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric;

    #[test]
    fn a_question_is_asked_of_grafana_and_of_prometheus() {
        let requests = || Series::of(&metric::REQUESTS);
        for (expression, grafana, prometheus) in [
            (
                requests().now(),
                r#"payment_requests_total{job=~"$job",instance=~"$instance"}"#,
                "payment_requests_total",
            ),
            (
                requests().with("status", "OK").unlike("code", "5..").rate().sum(&["service"]),
                r#"sum by (service) (rate(payment_requests_total{status="OK",code!~"5..",job=~"$job",instance=~"$instance"}[$__rate_interval]))"#,
                r#"sum by (service) (rate(payment_requests_total{status="OK",code!~"5.."}[30s]))"#,
            ),
            (
                quantile("0.99", Series::buckets_of(&metric::STAGE_DURATION), &["stage"]),
                r#"histogram_quantile(0.99, sum by (le, stage) (rate(stage_duration_seconds_bucket{job=~"$job",instance=~"$instance"}[$__rate_interval])))"#,
                "histogram_quantile(0.99, sum by (le, stage) (rate(stage_duration_seconds_bucket[30s])))",
            ),
            (
                mean(&metric::STAGE_BATCH_SIZE, &[]),
                r#"sum(rate(stage_batch_size_sum{job=~"$job",instance=~"$instance"}[$__rate_interval])) / sum(rate(stage_batch_size_count{job=~"$job",instance=~"$instance"}[$__rate_interval]))"#,
                "sum(rate(stage_batch_size_sum[30s])) / sum(rate(stage_batch_size_count[30s]))",
            ),
            (
                requests().increase("5m", Some("5m")),
                r#"increase(payment_requests_total{job=~"$job",instance=~"$instance"}[5m] offset 5m)"#,
                "increase(payment_requests_total[5m] offset 5m)",
            ),
            (Expression::verbatim("rate(x[1m])"), "rate(x[1m])", "rate(x[1m])"),
        ] {
            assert_eq!(expression.in_grafana(), grafana);
            assert_eq!(expression.over("30s"), prometheus);
        }
    }
}
