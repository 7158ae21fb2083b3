//! Rows of `operations`: what was done under an id, by everything that is no payment.

use crate::StoreError;
use crate::columns::{PgQuery, columns};
use crate::posting::{LedgerWrite, Operation, OperationKind};
use domain::{Currency, Money, OperationId, Tenant};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use std::collections::HashMap;

/// What an operation was: a second request under its id is compared with it.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) account_id: String,
    pub(crate) amount: Money,
    /// The account's balance after it, in minor units.
    pub(crate) balance_after: i64,
}

columns! {
    OperationColumns<'r> of row: (&'r Operation, &'r Recorded) {
        tenant: &'r str as "text" = row.0.tenant.as_str();
        id: &'r str as "text" = row.0.id.as_str();
        account_id: &'r str as "text" = row.1.account_id.as_str();
        currency: &'r str as "text" = row.1.amount.currency.code();
        amount: i64 as "bigint" = row.1.amount.minor;
        balance_after: i64 as "bigint" = row.1.balance_after;
    }
}

/// Writes operations of one kind. Sorted by id, so that two writers meet in one order; one that is already
/// there is left alone, and not all is written.
pub(crate) fn write(kind: OperationKind) -> LedgerWrite {
    let (names, values, rows) =
        (OperationColumns::TABLE.names(), OperationColumns::TABLE.values(), OperationColumns::TABLE.rows(1));
    let insertion = format!(
        "INSERT INTO operations ({names}, kind) SELECT {values}, '{}' FROM {rows}
         ORDER BY n.tenant, n.id
         ON CONFLICT DO NOTHING
         RETURNING id",
        kind.as_str()
    );
    LedgerWrite::new(kind, &insertion)
}

/// Binds what each operation of a [`write`](fn@write) was, in their order.
pub(crate) fn bind<'q>(query: PgQuery<'q>, operations: &[Operation], recorded: &[Recorded]) -> PgQuery<'q> {
    OperationColumns::of(operations.iter().zip(recorded)).bind(query)
}

/// Those of these operations that are already there. A statement of its own after the locks, so that it sees
/// all that they waited for.
pub(crate) async fn read(
    connection: &mut PgConnection,
    kind: OperationKind,
    keys: &[(Tenant, OperationId)],
) -> Result<HashMap<(Tenant, OperationId), Recorded>, StoreError> {
    let (tenants, ids): (Vec<&str>, Vec<&str>) =
        keys.iter().map(|(tenant, id)| (tenant.as_str(), id.as_str())).unzip();
    // OFFSET keeps each look a look of its own: joined, a plan made while the table was empty reads all of the
    // kind, and is kept.
    let rows = sqlx::query(
        "SELECT o.tenant, o.id, o.account_id, o.currency, o.amount, o.balance_after
         FROM UNNEST($1::text[], $2::text[]) AS k(tenant, id)
         CROSS JOIN LATERAL (
            SELECT * FROM operations WHERE tenant = k.tenant AND kind = $3 AND id = k.id OFFSET 0) o",
    )
    .bind(tenants)
    .bind(ids)
    .bind(kind.as_str())
    .fetch_all(&mut *connection)
    .await?;
    let corrupt = |what: &str| StoreError::Corrupt(format!("operations.{what}"));
    let mut known = HashMap::with_capacity(rows.len());
    for row in rows {
        let tenant = Tenant::parse(row.try_get::<String, _>("tenant")?).map_err(|_| corrupt("tenant"))?;
        let id = OperationId::parse(row.try_get::<String, _>("id")?).map_err(|_| corrupt("id"))?;
        let currency = Currency::parse(row.try_get("currency")?).map_err(|_| corrupt("currency"))?;
        let amount = Money::new(row.try_get("amount")?, currency);
        let recorded = Recorded {
            account_id: row.try_get("account_id")?,
            amount,
            balance_after: row.try_get("balance_after")?,
        };
        known.insert((tenant, id), recorded);
    }
    Ok(known)
}
