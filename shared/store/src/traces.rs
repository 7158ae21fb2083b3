//! What accepted payments have left in the ledger: what the janitor asks before it purges or drives one
//! again.

use crate::pool::milliseconds;
use crate::{Store, StoreError};
use sqlx::Row;
use std::collections::HashMap;
use std::time::Duration;

/// What the ledger has of an accepted payment. Both kinds say how long it takes until they are as old as
/// asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trace {
    /// A row, which never goes away.
    Recorded {
        /// Until it is old enough.
        wait: Duration,
    },
    /// No row but an open dead letter, which someone may resolve.
    Dead {
        /// Until it is old enough.
        wait: Duration,
    },
}

impl Store {
    /// What these payments, given as tenant and id, have left in the ledger, by their place in `keys`; and
    /// how long each trace takes until it is `age` old by the database's clock. One round trip.
    pub async fn traces(
        &self,
        keys: &[(String, String)],
        age: Duration,
    ) -> Result<HashMap<usize, Trace>, StoreError> {
        let (tenants, ids): (Vec<&str>, Vec<&str>) =
            keys.iter().map(|(tenant, id)| (tenant.as_str(), id.as_str())).unzip();
        let query = sqlx::query(
            "SELECT k.place, p.id IS NOT NULL AS recorded,
                (extract(epoch FROM COALESCE(p.recorded_at, d.at) - clock_timestamp()) * 1000)::bigint + $3 AS wait_ms
             FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, id, place)
             LEFT JOIN payments p ON p.tenant = k.tenant AND p.id = k.id
             LEFT JOIN LATERAL (
                SELECT min(at) AS at FROM dead_letters d
                WHERE p.id IS NULL AND d.tenant = k.tenant AND d.id = k.id AND d.resolved_at IS NULL) d ON true
             WHERE p.id IS NOT NULL OR d.at IS NOT NULL",
        );
        let rows = self.fetch_all(query.bind(tenants).bind(ids).bind(milliseconds(age))).await?;
        let mut traces = HashMap::with_capacity(rows.len());
        for row in rows {
            let place = usize::try_from(row.try_get::<i64, _>("place")?).unwrap_or(0);
            let place = place.checked_sub(1).ok_or_else(|| StoreError::Corrupt("place".into()))?;
            let wait = Duration::from_millis(u64::try_from(row.try_get::<i64, _>("wait_ms")?).unwrap_or(0));
            traces.insert(
                place,
                if row.try_get("recorded")? { Trace::Recorded { wait } } else { Trace::Dead { wait } },
            );
        }
        Ok(traces)
    }
}
