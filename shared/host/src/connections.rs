//! How many connections to the ledger each role may open, so that all of them together fit into one server.

use wire::{Role, Stream};

/// Of each input of a stage: one for the batch in hand, and one for when the first has been lost or does not
/// answer.
const OF_AN_INPUT: u32 = 2;

/// Beside the stages of a role: for what it reads at its start, and for dead letters.
const BESIDE_INPUTS: u32 = 1;

/// Each observer of the janitor's asks one question after the other.
pub(crate) const OF_AN_OBSERVER: u32 = 1;

/// The most that a role of a pipeline with this many shards opens, of `connections_max`.
pub(crate) fn of(role: Role, connections_max: u32, shards: u16) -> u32 {
    let needed = match role {
        // They answer as many requests at once as there are.
        Role::Gateway | Role::Wallet => connections_max,
        Role::Risk | Role::Fx | Role::Reserve | Role::Settle => {
            inputs(role, shards).saturating_mul(OF_AN_INPUT).saturating_add(BESIDE_INPUTS)
        }
        // One question after the other.
        Role::Janitor => OF_AN_INPUT,
    };
    needed.min(connections_max)
}

/// How many streams the stages of a role consume.
fn inputs(role: Role, shards: u16) -> u32 {
    let consumers = Stream::all(shards).into_iter().filter_map(Stream::consumer);
    u32::try_from(consumers.filter(|stage| Role::playing(*stage) == role).count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::config::{Config, StackConfig};

    /// What a server keeps for its superusers (`superuser_reserved_connections`), of its default of 100.
    const RESERVED: u32 = 3;
    /// The janitor's: for figures of the database, and for the audit.
    const OBSERVERS: u32 = 2;
    /// For `loadtest`, migrations and people.
    const FOR_OTHERS: u32 = 20;

    #[test]
    fn all_roles_and_a_second_gateway_fit_into_a_server() {
        let config = Config::on(StackConfig::shifted(0));
        for (shards, expected) in [(1, 56), (4, 73), (256, 75)] {
            let each = Role::ALL
                .into_iter()
                .chain([Role::Gateway])
                .map(|role| of(role, config.postgres.connections_max, shards) + 1);
            let all = each.sum::<u32>() + OBSERVERS * OF_AN_OBSERVER;
            assert_eq!(all, expected, "{shards} shards");
            assert!(all + FOR_OTHERS + RESERVED <= 100, "{all} for {shards} shards");
        }
    }

    #[test]
    fn no_role_goes_without_nor_above_the_bound() {
        for connections_max in [2, 3, 10] {
            for (role, shards) in Role::ALL.into_iter().flat_map(|role| [(role, 1), (role, 256)]) {
                assert!(
                    (2..=connections_max).contains(&of(role, connections_max, shards)),
                    "{role} of {connections_max}, {shards} shards"
                );
            }
        }
    }
}
