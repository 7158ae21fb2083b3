//! The ledger's invariants, asked from outside: each is a query that returns the rows that break it.

use crate::{Store, StoreError};
use sqlx::{AssertSqlSafe, Row};

impl Store {
    /// Runs an invariant's query and answers with up to `shown` of the rows that break it, as JSON, and how
    /// many there are. The query comes from a committed file, never from a client.
    pub async fn violations(&self, query: &str, shown: usize) -> Result<(u64, Vec<String>), StoreError> {
        let query = query.trim().trim_end_matches(';');
        let sql = format!("SELECT to_jsonb(violation)::text AS row FROM ({query}) AS violation");
        let rows = self.fetch_all(sqlx::query(AssertSqlSafe(sql))).await?;
        let sample = rows.iter().take(shown).map(|row| row.try_get("row")).collect::<Result<_, _>>()?;
        Ok((rows.len() as u64, sample))
    }
}
