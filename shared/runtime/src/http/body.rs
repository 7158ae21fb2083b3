//! Reading a request's body within its bounds.

use crate::config::HttpConfig;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wire::{Code, Problem};

/// The largest body that a route reads, and how long it may take to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BodyLimit {
    /// In bytes.
    pub bytes_max: usize,
    /// From the head of the request to the body's end.
    pub time_max: Duration,
}

impl BodyLimit {
    /// The limit of every route that has none of its own.
    pub fn of(config: &HttpConfig) -> BodyLimit {
        BodyLimit {
            bytes_max: config.body_bytes_max,
            time_max: Duration::from_millis(config.body_timeout_ms),
        }
    }
}

/// What large bodies may take together, in KiB: a place is taken for what has arrived, so that whoever says
/// that he will send much, and does not, keeps nobody out.
#[derive(Debug, Clone)]
pub struct BodyRoom(Arc<Semaphore>);

/// What a body takes of the room for large bodies, free again when this is dropped.
#[derive(Debug)]
pub struct BodyPlace(Option<OwnedSemaphorePermit>);

impl BodyRoom {
    /// Room for so many bytes.
    pub fn of(bytes: usize) -> BodyRoom {
        BodyRoom(Arc::new(Semaphore::new(bytes.div_ceil(ROOM_UNIT_BYTES).min(Semaphore::MAX_PERMITS))))
    }

    /// Makes a place as large as a body of so many bytes; nothing when there is no room.
    fn grow(&self, place: &mut BodyPlace, bytes: usize) -> Option<()> {
        let taken = place.0.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let further = u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES).saturating_sub(taken)).ok()?;
        let permit = self.0.clone().try_acquire_many_owned(further).ok()?;
        match &mut place.0 {
            Some(place) => place.merge(permit),
            none => *none = Some(permit),
        }
        Some(())
    }
}

/// Room is counted in these.
const ROOM_UNIT_BYTES: usize = 1 << 10;

/// The bytes of a JSON body: of the right media type, and within the route's limit.
pub async fn read_json(request: Request<Incoming>, limit: BodyLimit) -> Result<Bytes, Problem> {
    require_json(&request)?;
    read(request, limit).await
}

/// The same of a body that may be large, with its place in the room for such; nothing when that is full.
pub async fn read_large_json(
    request: Request<Incoming>,
    limit: BodyLimit,
    room: &BodyRoom,
) -> Result<Option<(Bytes, BodyPlace)>, Problem> {
    require_json(&request)?;
    refuse_announced(&request, limit)?;
    let mut body = Limited::new(request.into_body(), limit.bytes_max);
    let (mut bytes, mut place) = (BytesMut::new(), BodyPlace(None));
    let reading = async {
        while let Some(frame) = body.frame().await {
            let Ok(data) = frame?.into_data() else { continue };
            if room.grow(&mut place, bytes.len() + data.len()).is_none() {
                return Ok(None);
            }
            bytes.extend_from_slice(&data);
        }
        Ok(Some(()))
    };
    let read = arrived(limit, reading).await?;
    Ok(read.map(|()| (bytes.freeze(), place)))
}

fn require_json(request: &Request<Incoming>) -> Result<(), Problem> {
    let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if request.headers().contains_key(CONTENT_ENCODING) || !content_type.is_some_and(is_json) {
        return Err(Problem::new(
            Code::UnsupportedMediaType,
            "send application/json in UTF-8, without content encoding",
        ));
    }
    Ok(())
}

/// The bytes of a body within the route's limit, whatever they are.
pub(super) async fn read(request: Request<Incoming>, limit: BodyLimit) -> Result<Bytes, Problem> {
    refuse_announced(&request, limit)?;
    let read = Limited::new(request.into_body(), limit.bytes_max).collect();
    Ok(arrived(limit, read).await?.to_bytes())
}

/// Refuses a body that says itself that it is too large, before a byte of it is read.
fn refuse_announced(request: &Request<Incoming>, limit: BodyLimit) -> Result<(), Problem> {
    if request.body().size_hint().lower() > limit.bytes_max as u64 { Err(too_large(limit)) } else { Ok(()) }
}

fn too_large(limit: BodyLimit) -> Problem {
    Problem::new(Code::BodyTooLarge, format!("the body may have at most {} bytes", limit.bytes_max))
}

/// What is read of a body, if that ends in time and as it should.
async fn arrived<R>(
    limit: BodyLimit,
    read: impl Future<Output = Result<R, Box<dyn Error + Send + Sync>>>,
) -> Result<R, Problem> {
    match tokio::time::timeout(limit.time_max, read).await {
        Err(_) => Err(Problem::new(
            Code::RequestTimeout,
            format!("the body did not arrive within {} ms", limit.time_max.as_millis()),
        )),
        Ok(Ok(read)) => Ok(read),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Ok(Err(_)) => Err(Problem::new(Code::MalformedJson, "the body ended early or was framed wrongly")),
    }
}

/// Whether a media type is that of JSON.
pub(super) fn is_json(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let media_type = parts.next().unwrap_or("");
    media_type.eq_ignore_ascii_case("application/json")
        && parts.all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
                value.trim_matches('"').eq_ignore_ascii_case("utf-8")
            }
            _ => true,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_takes_room_as_it_arrives() {
        let room = BodyRoom::of(4 << 10);
        let (mut first, mut second) = (BodyPlace(None), BodyPlace(None));
        // Which body, how much of it has arrived, and whether there is room.
        for (is_first, bytes, has_room) in [
            (true, 1, true),
            (true, 1_024, true),
            (false, 3 << 10, true),
            (true, 1_025, false),
            (true, 1_024, true),
            (false, (3 << 10) + 1, false),
        ] {
            let place = if is_first { &mut first } else { &mut second };
            assert_eq!(room.grow(place, bytes).is_some(), has_room, "{is_first}, {bytes}");
        }
        drop(second);
        assert!(room.grow(&mut first, 4 << 10).is_some(), "what a body took is free when it is gone");
    }

    #[test]
    fn only_json_in_utf_8_is_read() {
        let rows = [
            ("application/json", true),
            ("Application/JSON; charset=UTF-8", true),
            ("application/json; charset=\"utf-8\"", true),
            ("application/json; charset=utf-16", false),
            ("text/plain", false),
            ("multipart/form-data; boundary=x", false),
            ("", false),
        ];
        for (content_type, expected) in rows {
            assert_eq!(is_json(content_type), expected, "{content_type}");
        }
    }
}
