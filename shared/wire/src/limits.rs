//! What one message and one batch may be at most: the configuration is held against it, and streams are
//! declared with it.

/// The most messages that the server takes in one atomic batch.
pub const BATCH_MAX: usize = 1_000;

/// The largest message of a stream, headers included. The server's own limit is 1 MiB; a payment is far
/// below.
pub const MESSAGE_BYTES_MAX: i32 = 256 << 10;
