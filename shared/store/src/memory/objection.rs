//! What the ledger in memory objects with: errors as the server makes them, by SQLSTATE, so that they mean to
//! the store what they would mean from Postgres.

use domain::PaymentRecord;
use sqlx::error::{DatabaseError, ErrorKind};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;

/// An objection of the server.
#[derive(Debug)]
struct Objection {
    code: &'static str,
    message: &'static str,
}

fn objection(code: &'static str, message: &'static str) -> sqlx::Error {
    sqlx::Error::Database(Box::new(Objection { code, message }))
}

/// A lock was not to be had within `lock_timeout`.
pub(super) fn lock_timeout() -> sqlx::Error {
    objection("55P03", "canceling statement due to lock timeout")
}

/// Transactions wait for each other in a circle, and this one is to give way.
pub(super) fn deadlock() -> sqlx::Error {
    objection("40P01", "deadlock detected")
}

/// Another transaction was faster.
pub(super) fn lost_race() -> sqlx::Error {
    objection("40001", "could not serialize access")
}

/// The session is ended.
pub(super) fn cut() -> sqlx::Error {
    objection("57P01", "terminating connection")
}

/// No text of Postgres may have a zero byte.
pub(super) fn zero_byte() -> sqlx::Error {
    objection("22021", "invalid byte sequence for encoding \"UTF8\": 0x00")
}

/// What the table's checks say of a new payment that no border of ours lets through.
pub(super) fn to_record(record: &PaymentRecord) -> Option<sqlx::Error> {
    let payment = &record.facts.payment;
    if payment.description.as_ref().is_some_and(|text| text.contains('\0')) {
        return Some(zero_byte());
    }
    let is_sound = payment.amount.minor > 0 && payment.source_account != payment.destination_account;
    (!is_sound).then(|| objection("23514", "new row for relation \"payments\" violates check constraint"))
}

impl fmt::Display for Objection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.message)
    }
}

impl Error for Objection {}

impl DatabaseError for Objection {
    fn message(&self) -> &str {
        self.message
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.code))
    }

    fn as_error(&self) -> &(dyn Error + Send + Sync + 'static) {
        self
    }

    fn as_error_mut(&mut self) -> &mut (dyn Error + Send + Sync + 'static) {
        self
    }

    fn into_error(self: Box<Self>) -> Box<dyn Error + Send + Sync + 'static> {
        self
    }

    fn kind(&self) -> ErrorKind {
        ErrorKind::Other
    }
}
