//! How many connections each peer has open, so that one cannot take them all.

use crate::config::HttpConfig;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// Who a connection is from. Whoever has one IPv6 address has the whole /64 around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Peer {
    Version4(Ipv4Addr),
    Version6([u16; 4]),
}

impl Peer {
    fn of(address: IpAddr) -> Peer {
        match address.to_canonical() {
            IpAddr::V4(address) => Peer::Version4(address),
            IpAddr::V6(address) => {
                let [first, second, third, fourth, ..] = address.segments();
                Peer::Version6([first, second, third, fourth])
            }
        }
    }
}

/// The open connections of a listener by peer. A peer without one is not remembered.
#[derive(Clone)]
pub(super) struct Peers {
    open: Arc<Mutex<HashMap<Peer, usize>>>,
    each_max: usize,
    loopback_is_a_peer: bool,
}

/// One open connection; it counts while this lives.
pub(super) struct PeerPlace {
    peers: Peers,
    /// Nobody, where connections are not counted.
    peer: Option<Peer>,
}

impl Peers {
    pub(super) fn new(config: &HttpConfig) -> Peers {
        Peers {
            open: Arc::default(),
            each_max: config.connections_per_peer_max,
            loopback_is_a_peer: config.loopback_is_a_peer,
        }
    }

    /// A place for one more connection from there, unless that peer has as many as it may.
    pub(super) fn enter(&self, address: IpAddr) -> Option<PeerPlace> {
        if address.to_canonical().is_loopback() && !self.loopback_is_a_peer {
            return Some(PeerPlace { peers: self.clone(), peer: None });
        }
        let peer = Peer::of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.get(&peer).copied().unwrap_or(0);
        if count >= self.each_max {
            return None;
        }
        open.insert(peer, count + 1);
        drop(open);
        Some(PeerPlace { peers: self.clone(), peer: Some(peer) })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let Some(peer) = self.peer else { return };
        let mut open = self.peers.open.lock().unwrap_or_else(PoisonError::into_inner);
        match open.get_mut(&peer) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(open.remove(&peer)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(loopback_is_a_peer: bool) -> Peers {
        Peers::new(&HttpConfig { connections_per_peer_max: 1, loopback_is_a_peer, ..HttpConfig::default() })
    }

    /// With one place a peer: whether the second address finds it taken by the first.
    #[test]
    fn addresses_of_one_peer_share_its_places() {
        let rows = [
            (true, "192.0.2.1", "192.0.2.1", true),
            (true, "192.0.2.1", "192.0.2.2", false),
            (true, "192.0.2.1", "::ffff:192.0.2.1", true),
            (true, "::ffff:192.0.2.1", "::ffff:192.0.2.2", false),
            (true, "2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true),
            (true, "2001:db8:1:2::1", "2001:db8:1:3::1", false),
            (true, "127.0.0.1", "127.0.0.1", true),
            (true, "::1", "::1", true),
            (false, "127.0.0.1", "127.0.0.1", false),
            (false, "::ffff:127.0.0.1", "127.0.0.1", false),
            (false, "::1", "::1", false),
            (false, "192.0.2.1", "192.0.2.1", true),
        ];
        for (loopback_is_a_peer, first, second, is_taken) in rows {
            let peers = peers(loopback_is_a_peer);
            let place = peers.enter(first.parse().unwrap());
            assert!(place.is_some(), "{first}");
            assert_eq!(peers.enter(second.parse().unwrap()).is_none(), is_taken, "{first} then {second}");
            drop(place);
            assert!(peers.enter(second.parse().unwrap()).is_some(), "{first} has gone, {second}");
        }
    }

    #[test]
    fn whoever_has_no_connection_is_forgotten() {
        let peers = Peers::new(&HttpConfig { connections_per_peer_max: 2, ..HttpConfig::default() });
        let address = |number: u8| IpAddr::from([192, 0, 2, number]);
        let places: Vec<PeerPlace> = (0..=255)
            .flat_map(|number| [peers.enter(address(number)), peers.enter(address(number))])
            .flatten()
            .collect();
        assert_eq!((places.len(), peers.open.lock().unwrap().len()), (512, 256));
        assert!(peers.enter(address(7)).is_none());
        drop(places);
        assert!(peers.open.lock().unwrap().is_empty());
    }
}
