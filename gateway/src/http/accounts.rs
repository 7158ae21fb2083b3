//! Accounts and deposits: asked of the wallet service; looked up in the ledger.

use super::routes::Routes;
use super::{IDEMPOTENCY_REPLAYED, TRUE};
use bytes::Bytes;
use domain::AccountId;
use hyper::Request;
use hyper::body::Incoming;
use runtime::broker::Reply;
use runtime::http::{Answer, RequestContext, json, problem, text};
use runtime::process::chain;
use wire::object::RequestObject;
use wire::service::{AccountReply, Endpoint};
use wire::{Caller, Code, Problem, Route};

/// Opens an account.
pub(super) async fn open(
    context: &RequestContext,
    caller: &Caller,
    request: Request<Incoming>,
    routes: &Routes,
) -> Result<Answer, Problem> {
    let (body, _place) = routes.enter_with_json(request, routes.body_limit).await?;
    routes.ask(context, caller, Endpoint::Open, body).await.map(created)
}

/// Deposits into the account that the path names.
pub(super) async fn deposit(
    context: &RequestContext,
    caller: &Caller,
    request: Request<Incoming>,
    routes: &Routes,
) -> Result<Answer, Problem> {
    let uri = request.uri().clone();
    let (_, account) = Route::of(uri.path());
    let (body, _place) = routes.enter_with_json(request, routes.body_limit).await?;
    let mut object = RequestObject::parse(&body)?;
    let (id, amount) = (object.require_text("id")?, object.require_decimal("amount")?);
    object.finish()?;
    let body = serde_json::json!({ "account_id": account, "id": id, "amount": amount });
    routes.ask(context, caller, Endpoint::Deposit, Bytes::from(body.to_string())).await.map(created)
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
pub(super) async fn show(caller: &Caller, account: &str, routes: &Routes) -> Result<Answer, Problem> {
    let _places = (routes.admission.enter_for_the_ledger()?, routes.admission.enter()?);
    let missing = || Problem::new(Code::NotFound, "there is no such account");
    let id = AccountId::parse(account).map_err(|_| missing())?;
    let found = routes.store.account(&caller.account(id)).await.map_err(|error| {
        Problem::new(Code::Unavailable, "the ledger is unavailable").because(chain(&error))
    })?;
    match found {
        None => Ok(problem(missing())),
        Some(account) => {
            Ok(json(200, &AccountReply::of(account.key.id, account.status, account.balance, account.held)))
        }
    }
}
