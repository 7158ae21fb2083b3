//! Identifiers that may enter a subject, a key or a log line without escaping.

use serde::{Deserialize, Serialize, Serializer};

/// The text is not an identifier: 1 to 64 of `A-Z a-z 0-9 _ -`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be 1 to 64 characters of A-Z a-z 0-9 _ -")]
pub struct InvalidId;

const ID_LENGTH_MAX: usize = 64;

fn check(text: &str) -> Result<(), InvalidId> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if (1..=ID_LENGTH_MAX).contains(&text.len()) && text.bytes().all(allowed) {
        Ok(())
    } else {
        Err(InvalidId)
    }
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(String);

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl $name {
            /// Checks the text; it is kept as it stands.
            pub fn parse(text: impl Into<String>) -> Result<$name, InvalidId> {
                let text = text.into();
                check(&text).map(|()| $name(text))
            }

            /// The text, as it was checked.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;
            fn try_from(text: String) -> Result<$name, InvalidId> {
                $name::parse(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0
            }
        }
    };
}

identifier!(
    /// Whose payments and accounts: every key starts with it.
    Tenant
);
identifier!(
    /// A payment within a tenant.
    PaymentId
);
identifier!(
    /// A customer's account within a tenant. System accounts hold a `:` and can therefore never be named by
    /// one.
    AccountId
);
identifier!(
    /// A ledger operation that is not a payment (a deposit), unique per tenant and kind.
    OperationId
);

impl Tenant {
    const DEFAULT: &str = "default";
}

impl Default for Tenant {
    fn default() -> Tenant {
        Tenant(Tenant::DEFAULT.to_owned())
    }
}

/// A payment over all tenants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PaymentKey {
    /// The tenant whose payment it is.
    pub tenant: Tenant,
    /// The payment's id, unique within the tenant.
    pub id: PaymentId,
}

impl PaymentKey {
    /// Separates tenant and id in a token; it is in neither alphabet.
    const SEPARATOR: char = '~';

    /// The payment as one subject token: the id for the default tenant, else `tenant~id`.
    pub fn token(&self) -> String {
        if self.tenant.as_str() == Tenant::DEFAULT {
            self.id.0.clone()
        } else {
            format!("{}{}{}", self.tenant, Self::SEPARATOR, self.id)
        }
    }

    /// The payment that a subject token names.
    pub fn from_token(token: &str) -> Result<PaymentKey, InvalidId> {
        match token.split_once(Self::SEPARATOR) {
            Some((tenant, id)) => {
                Ok(PaymentKey { tenant: Tenant::parse(tenant)?, id: PaymentId::parse(id)? })
            }
            None => Ok(PaymentKey { tenant: Tenant::default(), id: PaymentId::parse(token)? }),
        }
    }
}

/// A customer's account over all tenants.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountKey {
    /// The tenant whose account it is.
    pub tenant: Tenant,
    /// The account's id, unique within the tenant.
    pub id: AccountId,
}

impl AccountKey {
    /// The shard that carries this account's payments: CRC-32 (ISO-HDLC) of `tenant~account`, modulo the
    /// number of shards.
    pub fn shard(&self, shards: u16) -> u16 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(self.tenant.0.as_bytes());
        hasher.update(b"~");
        hasher.update(self.id.0.as_bytes());
        let shard = hasher.finalize() % u32::from(shards.max(1));
        u16::try_from(shard).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_keep_to_their_alphabet() {
        let long = "x".repeat(64);
        let too_long = "x".repeat(65);
        let rows = [
            ("PAY-001", true),
            ("a_B-9", true),
            (long.as_str(), true),
            (too_long.as_str(), false),
            ("", false),
            ("a.b", false),
            ("*", false),
            (">", false),
            ("a b", false),
            ("x\r\nPUB evil 0\r\n", false),
            ("a~b", false),
            ("fx:USD", false),
            ("é", false),
        ];
        for (text, valid) in rows {
            assert_eq!(PaymentId::parse(text).is_ok(), valid, "{text:?}");
        }
    }

    #[test]
    fn tokens_name_the_payment_they_came_from() {
        for (token, tenant, id) in [("PAY-1", "default", "PAY-1"), ("acme~PAY-1", "acme", "PAY-1")] {
            let key = PaymentKey::from_token(token).unwrap();
            assert_eq!((key.tenant.as_str(), key.id.as_str()), (tenant, id));
            assert_eq!(key.token(), token);
        }
        assert!(PaymentKey::from_token("a~b~c").is_err());
    }

    #[test]
    fn the_shard_is_the_standard_crc_of_tenant_and_account() {
        let key = AccountKey { tenant: Tenant::default(), id: AccountId::parse("ACC_001").unwrap() };
        // `python3 -c "import zlib; print(zlib.crc32(b'default~ACC_001') % 7)"`
        assert_eq!(key.shard(7), 4);
        assert_eq!(key.shard(1), 0);
    }
}
