//! Our headers, as the client library carries them.

use async_nats::HeaderMap;
use wire::header::Headers;

pub(super) fn read(map: Option<&HeaderMap>) -> Headers {
    let all = map.into_iter().flat_map(HeaderMap::iter);
    Headers::read(all.filter_map(|(name, values)| Some((name.as_ref(), values.last()?.as_str()))))
}

pub(super) fn write(headers: &Headers) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers.pairs() {
        map.insert(name, value.as_ref());
    }
    map
}
