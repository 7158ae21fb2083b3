//! `wallet.balance`, `wallet.open` and `wallet.deposit`: accounts by request-reply.

use crate::services::rates::reply;
use domain::{AccountKey, Currency, Money, OperationId};
use futures::future::join_all;
use host::problem;
use runtime::broker::{Call, Reply, ServiceHandler};
use std::collections::{BTreeSet, HashMap};
use store::{Account, Deposit, DepositOutcome, Opening, Store};
use wire::object::{RequestObject, account, amount, currency};
use wire::service::{AccountReply, BalanceReply, DepositReply, Endpoint};
use wire::{Code, Problem};

pub(crate) struct Wallet {
    pub(crate) store: Store,
}

/// A deposit request before its account's currency is known.
struct DepositRequest {
    account: AccountKey,
    id: OperationId,
    digits: String,
}

impl ServiceHandler for Wallet {
    async fn answer(&self, endpoint: Endpoint, calls: Vec<Call>) -> Vec<Result<Reply, Problem>> {
        match endpoint {
            Endpoint::Balance => join_all(calls.iter().map(|call| self.balance(call))).await,
            Endpoint::Open => join_all(calls.iter().map(|call| self.open(call))).await,
            Endpoint::Deposit => self.deposit_all(&calls).await,
            Endpoint::Rate | Endpoint::Convert | Endpoint::Score => calls
                .iter()
                .map(|_| Err(Problem::new(Code::NotFound, "the wallet service has no such endpoint")))
                .collect(),
        }
    }
}

fn no_account() -> Problem {
    Problem::new(Code::NotFound, "there is no such account")
}

impl Wallet {
    async fn balance(&self, call: &Call) -> Result<Reply, Problem> {
        let mut request = RequestObject::parse(&call.body)?;
        let id = request.require_text("account_id")?;
        request.finish()?;
        let key = call.caller.account(account("account_id", id)?);
        let found =
            self.store.account(&key).await.map_err(|error| problem(&error))?.ok_or_else(no_account)?;
        reply(&BalanceReply {
            currency: found.currency,
            balance: found.balance.to_decimal_string(),
            held: found.held.to_decimal_string(),
            available: found.available().to_decimal_string(),
            account_id: found.key.id,
        })
    }

    async fn open(&self, call: &Call) -> Result<Reply, Problem> {
        let mut request = RequestObject::parse(&call.body)?;
        let (id, code) = (request.require_text("id")?, request.require_text("currency")?);
        request.finish()?;
        let (key, currency) = (call.caller.account(account("id", id)?), currency("currency", &code)?);
        match self.store.open_account(&key, currency).await.map_err(|error| problem(&error))? {
            Opening::Opened(opened) => reply(&account_reply(opened)),
            Opening::Replayed(opened) => Ok(Reply { replayed: true, ..reply(&account_reply(opened))? }),
            Opening::OtherCurrency => {
                Err(Problem::new(Code::IdempotencyMismatch, "the account exists in another currency"))
            }
        }
    }

    /// All waiting deposits in one transaction.
    async fn deposit_all(&self, calls: &[Call]) -> Vec<Result<Reply, Problem>> {
        let requests: Vec<Result<DepositRequest, Problem>> = calls.iter().map(parse_deposit).collect();
        let accounts: BTreeSet<AccountKey> =
            requests.iter().flatten().map(|request| request.account.clone()).collect();
        let currencies = match self.store.account_currencies(&accounts).await {
            Ok(currencies) => currencies,
            Err(error) => return calls.iter().map(|_| Err(problem(&error))).collect(),
        };
        let checked: Vec<Result<Deposit, Problem>> =
            requests.into_iter().map(|request| check_deposit(request?, &currencies)).collect();
        let deposits: Vec<Deposit> = checked.iter().flatten().cloned().collect();
        let outcomes = match self.store.deposit(deposits, runtime::clock::now()).await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                return checked.into_iter().map(|one| one.and_then(|_| Err(problem(&error)))).collect();
            }
        };
        let mut outcomes = outcomes.into_iter();
        let answer = |deposit: Result<Deposit, Problem>| {
            let deposit = deposit?;
            let outcome =
                outcomes.next().ok_or_else(|| Problem::new(Code::Internal, "a deposit was not answered"))?;
            deposit_reply(deposit, &outcome)
        };
        checked.into_iter().map(answer).collect()
    }
}

fn parse_deposit(call: &Call) -> Result<DepositRequest, Problem> {
    let mut request = RequestObject::parse(&call.body)?;
    let (account_id, id) = (request.require_text("account_id")?, request.require_text("id")?);
    let digits = request.require_decimal("amount")?;
    request.finish()?;
    let id = OperationId::parse(id).map_err(|error| Problem::new(Code::InvalidId, format!("id {error}")))?;
    Ok(DepositRequest { account: call.caller.account(account("account_id", account_id)?), id, digits })
}

fn check_deposit(
    request: DepositRequest,
    currencies: &HashMap<AccountKey, Currency>,
) -> Result<Deposit, Problem> {
    let currency = currencies.get(&request.account).ok_or_else(no_account)?;
    Ok(Deposit {
        amount: amount("amount", &request.digits, *currency)?,
        account: request.account,
        id: request.id,
    })
}

fn deposit_reply(deposit: Deposit, outcome: &DepositOutcome) -> Result<Reply, Problem> {
    let body = |balance: Money| {
        reply(&DepositReply {
            id: deposit.id.clone(),
            account_id: deposit.account.id.clone(),
            amount: deposit.amount.to_decimal_string(),
            currency: deposit.amount.currency,
            balance: balance.to_decimal_string(),
        })
    };
    match outcome {
        DepositOutcome::Posted(balance) => body(*balance),
        DepositOutcome::Replayed(balance) => Ok(Reply { replayed: true, ..body(*balance)? }),
        DepositOutcome::Mismatch => {
            Err(Problem::new(Code::IdempotencyMismatch, "the id was used for another deposit"))
        }
        DepositOutcome::NoAccount => Err(no_account()),
        DepositOutcome::Locked => {
            Err(Problem::new(Code::Unavailable, "the account is locked by another transaction"))
        }
        DepositOutcome::TooLarge => Err(Problem::new(Code::AmountTooLarge, "the balance would be too large")),
    }
}

/// An account as clients see it.
fn account_reply(account: Account) -> AccountReply {
    AccountReply::of(account.key.id, account.status, account.balance, account.held)
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::AccountId;
    use wire::Caller;

    #[test]
    fn a_deposit_that_did_not_come_in_says_why() {
        let amount = Money::new(100, Currency::EUR);
        let account = Caller::default().account(AccountId::parse("A").unwrap());
        let rows = [
            (DepositOutcome::Locked, Code::Unavailable),
            (DepositOutcome::TooLarge, Code::AmountTooLarge),
            (DepositOutcome::NoAccount, Code::NotFound),
            (DepositOutcome::Mismatch, Code::IdempotencyMismatch),
        ];
        for (outcome, expected) in rows {
            let deposit = Deposit { account: account.clone(), id: OperationId::parse("D").unwrap(), amount };
            assert_eq!(
                deposit_reply(deposit, &outcome).map_err(|problem| problem.code),
                Err(expected),
                "{outcome:?}"
            );
        }
    }
}
