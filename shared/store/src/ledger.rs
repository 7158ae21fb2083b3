//! The ledger as its users see it: what stages write, what the border and the janitor read. Each part of the
//! services asks for its trait, so that it can work on a ledger in memory as well.

use crate::{
    Account, Answer, DeadLetter, HoldPage, HoldRequest, Known, OpenHold, PaymentPage, SettleRequest,
    Settlement, StatusRow, Store, StoreError, Trace,
};
use domain::{AccountKey, Currency, PaymentKey, PaymentRecord, Timestamp};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::time::Duration;

/// A trait over some of the store's own methods, which say what they do.
macro_rules! seam {
    ($(#[$doc:meta])* $seam:ident { $(fn $name:ident(&self $(, $argument:ident: $kind:ty)*) -> $answer:ty;)+ }) => {
        $(#[$doc])*
        pub trait $seam: Clone + Send + Sync + 'static {
            $(
                #[doc = concat!("See [`Store::", stringify!($name), "`].")]
                fn $name(&self $(, $argument: $kind)*) -> impl Future<Output = Result<$answer, StoreError>> + Send;
            )+
        }

        impl $seam for Store {
            $(
                async fn $name(&self $(, $argument: $kind)*) -> Result<$answer, StoreError> {
                    Store::$name(self $(, $argument)*).await
                }
            )+
        }
    };
}

seam! {
    /// What the stages ask of the ledger.
    StageLedger {
        fn account_currencies(&self, keys: &BTreeSet<AccountKey>) -> HashMap<AccountKey, Currency>;
        fn reserve(&self, requests: Vec<HoldRequest>, now: Timestamp) -> Vec<Answer>;
        fn settle(&self, requests: Vec<SettleRequest>, now: Timestamp, shard: u16) -> Vec<Settlement>;
        fn record_rejections(&self, refused: Vec<PaymentRecord>) -> Vec<Answer>;
        fn recent_payments(&self, after: Timestamp, rows_max: u32) -> PaymentPage;
    }
}

seam! {
    /// What the harness asks of the ledger about payments that cannot be judged.
    DeadLetterLedger {
        fn bury(&self, letter: &DeadLetter) -> ();
        fn open_dead_letters(&self) -> HashSet<(String, String)>;
    }
}

seam! {
    /// What the border asks of the ledger.
    BorderLedger {
        fn known(&self, keys: &[PaymentKey]) -> HashMap<PaymentKey, Known>;
        fn status(&self, key: &PaymentKey) -> StatusRow;
        fn statuses(&self, keys: &[PaymentKey]) -> HashMap<PaymentKey, StatusRow>;
        fn account(&self, key: &AccountKey) -> Option<Account>;
    }
}

seam! {
    /// What the janitor asks of the ledger.
    JanitorLedger {
        fn traces(&self, keys: &[(String, String)], age: Duration) -> HashMap<usize, Trace>;
        fn records(&self, keys: &[PaymentKey]) -> HashMap<PaymentKey, PaymentRecord>;
        fn holds_watermark(&self) -> Timestamp;
        fn young_holds(&self, after: Timestamp, age: Duration, rows_max: u32) -> HoldPage;
        fn late_holds(&self, after: Timestamp, age: Duration, rows_max: u32, known: Timestamp) -> HoldPage;
        fn remembered_holds(&self, after: Option<&PaymentKey>, rows_max: u32) -> Vec<OpenHold>;
        fn still_held(&self, keys: &[PaymentKey]) -> HashMap<PaymentKey, bool>;
        fn forget_holds(&self, keys: &[PaymentKey]) -> ();
    }
}
