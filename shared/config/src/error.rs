//! What is said of a configuration that cannot be used.

/// Why there is no configuration, in the words of whoever wrote it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written}: {problem}")]
pub struct ConfigError {
    /// Where: `KILAT_FX__SPREAD_BPS`, `--set fx.spread_bps` or `kilat.toml:7: fx.spread_bps`.
    pub written: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(written: impl Into<String>, problem: impl Into<String>) -> ConfigError {
        ConfigError { written: written.into(), problem: problem.into() }
    }
}
