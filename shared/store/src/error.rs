//! What can go wrong with the database, by what is to be done about it.

use crate::record;
use sqlx::postgres::{PgConnectOptions, PgDatabaseError};

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, refuses us, was too slow, or has a schema that this build does not know: nothing
    /// is wrong with the request. Try again.
    #[error("the database is unavailable{}", sqlstate(.0))]
    Unavailable(#[source] sqlx::Error),
    /// The database neither answers nor refuses. What was asked may still be carried out.
    #[error("the database did not answer within {0:?}")]
    Silent(std::time::Duration),
    /// Other transactions were in the way again and again. Try again.
    #[error("the transaction lost against others {0} times")]
    Contention(u32),
    /// The database or this code objects to the data itself. Trying again would not help.
    #[error("the database objects to the data{}", sqlstate(.0))]
    Unexpected(#[source] sqlx::Error),
    /// A row does not make sense to this build.
    #[error("a row is not understood: {0}")]
    Corrupt(String),
    /// A migration failed.
    #[error("migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A transaction's task ended without an answer.
    #[error("a transaction panicked: {0}")]
    Panicked(String),
    /// Any of these, of the database with this name and address.
    #[error("{database}")]
    Of {
        /// Such as `kilat at 127.0.0.1:5432`.
        database: String,
        /// What is wrong with it.
        source: Box<StoreError>,
    },
}

impl StoreError {
    /// Whether the same request may succeed later as it stands.
    pub fn is_outage(&self) -> bool {
        match self {
            StoreError::Unavailable(_) | StoreError::Silent(_) | StoreError::Contention(_) => true,
            StoreError::Of { source, .. } => source.is_outage(),
            StoreError::Unexpected(_)
            | StoreError::Corrupt(_)
            | StoreError::Migration(_)
            | StoreError::Panicked(_) => false,
        }
    }

    /// Says of which database, unless it is about the data.
    pub(crate) fn of(self, options: &PgConnectOptions) -> StoreError {
        match self {
            StoreError::Unavailable(_) | StoreError::Silent(_) | StoreError::Migration(_) => {
                StoreError::Of { database: place(options), source: Box::new(self) }
            }
            StoreError::Contention(_)
            | StoreError::Unexpected(_)
            | StoreError::Corrupt(_)
            | StoreError::Panicked(_)
            | StoreError::Of { .. } => self,
        }
    }
}

/// The database's name and address; never its password, not even where one that was not escaped was taken for
/// a name.
fn place(options: &PgConnectOptions) -> String {
    let name = options.get_database().unwrap_or(options.get_username());
    let name = if name.contains('@') { "***" } else { name };
    match options.get_socket() {
        Some(folder) => format!("{name} at {}", folder.display()),
        None => format!("{name} at {}:{}", options.get_host(), options.get_port()),
    }
}

/// The server's own code, in brackets, where it said one.
fn sqlstate(error: &sqlx::Error) -> String {
    let code = error.as_database_error().and_then(|database| database.code());
    code.map(|code| format!(" (SQLSTATE {code})")).unwrap_or_default()
}

/// Whether the server ended the transaction in favour of another: serialization failure or deadlock.
pub(crate) fn lost_a_race(error: &sqlx::Error) -> bool {
    has_code(error, &["40001", "40P01"])
}

/// Whether a lock was not to be had within `lock_timeout`.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    has_code(error, &["55P03"])
}

/// Whether a payment was to be inserted whose key another transaction has inserted meanwhile.
pub(crate) fn is_taken(error: &sqlx::Error) -> bool {
    let constraint = error.as_database_error().and_then(|database| database.constraint());
    has_code(error, &["23505"]) && constraint == Some("payments_pkey")
}

/// A value is missing where there must be one.
const NOT_NULL_VIOLATION: &str = "23502";

/// Whether the schema asks for a value of a column that this build does not write: every payment is refused for
/// it. A column that some payments have a value for and others do not is about those others: the first go on,
/// and the brake halts the burial of the rest.
fn misses_what_we_do_not_write(error: &sqlx::Error) -> bool {
    let database =
        error.as_database_error().and_then(|database| database.try_downcast_ref::<PgDatabaseError>());
    database.is_some_and(|database| {
        let is_written =
            database.table() == Some("payments") && database.column().is_some_and(record::writes);
        database.code() == NOT_NULL_VIOLATION && !is_written
    })
}

/// Whether a column is of a type that this build does not expect, as after a migration that it does not know:
/// every row would be refused for it. sqlx has no other word for it than the text.
fn is_of_another_type(source: &(dyn std::error::Error + Send + Sync)) -> bool {
    source.to_string().starts_with("mismatched types")
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error
        .as_database_error()
        .and_then(|database| database.code())
        .is_some_and(|code| codes.contains(&code.as_ref()))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let about_the_data = match &error {
            // 22: data exception, 23: constraint violation. Every other class speaks of the server, its
            // schema or our rights.
            sqlx::Error::Database(database) => {
                database.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
                    && !misses_what_we_do_not_write(&error)
            }
            sqlx::Error::ColumnDecode { source, .. } => !is_of_another_type(source.as_ref()),
            sqlx::Error::Decode(_) | sqlx::Error::Encode(_) => true,
            _ => false,
        };
        if about_the_data { StoreError::Unexpected(error) } else { StoreError::Unavailable(error) }
    }
}
