//! What can go wrong with the database, by what is to be done about it.

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database is away, refuses us, or was too slow: nothing is wrong with the request. Try again.
    #[error("the database is unavailable")]
    Unavailable(#[source] sqlx::Error),
    /// The database neither answers nor refuses. What was asked may still be carried out.
    #[error("the database did not answer within {0:?}")]
    Silent(std::time::Duration),
    /// Other transactions were in the way again and again. Try again.
    #[error("the transaction lost against others {0} times")]
    Contention(u32),
    /// The database or this code objects to the data itself. Trying again would not help.
    #[error("the database objects to the data")]
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
}

impl StoreError {
    /// Whether the same request may succeed later as it stands.
    pub fn is_outage(&self) -> bool {
        matches!(self, StoreError::Unavailable(_) | StoreError::Silent(_) | StoreError::Contention(_))
    }
}

/// Whether the server ended the transaction in favour of another: serialization failure or deadlock.
pub(crate) fn lost_a_race(error: &sqlx::Error) -> bool {
    has_code(error, &["40001", "40P01"])
}

/// Whether a lock was not to be had within `lock_timeout`.
pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    has_code(error, &["55P03"])
}

fn has_code(error: &sqlx::Error, codes: &[&str]) -> bool {
    error.as_database_error().and_then(|database| database.code()).is_some_and(|code| codes.contains(&code.as_ref()))
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> StoreError {
        let about_the_data = match &error {
            // 22: data exception, 23: constraint violation. Every other class speaks of the server, its schema or our rights.
            sqlx::Error::Database(database) => database.code().is_some_and(|code| code.starts_with("22") || code.starts_with("23")),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) | sqlx::Error::Encode(_) | sqlx::Error::ColumnNotFound(_) => true,
            _ => false,
        };
        if about_the_data { StoreError::Unexpected(error) } else { StoreError::Unavailable(error) }
    }
}
