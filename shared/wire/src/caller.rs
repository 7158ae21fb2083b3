//! Who asks: made once, where a request comes in, and handed to everything that answers it.

use domain::{AccountId, AccountKey, PaymentId, PaymentKey, Tenant};

/// On whose behalf a request is answered. Nothing but its own objects can be named by one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Caller {
    /// Whose payments and accounts.
    pub tenant: Tenant,
}

impl Caller {
    /// The caller's payment of this id.
    pub fn payment(&self, id: PaymentId) -> PaymentKey {
        PaymentKey { tenant: self.tenant.clone(), id }
    }

    /// The caller's account of this id.
    pub fn account(&self, id: AccountId) -> AccountKey {
        AccountKey { tenant: self.tenant.clone(), id }
    }
}
