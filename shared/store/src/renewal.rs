//! Connections that must not be used again.
//!
//! A connection keeps the plan of each statement. When a migration changes what a statement answers, the
//! server refuses the kept plan in every transaction, for as long as the connection lives. And where one
//! connection has fallen silent, the others that lie idle may be as dead.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Tells which connections of a pool are too old; clones share what they know.
#[derive(Debug, Clone, Default)]
pub(crate) struct Renewal(Arc<Mutex<Option<Instant>>>);

impl Renewal {
    /// Has every connection that there is now replaced before its next use, if this error says that its plans
    /// are outdated.
    pub(crate) fn notice(&self, error: &sqlx::Error) {
        if is_outdated_plan(error) {
            tracing::warn!("the schema has changed: connections are made anew");
            self.renew_all();
        }
    }

    /// One connection has had no answer in time: has every other that there is now replaced before its next
    /// use, or each would cost another wait. Those that were made since the last renewal know nothing of the
    /// silence of one that was taken before.
    pub(crate) fn notice_silence(&self, taken_at: Instant) {
        if self.renewed_at().is_some_and(|renewed_at| taken_at < renewed_at) {
            return;
        }
        tracing::warn!("the database has fallen silent: connections are made anew");
        self.renew_all();
    }

    /// Whoever meets one of them closes it. It is idle by then, with all that was ever sent on it received, so
    /// its good-bye waits for nobody.
    fn renew_all(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// Whether a connection of this age may still be used.
    pub(crate) fn keeps(&self, age: Duration) -> bool {
        self.renewed_at().is_none_or(|renewed_at| age < renewed_at.elapsed())
    }

    fn renewed_at(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `cached plan must not change result type`, or a prepared statement that the server has forgotten.
fn is_outdated_plan(error: &sqlx::Error) -> bool {
    error
        .as_database_error()
        .and_then(|database| database.code())
        .is_some_and(|code| matches!(code.as_ref(), "0A000" | "26000"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_silence_renews_nothing_again() {
        let renewal = Renewal::default();
        let before = Instant::now();
        renewal.notice_silence(before);
        let first = renewal.renewed_at().unwrap();
        for (about, taken_at, renews) in [
            ("taken before the renewal", before, false),
            ("taken since", first, true),
            ("taken before the second", first, false),
        ] {
            let last = renewal.renewed_at();
            renewal.notice_silence(taken_at);
            assert_eq!(renewal.renewed_at() > last, renews, "{about}");
        }
    }
}
