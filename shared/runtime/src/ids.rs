//! Fresh ids: the only place that makes them.

/// An id that nobody else has, a UUIDv7 in hexadecimal digits: later ones sort later, up to the millisecond.
pub fn fresh() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}
