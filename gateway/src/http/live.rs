//! `GET /live`.

use super::Routes;
use runtime::http::{Answer, RequestContext, event_stream};
use std::sync::Arc;
use wire::{Code, Problem};

pub(super) fn listen(context: &RequestContext, routes: &Routes) -> Result<Answer, Problem> {
    let place = Arc::clone(&routes.listeners)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Code::Overloaded, "more listeners at once than the gateway takes"))?;
    let (answer, sender) = event_stream(&context.connection, &routes.health.drain);
    routes.live.join(sender, place);
    Ok(answer)
}
