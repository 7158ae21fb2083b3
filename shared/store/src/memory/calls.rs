//! The transactions of the ledger in memory: the store's own bodies, each in a session in memory.

use crate::deposits::{self, SHARD};
use crate::memory::{Call, MemoryLedger};
use crate::system_accounts::with_system_accounts;
use crate::transaction::{Piece, judge_in_pieces};
use crate::{
    Answer, Deposit, DepositOutcome, HoldRequest, PaymentPage, SettleRequest, Settlement, StageLedger,
    StoreError, holds, rejections, settlements,
};
use domain::{AccountKey, Currency, PaymentRecord, Timestamp};
use std::collections::{BTreeSet, HashMap};

/// Nothing is remembered of a key that another inserts.
fn forget<T>(_: &T) {}

impl StageLedger for MemoryLedger {
    async fn account_currencies(
        &self,
        keys: &BTreeSet<AccountKey>,
    ) -> Result<HashMap<AccountKey, Currency>, StoreError> {
        self.currencies(keys).await
    }

    async fn reserve(&self, requests: Vec<HoldRequest>, now: Timestamp) -> Result<Vec<Answer>, StoreError> {
        let judge = async |piece: Piece<HoldRequest>| {
            let body = async |session| holds::reserve(session, &piece, now).await;
            self.transact(Call::Reserve, body).await
        };
        judge_in_pieces(requests.into(), || Answer::Locked, judge, forget).await
    }

    async fn settle(
        &self,
        requests: Vec<SettleRequest>,
        now: Timestamp,
        shard: u16,
    ) -> Result<Vec<Settlement>, StoreError> {
        let judge = async |piece: Piece<SettleRequest>| {
            let attempt = async |ours| {
                let body = async |session| settlements::settle(session, &piece, &ours, now).await;
                self.transact(Call::Settle, body).await
            };
            with_system_accounts(self, settlements::currencies(&piece), shard, attempt).await
        };
        judge_in_pieces(requests.into(), || Settlement::Locked, judge, forget).await
    }

    async fn record_rejections(&self, refused: Vec<PaymentRecord>) -> Result<Vec<Answer>, StoreError> {
        let judge = async |piece: Piece<PaymentRecord>| {
            let body = async |session| rejections::record_rejections(session, &piece).await;
            self.transact(Call::RecordRejections, body).await
        };
        judge_in_pieces(refused.into(), || Answer::Locked, judge, forget).await
    }

    async fn recent_payments(&self, after: Timestamp, rows_max: u32) -> Result<PaymentPage, StoreError> {
        self.payments_after(after, rows_max).await
    }
}

impl MemoryLedger {
    /// See [`crate::Store::deposit`].
    pub async fn deposit(
        &self,
        deposits: Vec<Deposit>,
        now: Timestamp,
    ) -> Result<Vec<DepositOutcome>, StoreError> {
        let judge = async |piece: Piece<Deposit>| {
            let attempt = async |ours| {
                let body = async |session| deposits::deposit_all(session, &piece, &ours, now).await;
                self.transact(Call::Deposit, body).await
            };
            with_system_accounts(self, deposits::currencies(&piece), SHARD, attempt).await
        };
        judge_in_pieces(deposits.into(), || DepositOutcome::Locked, judge, forget).await
    }
}
