//! Accounts and deposits: asked of the wallet service; looked up in the ledger.

use crate::payments::{IDEMPOTENCY_REPLAYED, TRUE};
use crate::routes::Routes;
use bytes::Bytes;
use domain::{AccountId, AccountKey, Tenant};
use hyper::Request;
use hyper::body::Incoming;
use runtime::broker::Reply;
use runtime::http::{Answer, json, problem, text};
use store::Store;
use wire::object::RequestObject;
use wire::service::{AccountReply, Endpoint};
use wire::{Code, Problem};

/// Opens an account.
pub(crate) async fn open(request: Request<Incoming>, routes: &Routes) -> Result<Answer, Problem> {
    let (body, _place) = routes.admission.enter_with_json(request, &routes.http).await?;
    routes.ask(Endpoint::Open, body).await.map(created)
}

/// Deposits into the account that the path names.
pub(crate) async fn deposit(account: &str, request: Request<Incoming>, routes: &Routes) -> Result<Answer, Problem> {
    let (body, _place) = routes.admission.enter_with_json(request, &routes.http).await?;
    let mut object = RequestObject::parse(&body)?;
    let (id, amount) = (object.require_text("id")?, object.require_decimal("amount")?);
    object.finish()?;
    let body = serde_json::json!({ "account_id": account, "id": id, "amount": amount });
    routes.ask(Endpoint::Deposit, Bytes::from(body.to_string())).await.map(created)
}

fn created(reply: Reply) -> Answer {
    if !reply.replayed {
        return text(201, "application/json", reply.body);
    }
    let mut answer = text(200, "application/json", reply.body);
    answer.headers_mut().insert(IDEMPOTENCY_REPLAYED, TRUE);
    answer
}

/// Shows an account.
pub(crate) async fn show(account: &str, store: &Store) -> Result<Answer, Problem> {
    let missing = || Problem::new(Code::NotFound, "there is no such account");
    let id = AccountId::parse(account).map_err(|_| missing())?;
    let found = store.account(&AccountKey { tenant: Tenant::default(), id }).await.map_err(|error| {
        tracing::warn!(%error, "an account cannot be read");
        Problem::new(Code::Unavailable, "the ledger is unavailable")
    })?;
    match found {
        None => Ok(problem(&missing())),
        Some(account) => Ok(json(200, &AccountReply::of(account.key.id, account.status, account.balance, account.held))),
    }
}
