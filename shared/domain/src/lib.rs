//! The rules of money, pure: what a payment is, when it is refused, how it is converted and how it is posted.
//!
//! Architecture invariants: nothing here does I/O, reads a clock, draws a random number or knows tokio. Time
//! and identifiers are arguments. Amounts are `i64` minor units with checked arithmetic; there is no floating
//! point.

mod closed_set;
pub mod currency;
pub mod facts;
pub mod fx;
pub mod id;
pub mod ledger;
pub mod metadata;
pub mod money;
pub mod payment;
pub mod refusal;
pub mod risk;
pub mod stage;
pub mod system_account;
pub mod timestamp;
pub mod trace;
pub mod velocity;

pub use currency::Currency;
pub use facts::{Facts, PaymentRecord};
pub use id::{AccountId, AccountKey, OperationId, PaymentId, PaymentKey, Tenant};
pub use metadata::Metadata;
pub use money::Money;
pub use payment::{Fingerprint, Payment};
pub use refusal::Refusal;
pub use stage::StageName;
pub use timestamp::Timestamp;
pub use trace::TraceContext;
