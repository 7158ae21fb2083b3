//! What a dashboard is made of.

use crate::query::Expression;

/// Panels of one subject.
#[derive(Debug, Clone)]
pub struct Dashboard {
    /// Fixed: links lead to it.
    pub uid: &'static str,
    /// As Grafana lists it.
    pub title: &'static str,
    /// Whom it is for.
    pub description: &'static str,
    /// From top to bottom.
    pub rows: Vec<Row>,
}

impl Dashboard {
    /// Its panels, from top left to bottom right.
    pub fn panels(&self) -> impl Iterator<Item = &Panel> {
        self.rows.iter().flat_map(|row| row.panels.iter())
    }
}

/// Panels side by side under one heading, all of one width.
#[derive(Debug, Clone)]
pub struct Row {
    /// Its heading.
    pub title: &'static str,
    /// In Grafana's units, of which a screen has about thirty.
    pub height: u32,
    /// A number of them that divides 24.
    pub panels: Vec<Panel>,
}

/// One answer at a glance.
#[derive(Debug, Clone)]
pub struct Panel {
    /// Stable, and unique over all dashboards: panels are asked for by it.
    pub id: &'static str,
    /// Above it.
    pub title: &'static str,
    /// The question that it answers.
    pub question: &'static str,
    /// How it is drawn.
    pub drawing: Drawing,
    /// Of its values.
    pub unit: Unit,
    /// What it asks.
    pub queries: Vec<Query>,
    /// From which values on it is another colour than green.
    pub thresholds: Vec<Threshold>,
    /// Who makes its series.
    pub source: Source,
}

impl Panel {
    /// A panel of our own series without thresholds.
    pub fn new(id: &'static str, title: &'static str, question: &'static str) -> Panel {
        Panel {
            id,
            title,
            question,
            drawing: Drawing::Lines,
            unit: Unit::Count,
            queries: Vec::new(),
            thresholds: Vec::new(),
            source: Source::Services,
        }
    }

    /// Drawn so.
    pub fn drawn(self, drawing: Drawing) -> Panel {
        Panel { drawing, ..self }
    }

    /// In this unit.
    pub fn unit(self, unit: Unit) -> Panel {
        Panel { unit, ..self }
    }

    /// Asking this too; the legend names the series by their labels.
    pub fn asking(mut self, legend: &'static str, expression: Expression) -> Panel {
        self.queries.push(Query { legend, expression });
        self
    }

    /// In this colour from this value on.
    pub fn from(mut self, value: f64, colour: Colour) -> Panel {
        self.thresholds.push(Threshold { value, colour });
        self
    }

    /// Of series that somebody else makes.
    pub fn of(self, source: Source) -> Panel {
        Panel { source, ..self }
    }
}

/// One question of a panel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// How its series are called: text with `{{label}}` for a label's value.
    pub legend: &'static str,
    /// What is asked.
    pub expression: Expression,
}

/// How a panel is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drawing {
    /// One number, the latest, with its course behind it.
    Number,
    /// A line for each series.
    Lines,
    /// Areas that add up.
    Areas,
    /// How many observations fell where, over time.
    Heatmap,
    /// The latest values with their labels.
    Table,
}

impl Drawing {
    /// Its name to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Drawing::Number => "number",
            Drawing::Lines => "lines",
            Drawing::Areas => "areas",
            Drawing::Heatmap => "heatmap",
            Drawing::Table => "table",
        }
    }
}

/// What a value counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Things.
    Count,
    /// Things a second.
    PerSecond,
    /// Requests a second.
    RequestsPerSecond,
    /// Seconds.
    Seconds,
    /// A part of one, shown in per cent.
    Part,
    /// Bytes.
    Bytes,
    /// Bytes a second.
    BytesPerSecond,
}

impl Unit {
    /// Its name to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Unit::Count => "count",
            Unit::PerSecond => "per_second",
            Unit::RequestsPerSecond => "requests_per_second",
            Unit::Seconds => "seconds",
            Unit::Part => "part",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "bytes_per_second",
        }
    }

    /// Its name in Grafana.
    pub const fn in_grafana(self) -> &'static str {
        match self {
            Unit::Count => "short",
            Unit::PerSecond => "ops",
            Unit::RequestsPerSecond => "reqps",
            Unit::Seconds => "s",
            Unit::Part => "percentunit",
            Unit::Bytes => "bytes",
            Unit::BytesPerSecond => "Bps",
        }
    }
}

/// Where a value is no longer well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Threshold {
    /// From here on.
    pub value: f64,
    /// What is shown.
    pub colour: Colour,
}

/// How bad a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// Someone should look.
    Yellow,
    /// Someone must act.
    Red,
}

impl Colour {
    /// Its name, in Grafana and to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Colour::Yellow => "yellow",
            Colour::Red => "red",
        }
    }
}

/// Who makes the series of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Our services, and Prometheus itself.
    Services,
    /// Prometheus' node-exporter, where it runs.
    NodeExporter,
    /// Prometheus' postgres-exporter, where it runs.
    PostgresExporter,
}

impl Source {
    /// Its name to clients.
    pub const fn as_str(self) -> &'static str {
        match self {
            Source::Services => "services",
            Source::NodeExporter => "node_exporter",
            Source::PostgresExporter => "postgres_exporter",
        }
    }
}
