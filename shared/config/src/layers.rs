//! What was written, in layers: a file, then variables of the environment, then flags. Each setting keeps its
//! place.

use crate::error::ConfigError;
use figment::providers::Serialized;
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use toml_edit::{ImDocument, TableLike};

/// Begins the name of every variable; two underscores stand for the dot of a key.
const PREFIX: &str = "KILAT_";

/// Of our name and no setting: it asks the tests for their long form, and the programs that they start see it
/// too.
const TESTS_SWITCH: &str = "KILAT_DEEP";

/// The file that is read when no flag names another.
const DEFAULT_FILE: &str = "kilat.toml";

/// The flags that every program of the project has.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Flags {
    /// Read this file instead of kilat.toml in the current folder.
    #[arg(long, value_name = "FILE", global = true)]
    pub config: Option<PathBuf>,
    /// Set one key, e.g. --set gateway.in_flight_max=100; may be repeated.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    pub overrides: Vec<String>,
}

/// The layers, merged.
pub(crate) struct Layers {
    figment: Figment,
    /// What each layer was read from; the name of its metadata is its place here.
    origins: Vec<Origin>,
}

/// What a layer was read from. A variable and a flag hold one setting each.
enum Origin {
    File { path: String, document: Box<ImDocument<String>> },
    Variable(String),
    Flag(String),
}

struct Layer {
    place: usize,
    settings: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.place.to_string())
    }

    fn data(&self) -> figment::error::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.settings.clone()))
    }
}

impl Layers {
    /// Reads the file, those of the variables that begin with `KILAT_`, and the flags.
    pub(crate) fn read(
        flags: &Flags,
        variables: impl Iterator<Item = (String, String)>,
    ) -> Result<Layers, ConfigError> {
        let mut layers = Layers { figment: Figment::new(), origins: Vec::new() };
        if let Some(path) = file_to_read(flags)? {
            let (document, settings) = read_file(path)?;
            layers.add(
                Origin::File { path: path.display().to_string(), document: Box::new(document) },
                settings,
            );
        }
        for (name, value) in variables {
            let is_ours = name.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
                && name.len() > PREFIX.len();
            if is_ours && name != TESTS_SWITCH {
                let key = name[PREFIX.len()..].to_lowercase().replace("__", ".");
                layers.add_one(Origin::Variable(name.clone()), &name, &key, &value)?;
            }
        }
        for text in &flags.overrides {
            let (key, value) = text
                .split_once('=')
                .ok_or_else(|| ConfigError::new(format!("--set {text}"), "expected KEY=VALUE"))?;
            let key = key.trim();
            layers.add_one(Origin::Flag(key.to_owned()), &format!("--set {key}"), key, value)?;
        }
        Ok(layers)
    }

    /// Adds one setting. A key without a first name would be merged into nothing, and nobody would hear of it.
    fn add_one(&mut self, origin: Origin, written: &str, key: &str, value: &str) -> Result<(), ConfigError> {
        if key.split('.').any(str::is_empty) {
            return Err(ConfigError::new(written, "there is no such setting"));
        }
        self.add(origin, one_setting(key, value));
        Ok(())
    }

    fn add(&mut self, origin: Origin, settings: Dict) {
        self.figment = std::mem::take(&mut self.figment).merge(Layer { place: self.origins.len(), settings });
        self.origins.push(origin);
    }

    /// All that was written.
    pub(crate) fn settings(&self) -> Dict {
        self.figment.extract().unwrap_or_default()
    }

    /// These defaults, and what was written over them.
    pub(crate) fn over(&self, defaults: Serialized<impl serde::Serialize>) -> Figment {
        Figment::from(defaults).merge(&self.figment)
    }

    pub(crate) fn is_written(&self, key: &str) -> bool {
        self.origin(key).is_some()
    }

    /// What is wrong with a key, said of the place where it is written; of a default, by its key alone.
    pub(crate) fn wrong(&self, key: &str, problem: impl Into<String>) -> ConfigError {
        let written = match self.origin(key) {
            Some(Origin::File { path, document }) => match line(document, key) {
                Some(line) => format!("{path}:{line}: {key}"),
                None => format!("{path}: {key}"),
            },
            Some(Origin::Variable(name)) => name.clone(),
            Some(Origin::Flag(key)) => format!("--set {key}"),
            None => key.to_owned(),
        };
        ConfigError::new(written, problem)
    }

    /// Another key as it would be spelled where this one is written.
    pub(crate) fn spelled_like(&self, written: &str, key: &str) -> String {
        match self.origin(written) {
            Some(Origin::Variable(_)) => format!("{PREFIX}{}", key.to_uppercase().replace('.', "__")),
            Some(Origin::File { .. } | Origin::Flag(_)) | None => key.to_owned(),
        }
    }

    fn origin(&self, key: &str) -> Option<&Origin> {
        self.origins.get(self.figment.find_metadata(key)?.name.parse::<usize>().ok()?)
    }
}

fn file_to_read(flags: &Flags) -> Result<Option<&Path>, ConfigError> {
    match &flags.config {
        Some(path) if !path.is_file() => {
            Err(ConfigError::new(format!("--config {}", path.display()), "there is no such file"))
        }
        Some(path) => Ok(Some(path)),
        None => Ok(Some(Path::new(DEFAULT_FILE)).filter(|path| path.is_file())),
    }
}

fn read_file(path: &Path) -> Result<(ImDocument<String>, Dict), ConfigError> {
    let name = path.display();
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::new(name.to_string(), format!("cannot be read: {error}")))?;
    let settings = toml_edit::de::from_str(&text).map_err(|error| {
        let place = error
            .span()
            .map_or_else(|| name.to_string(), |span| format!("{name}:{}", line_at(&text, span.start)));
        ConfigError::new(place, error.message().replace('\n', "; "))
    })?;
    let document =
        ImDocument::parse(text).map_err(|error| ConfigError::new(name.to_string(), error.message()))?;
    Ok((document, settings))
}

/// The line that writes a key, or the first part of it that is a value.
fn line(document: &ImDocument<String>, key: &str) -> Option<usize> {
    let mut table: &dyn TableLike = document.as_table();
    let mut span = None;
    for part in key.split('.') {
        let (name, item) = table.get_key_value(part)?;
        span = name.span().or_else(|| item.span());
        match item.as_table_like() {
            Some(below) => table = below,
            None => break,
        }
    }
    span.map(|span| line_at(document.raw(), span.start))
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// The setting of a variable or a flag: a number, a truth value or a list if it reads like one, else text.
fn one_setting(key: &str, value: &str) -> Dict {
    let value: Value = value.parse().unwrap_or_else(|never: Infallible| match never {});
    figment::util::nest(key, value).into_dict().unwrap_or_default()
}
