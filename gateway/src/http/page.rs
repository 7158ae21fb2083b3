//! `GET /`: the page.

use super::conditions::{EntityTag, IfNoneMatch};
use super::routes::Routes;
use crate::page::Document;
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderMap, HeaderName, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use runtime::http::{Answer, text};
use runtime::process::chain;
use wire::{Code, Problem};

/// Kept, and asked for again each time: most often it is the same.
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// No other page shares a process with this one.
const CROSS_ORIGIN_OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");

/// The page, or that the browser has it already.
pub(super) async fn show(request: &Request<Incoming>, routes: &Routes) -> Result<Answer, Problem> {
    // Only a page that somebody works on can be broken: whoever does is told what is wrong.
    let document = routes.page.document().await.map_err(|broken| {
        tracing::warn!(reason = chain(&broken), "the page of gateway.page_dir is broken");
        Problem::new(Code::Internal, format!("the page cannot be shown: {}", chain(&broken)))
    })?;
    let tag = EntityTag::written(&document.tag);
    let is_known = IfNoneMatch::of(request.headers()).is_some_and(|known| known.has(&tag));
    let body = if is_known { bytes::Bytes::new() } else { document.html.clone() };
    let mut answer = text(if is_known { 304 } else { 200 }, "text/html; charset=utf-8", body);
    describe(answer.headers_mut(), &document);
    Ok(answer)
}

fn describe(headers: &mut HeaderMap, document: &Document) {
    for (name, value) in [(CONTENT_SECURITY_POLICY, &document.policy), (ETAG, &document.tag)] {
        // Both are of an alphabet that headers carry.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(CACHE_CONTROL, NO_CACHE);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    headers.insert(CROSS_ORIGIN_OPENER_POLICY, SAME_ORIGIN);
}
