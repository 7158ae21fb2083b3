//! `GET /payments/{id}`: at once, or when there is something to tell.

use super::conditions::{EntityTag, IfNoneMatch, PREFERENCE_APPLIED, applied, wait};
use super::routes::Routes;
use crate::border::Answered;
use crate::view::PaymentView;
use hyper::HeaderMap;
use hyper::header::{CACHE_CONTROL, CONNECTION, ETAG, HeaderValue};
use runtime::http::{Answer, RequestContext, about, bare, problem, text, waited};
use std::time::{Duration, Instant};
use wire::{Caller, Code, Problem};

/// It is the client's own, and may be another one the next time.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// Tells a payment's status: as it is, or as soon as the payment has ended or differs from what the client
/// has.
pub(super) async fn show(
    context: &RequestContext,
    caller: &Caller,
    id: &str,
    headers: &HeaderMap,
    routes: &Routes,
) -> Result<Answer, Problem> {
    let (longest, known) = (wait(headers), IfNoneMatch::of(headers));
    let is_news = |view: &PaymentView| {
        let tag = |view: &PaymentView| Some(EntityTag::of(&Answered::told(view).ok()?.body));
        known.as_ref().is_some_and(|known| !tag(view).is_some_and(|tag| known.has(&tag)))
    };
    let asked_at = Instant::now();
    match routes.payments.show(caller, id, longest, is_news).await {
        Ok(view) => {
            let mut answer = answer(context, &view, longest, known.as_ref())?;
            if !longest.is_zero() {
                waited(&mut answer, asked_at.elapsed());
            }
            Ok(answer)
        }
        Err(refused) if !longest.is_zero() && refused.code == Code::Overloaded => {
            // One that would have waited has a connection for that alone.
            let mut answer = problem(refused);
            answer.headers_mut().insert(CONNECTION, CLOSE);
            Ok(answer)
        }
        Err(refused) => Err(refused),
    }
}

fn answer(
    context: &RequestContext,
    view: &PaymentView,
    longest: Duration,
    known: Option<&IfNoneMatch>,
) -> Result<Answer, Problem> {
    let told = Answered::told(view)?;
    let tag = EntityTag::of(&told.body);
    let mut answer = match known {
        Some(known) if known.has(&tag) => bare(304),
        _ => text(told.status, "application/json", told.body),
    };
    let headers = answer.headers_mut();
    headers.extend(tag.header().map(|tag| (ETAG, tag)));
    headers.insert(CACHE_CONTROL, PRIVATE);
    if !longest.is_zero() {
        headers.extend(applied(longest).map(|applied| (PREFERENCE_APPLIED, applied)));
    }
    about(&mut answer, context, view.id(), None);
    Ok(answer)
}
