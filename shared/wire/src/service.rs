//! Request-reply: the micro services' subjects and bodies. Replies equal the HTTP bodies.

use crate::{Role, Route};
use domain::ledger::AccountStatus;
use domain::{AccountId, Currency, Money, OperationId, Timestamp};
use serde::{Deserialize, Serialize};

macro_rules! endpoints {
    ($($endpoint:ident = $role:ident $name:literal $subject:literal),+ $(,)?) => {
        /// An endpoint of a micro service.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Endpoint {
            $(
                #[doc = concat!("`", $name, "` of the role of its service.")]
                $endpoint,
            )+
        }

        impl Endpoint {
            /// Every endpoint there is.
            pub const ALL: &[Endpoint] = &[$(Endpoint::$endpoint),+];

            /// The role that answers it.
            pub const fn role(self) -> Role {
                match self { $(Endpoint::$endpoint => Role::$role),+ }
            }

            /// The subject that requests go to.
            pub const fn subject(self) -> &'static str {
                match self { $(Endpoint::$endpoint => $subject),+ }
            }

            /// The endpoint's name within its service.
            pub const fn name(self) -> &'static str {
                match self { $(Endpoint::$endpoint => $name),+ }
            }
        }
    };
}

endpoints! {
    Balance = Wallet "balance" "wallet.balance",
    Open = Wallet "open" "wallet.open",
    Deposit = Wallet "deposit" "wallet.deposit",
    Rate = Fx "rate" "fx.rate",
    Convert = Fx "convert" "fx.convert",
    Score = Risk "score" "risk.score",
}

impl Endpoint {
    /// The endpoints that a role answers.
    pub fn of(role: Role) -> Vec<Endpoint> {
        Endpoint::ALL.iter().copied().filter(|endpoint| endpoint.role() == role).collect()
    }

    /// The service that the endpoint belongs to, as `nats micro ls` shows it.
    pub const fn service(self) -> &'static str {
        self.role().as_str()
    }

    /// The route on which HTTP asks for the same, if there is one.
    pub const fn route(self) -> Option<Route> {
        match self {
            Endpoint::Balance => Some(Route::Balance),
            Endpoint::Rate => Some(Route::Rate),
            Endpoint::Convert => Some(Route::Convert),
            Endpoint::Score => Some(Route::Score),
            // The gateway's routes for these answer in other words.
            Endpoint::Open | Endpoint::Deposit => None,
        }
    }

    /// As metrics and log lines name what is asked for: as HTTP does, where it asks for the same.
    pub fn route_name(self) -> &'static str {
        self.route().map_or(self.subject(), Route::as_str)
    }

    /// The endpoint that answers an HTTP route as it is.
    pub fn at(route: Route) -> Option<Endpoint> {
        Endpoint::ALL.iter().copied().find(|endpoint| endpoint.route() == Some(route))
    }
}

/// Reply of `wallet.balance`; amounts are decimal strings in the account's currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BalanceReply {
    /// The account that was asked for.
    pub account_id: AccountId,
    /// The account's one currency.
    pub currency: Currency,
    /// The sum of its entries.
    pub balance: String,
    /// What open holds keep back.
    pub held: String,
    /// What can be spent.
    pub available: String,
}

/// Reply of `wallet.open`, and the body of `/accounts/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountReply {
    /// The account that is there now.
    pub id: AccountId,
    /// Its one immutable currency.
    pub currency: Currency,
    /// Whether money may leave it.
    pub status: AccountStatus,
    /// The sum of its entries.
    pub balance: String,
    /// What open holds keep back.
    pub held: String,
    /// What can be spent.
    pub available: String,
}

impl AccountReply {
    /// An account with these amounts in its currency.
    pub fn of(id: AccountId, status: AccountStatus, balance: Money, held: Money) -> AccountReply {
        let available = Money::new(balance.minor.saturating_sub(held.minor), balance.currency);
        AccountReply {
            id,
            currency: balance.currency,
            status,
            balance: balance.to_decimal_string(),
            held: held.to_decimal_string(),
            available: available.to_decimal_string(),
        }
    }
}

/// Reply of `wallet.deposit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DepositReply {
    /// The deposit, unique per tenant.
    pub id: OperationId,
    /// The account that it went to.
    pub account_id: AccountId,
    /// How much came in.
    pub amount: String,
    /// The account's currency.
    pub currency: Currency,
    /// The account's balance right after it.
    pub balance: String,
}

/// Reply of `fx.rate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateReply {
    /// One major unit of this currency
    pub base: Currency,
    /// is worth so many of this one.
    pub quote: Currency,
    /// The mid-market rate, a decimal string.
    pub rate: String,
    /// When it was true.
    pub as_of: Timestamp,
}

/// Reply of `fx.convert`: what a payment of the amount would bring, and what of it the house keeps. Rounded down
/// to the minor unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConvertReply {
    /// The currency of `amount`.
    pub from: Currency,
    /// The currency of `converted`, `gross` and `fee`.
    pub to: Currency,
    /// What was asked.
    pub amount: String,
    /// What arrives, after the spread; nothing when that is less than a minor unit.
    pub converted: String,
    /// The mid-market rate, a decimal string.
    pub rate: String,
    /// What the amount is worth at that rate.
    pub gross: String,
    /// What the house keeps: the difference of the two.
    pub fee: String,
    /// How that is reckoned, in basis points; none within one currency.
    pub spread_bps: u32,
    /// When it was true.
    pub as_of: Timestamp,
}

/// Reply of `risk.score`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScoreReply {
    /// Percent of the tightest limit that the payment would use.
    pub score: u8,
    /// What risk would decide.
    pub decision: Decision,
    /// The rules that would refuse it.
    pub reasons: Vec<String>,
}

/// What risk decides of a payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may pass.
    Approve,
    /// It is refused.
    Reject,
}
