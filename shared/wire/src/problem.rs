//! Problems (RFC 9457): every error that a client can see, its code and its HTTP status.

use serde::{Deserialize, Serialize, Serializer};

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $status:literal $code:literal $title:literal),+ $(,)?) => {
        /// A stable error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum Code {
            $($(#[$doc])* #[serde(rename = $code)] $name,)+
        }

        impl Code {
            /// Every code there is.
            pub const ALL: &[Code] = &[$(Code::$name),+];

            /// The stable code.
            pub const fn as_str(self) -> &'static str {
                match self { $(Code::$name => $code),+ }
            }

            /// The HTTP status that it is answered with.
            pub const fn status(self) -> u16 {
                match self { $(Code::$name => $status),+ }
            }

            /// The same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title),+ }
            }
        }
    };
}

codes! {
    /// Not JSON, a value of the wrong type, or a request that is not well-formed HTTP for this route.
    MalformedJson = 400 "malformed_json" "The request cannot be parsed",
    /// A field that the route does not know.
    UnknownField = 400 "unknown_field" "The request has an unknown field",
    /// A required field is absent.
    MissingField = 400 "missing_field" "A required field is missing",
    /// `id` and `Idempotency-Key` differ.
    IdKeyConflict = 400 "id_key_conflict" "The id and the idempotency key differ",
    /// Not an id.
    InvalidId = 422 "invalid_id" "The id is not valid",
    /// Not an account id.
    InvalidAccount = 422 "invalid_account" "The account id is not valid",
    /// Not a currency.
    UnknownCurrency = 422 "unknown_currency" "The currency is not known",
    /// Zero or negative.
    AmountNotPositive = 422 "amount_not_positive" "The amount must be positive",
    /// Too many decimals.
    AmountPrecision = 422 "amount_precision" "The amount has too many decimals",
    /// More than one operation may move.
    AmountTooLarge = 422 "amount_too_large" "The amount is too large",
    /// Source and destination are one account.
    SameAccount = 422 "same_account" "Source and destination are the same account",
    /// The id was used for other content.
    IdempotencyMismatch = 422 "idempotency_mismatch" "The id was used for a different request",
    /// The book has no rate for the pair.
    FxRateUnavailable = 422 "fx_rate_unavailable" "There is no rate for this pair",
    /// The newest rate is too old.
    FxRateStale = 422 "fx_rate_stale" "The newest rate is too old",
    /// Not for whoever asks.
    Forbidden = 403 "forbidden" "This is not allowed",
    /// No such route, payment or account.
    NotFound = 404 "not_found" "Not found",
    /// The route has other methods.
    MethodNotAllowed = 405 "method_not_allowed" "The method is not allowed here",
    /// The request took too long to arrive.
    RequestTimeout = 408 "request_timeout" "The request took too long",
    /// The body is above the limit.
    BodyTooLarge = 413 "body_too_large" "The body is too large",
    /// The body is not said to be `application/json`.
    UnsupportedMediaType = 415 "unsupported_media_type" "The media type is not supported",
    /// A key's own limit.
    RateLimited = 429 "rate_limited" "Too many requests",
    /// A bug on our side; nothing is known of the request's effect.
    Internal = 500 "internal" "An internal error",
    /// The global limit, the admission bound, or a full intake.
    Overloaded = 503 "overloaded" "The gateway is overloaded",
    /// Something that the answer needs is away.
    Unavailable = 503 "unavailable" "The service is unavailable",
    /// It is not known whether the payment was stored.
    AcceptanceUnknown = 503 "acceptance_unknown" "It is not known whether the payment was accepted",
}

/// An `application/problem+json` body: what its code does not say already.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Problem {
    /// The stable code.
    pub code: Code,
    /// What is wrong with this request; never echoes its content.
    pub detail: String,
    /// The payment's id, where the client needs it to try again.
    #[serde(default)]
    pub id: Option<String>,
    /// The request that it answers.
    #[serde(default)]
    pub request_id: Option<String>,
    /// What went wrong on our side, for our own log lines: no client sees it.
    #[serde(skip)]
    pub cause: Option<String>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'p> {
            /// A URI that identifies the code.
            #[serde(rename = "type")]
            kind: String,
            title: &'static str,
            status: u16,
            code: Code,
            detail: &'p str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'p str>,
            #[serde(skip_serializing_if = "Option::is_none")]
            request_id: Option<&'p str>,
        }
        let Problem { code, detail, id, request_id, cause: _ } = self;
        let kind = format!("urn:kilat:problem:{}", code.as_str());
        let (id, request_id) = (id.as_deref(), request_id.as_deref());
        Body { kind, title: code.title(), status: code.status(), code: *code, detail, id, request_id }
            .serialize(serializer)
    }
}

impl Problem {
    /// A problem of this code.
    pub fn new(code: Code, detail: impl Into<String>) -> Problem {
        Problem { code, detail: detail.into(), id: None, request_id: None, cause: None }
    }

    /// The HTTP status that it is answered with.
    pub fn status(&self) -> u16 {
        self.code.status()
    }

    /// Names the payment that the problem is about.
    pub fn with_id(mut self, id: impl Into<String>) -> Problem {
        self.id = Some(id.into());
        self
    }

    /// Tells our own log lines what went wrong.
    pub fn because(mut self, cause: impl Into<String>) -> Problem {
        self.cause = Some(cause.into());
        self
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} {}: {}", self.status(), self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}
