//! Whether the gateways serve what the ledger has.

use super::Finding;
use crate::client::{Connection, Targets};
use crate::output::chain;
use domain::{AccountId, AccountKey, Tenant};
use hyper::Uri;
use std::time::Duration;
use store::Store;
use wire::service::BalanceReply;

/// Accounts of the default tenant, spread over all of them by a hash of their id. As many as make a
/// systematic error show.
const SAMPLE: &str =
    "SELECT id FROM accounts WHERE kind = 'customer' AND tenant = 'default' ORDER BY md5(id) LIMIT 25";
const SAMPLE_SIZE: usize = 25;

/// Under traffic a balance may change between the two looks at it; three times in a row it does not.
const ATTEMPTS_MAX: u32 = 3;

/// Asks all gateways whether they are ready, and the first for some balances.
pub(crate) async fn check(targets: &Targets, store: &Store) -> [(&'static str, Finding); 2] {
    [
        ("gateways_are_ready", readiness(targets).await),
        ("balances_are_served_as_recorded", balances(targets, store).await),
    ]
}

async fn readiness(targets: &Targets) -> Finding {
    for (number, target) in targets.iter().enumerate() {
        let problem = match Connection::new(&vec![target.clone()].into(), number)
            .get(&Uri::from_static("/readyz"))
            .await
        {
            Ok(answer) if answer.status == hyper::StatusCode::OK => continue,
            Ok(answer) => format!("GET {target}/readyz answers {}", answer.status),
            Err(broken) => format!("GET {target}/readyz: {}", chain(&broken)),
        };
        return Finding::Broken(problem);
    }
    Finding::Holds
}

async fn balances(targets: &Targets, store: &Store) -> Finding {
    let sample = match store.violations(SAMPLE, SAMPLE_SIZE).await {
        Ok((_, sample)) => sample,
        Err(error) => return Finding::Broken(format!("cannot be asked: {}", chain(&error))),
    };
    let mut connection = Connection::new(targets, 0);
    for row in sample {
        if let Err(problem) = balance(&mut connection, store, &row).await {
            return Finding::Broken(problem);
        }
    }
    Finding::Holds
}

/// Compares one account of the sample.
async fn balance(connection: &mut Connection, store: &Store, row: &str) -> Result<(), String> {
    #[derive(serde::Deserialize)]
    struct Row {
        id: AccountId,
    }
    let Row { id } = serde_json::from_str(row).map_err(|error| format!("account {row}: {error}"))?;
    let path = Uri::try_from(format!("/balance/{id}")).map_err(|error| error.to_string())?;
    let key = AccountKey { tenant: Tenant::default(), id };
    let mut problem = String::new();
    for attempt in 0..ATTEMPTS_MAX {
        tokio::time::sleep(Duration::from_millis(200) * attempt).await;
        let recorded = store.account(&key).await.map_err(|error| chain(&error))?;
        let recorded = recorded.ok_or_else(|| format!("account {} is gone", key.id))?;
        let expected = BalanceReply {
            account_id: key.id.clone(),
            currency: recorded.currency,
            balance: recorded.balance.to_decimal_string(),
            held: recorded.held.to_decimal_string(),
            available: recorded.available().to_decimal_string(),
        };
        problem = match connection.get(&path).await {
            Ok(answer) if answer.status == hyper::StatusCode::OK => {
                match serde_json::from_slice::<BalanceReply>(&answer.body) {
                    Ok(served) if served == expected => return Ok(()),
                    Ok(served) => format!("GET {path} says {served:?}, the ledger {expected:?}"),
                    Err(error) => format!("GET {path}: {error}"),
                }
            }
            Ok(answer) => format!("GET {path} answers {}", answer.status),
            Err(broken) => format!("GET {path}: {}", chain(&broken)),
        };
    }
    Err(problem)
}
