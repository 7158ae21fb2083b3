//! The text format of Prometheus, as far as our own services write it.

/// One line: a series and its value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Sample<'t> {
    pub(crate) name: &'t str,
    /// Between the braces.
    labels: &'t str,
    pub(crate) value: f64,
}

impl<'t> Sample<'t> {
    /// The value of a label. Those of our services are plain words.
    pub(crate) fn label(&self, name: &str) -> Option<&'t str> {
        self.labels
            .split(',')
            .find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
    }
}

/// The samples of a text; lines that are none are passed over.
pub(crate) fn samples(text: &str) -> impl Iterator<Item = Sample<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| {
        let (series, value) = line.rsplit_once(' ')?;
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        Some(Sample { name, labels: labels.strip_suffix('}')?, value: value.parse().ok()? })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_read_with_their_labels() {
        let text = "# TYPE a counter\na 1\nb_sum{stage=\"risk\",le=\"+Inf\"} 2.5\nc{ 3\nd many\n\n";
        let found: Vec<_> = samples(text).map(|sample| (sample.name, sample.value)).collect();
        assert_eq!(found, [("a", 1.0), ("b_sum", 2.5)]);
        let labelled = samples(text).nth(1).unwrap();
        for (label, expected) in [("stage", Some("risk")), ("le", Some("+Inf")), ("l", None), ("shard", None)]
        {
            assert_eq!(labelled.label(label), expected, "{label}");
        }
    }
}
