//! The steps of one transaction, as reserve, settle and deposits take them: over Postgres here, in memory in
//! `memory`. What is judged between the steps is written once, for both.

use crate::holds;
use crate::locks::{AccountRow, AccountState, Locks, Rows};
use crate::operations::{self, Recorded};
use crate::posting::{Operation, OperationKind};
use crate::transaction::Broken;
use crate::{deposits, record, rejections, settlements};
use domain::{OperationId, PaymentKey, PaymentRecord, Refusal, Tenant, Timestamp};
use sqlx::postgres::PgConnection;
use std::collections::{BTreeSet, HashMap};
use std::future::Future;

/// One transaction that has begun. Each method is a round trip; each that writes tells whether all of it was
/// written.
pub(crate) trait Session: Send {
    /// Locks payments in id order, and reads them.
    fn lock_payments(
        &mut self,
        keys: &BTreeSet<PaymentKey>,
    ) -> impl Future<Output = Result<Rows<PaymentKey, PaymentRecord>, Broken>> + Send;

    /// Locks accounts in id order, and reads them.
    fn lock_accounts(
        &mut self,
        keys: &BTreeSet<AccountRow>,
    ) -> impl Future<Output = Result<Rows<AccountRow, AccountState>, Broken>> + Send;

    /// The payments that are already there. A statement of its own after the locks, so that it sees all that
    /// they waited for.
    fn records(
        &mut self,
        keys: Vec<PaymentKey>,
    ) -> impl Future<Output = Result<HashMap<PaymentKey, PaymentRecord>, Broken>> + Send;

    /// The deposits that are already there, likewise.
    fn deposits(
        &mut self,
        keys: Vec<(Tenant, OperationId)>,
    ) -> impl Future<Output = Result<HashMap<(Tenant, OperationId), Recorded>, Broken>> + Send;

    /// Inserts the rows and raises the holds.
    fn write_holds(
        &mut self,
        records: &[PaymentRecord],
        operations: &[Operation],
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Broken>> + Send;

    /// Inserts the rows of payments that hold nothing.
    fn write_rejections(
        &mut self,
        records: &[PaymentRecord],
    ) -> impl Future<Output = Result<bool, Broken>> + Send;

    /// Ends payments that are held, posts their entries and releases their holds.
    fn write_ends(
        &mut self,
        ended: &[(PaymentKey, Option<Refusal>)],
        operations: &[Operation],
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Broken>> + Send;

    /// Records deposits and posts their entries.
    fn write_deposits(
        &mut self,
        recorded: &[Recorded],
        operations: &[Operation],
        now: Timestamp,
    ) -> impl Future<Output = Result<bool, Broken>> + Send;
}

/// A transaction of Postgres.
pub(crate) struct PostgresSession<'t> {
    pub(crate) connection: &'t mut PgConnection,
    pub(crate) locks: &'t Locks,
}

impl Session for PostgresSession<'_> {
    async fn lock_payments(
        &mut self,
        keys: &BTreeSet<PaymentKey>,
    ) -> Result<Rows<PaymentKey, PaymentRecord>, Broken> {
        self.locks.payments(self.connection, keys).await
    }

    async fn lock_accounts(
        &mut self,
        keys: &BTreeSet<AccountRow>,
    ) -> Result<Rows<AccountRow, AccountState>, Broken> {
        self.locks.accounts(self.connection, keys).await
    }

    async fn records(&mut self, keys: Vec<PaymentKey>) -> Result<HashMap<PaymentKey, PaymentRecord>, Broken> {
        Ok(record::decode_all(&record::by_keys(&keys).fetch_all(&mut *self.connection).await?)?)
    }

    async fn deposits(
        &mut self,
        keys: Vec<(Tenant, OperationId)>,
    ) -> Result<HashMap<(Tenant, OperationId), Recorded>, Broken> {
        Ok(operations::read(self.connection, OperationKind::Deposit, &keys).await?)
    }

    async fn write_holds(
        &mut self,
        records: &[PaymentRecord],
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, Broken> {
        holds::write(self.connection, records, operations, now).await.map_err(Broken::at_insert)
    }

    async fn write_rejections(&mut self, records: &[PaymentRecord]) -> Result<bool, Broken> {
        rejections::write(self.connection, records).await.map_err(Broken::at_insert)
    }

    async fn write_ends(
        &mut self,
        ended: &[(PaymentKey, Option<Refusal>)],
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, Broken> {
        Ok(settlements::write(self.connection, ended, operations, now).await?)
    }

    async fn write_deposits(
        &mut self,
        recorded: &[Recorded],
        operations: &[Operation],
        now: Timestamp,
    ) -> Result<bool, Broken> {
        deposits::write(self.connection, recorded, operations, now).await.map_err(Broken::at_insert)
    }
}
