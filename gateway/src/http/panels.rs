//! `GET /panels` and `GET /panels/{id}`.

use super::routes::Routes;
use crate::panels::Range;
use hyper::Request;
use hyper::body::Incoming;
use runtime::http::{Answer, json, query, text};
use wire::{Code, Problem};

/// Tells which panels there are.
pub(super) async fn list(routes: &Routes) -> Result<Answer, Problem> {
    Ok(json(200, &routes.panels.list().await?))
}

/// Tells what a panel shows.
pub(super) async fn show(request: &Request<Incoming>, id: &str, routes: &Routes) -> Result<Answer, Problem> {
    let body = routes.panels.show(id, range(request)?).await?;
    Ok(text(200, "application/json", body))
}

fn range(request: &Request<Incoming>) -> Result<Range, Problem> {
    let mut parameters = query(request)?;
    let range = parameters.remove("range");
    if !parameters.is_empty() {
        return Err(Problem::new(Code::UnknownField, "a panel takes no parameter but range"));
    }
    let Some(range) = range else { return Ok(Range::DEFAULT) };
    let none = || {
        let ranges = Range::ALL.map(Range::as_str).join(", ");
        Problem::new(Code::MalformedJson, format!("range must be one of {ranges}"))
    };
    range.as_str().and_then(Range::named).ok_or_else(none)
}
