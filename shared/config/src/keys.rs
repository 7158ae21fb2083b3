//! Whether each written setting exists, is of its kind, and keeps its limits: the defaults say what there is.

use crate::error::ConfigError;
use crate::layers::Layers;
use crate::limits;
use figment::value::{Dict, Value};

/// A section whose keys are not ours to list: currencies.
const OPEN_SECTION: &str = "risk.amount_max";

/// How much of a written key, its section included, a known one must share to be meant.
const LIKENESS_MIN: f64 = 0.66;

/// Holds all that was written against the defaults.
pub(crate) fn check(layers: &Layers, defaults: &Dict) -> Result<(), ConfigError> {
    Check { layers, defaults }.section("", &layers.settings(), defaults)
}

struct Check<'c> {
    layers: &'c Layers,
    defaults: &'c Dict,
}

impl Check<'_> {
    fn section(&self, above: &str, written: &Dict, defaults: &Dict) -> Result<(), ConfigError> {
        written.iter().try_for_each(|(name, value)| {
            let key = below(above, name);
            match defaults.get(name) {
                Some(Value::Dict(_, defaults)) => match value {
                    Value::Dict(..) if key == OPEN_SECTION => Ok(()),
                    Value::Dict(_, written) => self.section(&key, written, defaults),
                    _ => Err(self.not_a_section(&key, defaults)),
                },
                Some(default) => match problem(&key, value, default) {
                    Some(problem) => Err(self.layers.wrong(&key, problem)),
                    None => Ok(()),
                },
                None => Err(self.unknown(first_setting(&key, value), above, defaults)),
            }
        })
    }

    fn unknown(&self, key: String, above: &str, siblings: &Dict) -> ConfigError {
        let hint = match self.nearest(&key) {
            Some(near) => format!("did you mean {}?", self.layers.spelled_like(&key, &near)),
            None if above.is_empty() => format!("the sections are {}", names(siblings)),
            None => format!("{above} has {}", names(siblings)),
        };
        self.layers.wrong(&key, format!("there is no such setting; {hint}"))
    }

    fn not_a_section(&self, key: &str, defaults: &Dict) -> ConfigError {
        let example = defaults
            .keys()
            .next()
            .map(|name| self.layers.spelled_like(key, &below(key, name)))
            .unwrap_or_default();
        self.layers.wrong(key, format!("is a section, set one of {}, e.g. {example}", names(defaults)))
    }

    fn nearest(&self, key: &str) -> Option<String> {
        let mut known = Vec::new();
        settings("", self.defaults, &mut known);
        let rated =
            known.into_iter().map(|known| (strsim::normalized_damerau_levenshtein(key, &known), known));
        let (likeness, nearest) = rated.max_by(|(one, _), (other, _)| one.total_cmp(other))?;
        (likeness >= LIKENESS_MIN).then_some(nearest)
    }
}

/// What a value must be, if it is not.
fn problem(key: &str, value: &Value, default: &Value) -> Option<String> {
    match (default, value) {
        (Value::Num(..), _) => number_problem(key, value),
        (Value::Array(_, examples), Value::Array(_, items)) => {
            let first = examples.first()?;
            let problem = items.iter().find_map(|item| problem(key, item, first))?;
            Some(format!("each {problem}"))
        }
        (Value::Array(_, examples), _) => {
            let examples: Vec<String> = examples.iter().map(shown).collect();
            Some(format!("must be a list such as [{}], not {}", examples.join(", "), shown(value)))
        }
        (Value::Bool(..), Value::Bool(..)) | (Value::String(..), Value::String(..) | Value::Char(..)) => None,
        (Value::Bool(..), _) => Some(format!("must be true or false, not {}", shown(value))),
        // Not shown: text may be a URL with a secret in it.
        _ => Some("must be text".to_owned()),
    }
}

fn number_problem(key: &str, value: &Value) -> Option<String> {
    if let Some((least, greatest)) = limits::fraction(key) {
        let is_within = value
            .to_num()
            .and_then(|number| number.to_f64().or_else(|| number.to_u32().map(f64::from)))
            .is_some_and(|number| (least..=greatest).contains(&number));
        return (!is_within)
            .then(|| format!("must be a number from {least} to {greatest}, not {}", shown(value)));
    }
    match whole(value) {
        Some(number) => limits::problem(key, number),
        None => Some(format!("must be a whole number {}, not {}", limits::range(key), shown(value))),
    }
}

fn whole(value: &Value) -> Option<i128> {
    value.to_i128().or_else(|| i128::try_from(value.to_u128()?).ok())
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, letter) => format!("{letter:?}"),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, number) => match (whole(value), number.to_f64()) {
            (Some(whole), _) => whole.to_string(),
            (None, Some(fraction)) => fraction.to_string(),
            (None, None) => "a number".to_owned(),
        },
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a section".to_owned(),
        Value::Array(..) => "a list".to_owned(),
    }
}

fn below(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

fn names(section: &Dict) -> String {
    section.keys().cloned().collect::<Vec<_>>().join(", ")
}

/// The keys of all settings below a section.
fn settings(above: &str, section: &Dict, found: &mut Vec<String>) {
    for (name, value) in section {
        match value {
            Value::Dict(_, section) => settings(&below(above, name), section, found),
            _ => found.push(below(above, name)),
        }
    }
}

/// The key of a setting, or of the first one in an unknown section.
fn first_setting(key: &str, value: &Value) -> String {
    let mut found = Vec::new();
    if let Value::Dict(_, section) = value {
        settings(key, section, &mut found);
    }
    found.into_iter().next().unwrap_or_else(|| key.to_owned())
}
