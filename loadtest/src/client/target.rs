//! Where the gateways are.

use config::Config;
use hyper::header::HeaderValue;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// A gateway, as `host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    authority: String,
    host_header: HeaderValue,
}

/// The text is not the URL of a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be http://HOST:PORT")]
pub(crate) struct InvalidTarget;

impl Target {
    /// What to connect to: `host:port`.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }

    /// What the `Host` header says.
    pub(crate) fn host_header(&self) -> HeaderValue {
        self.host_header.clone()
    }
}

impl FromStr for Target {
    type Err = InvalidTarget;

    fn from_str(text: &str) -> Result<Target, InvalidTarget> {
        let authority = text.strip_prefix("http://").ok_or(InvalidTarget)?.trim_end_matches('/');
        let (host, port) = authority.rsplit_once(':').ok_or(InvalidTarget)?;
        let usable = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
        if host.is_empty() || !host.bytes().all(usable) || port.parse::<u16>().is_err() {
            return Err(InvalidTarget);
        }
        let host_header = HeaderValue::from_str(authority).map_err(|_| InvalidTarget)?;
        Ok(Target { authority: authority.to_owned(), host_header })
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "http://{}", self.authority)
    }
}

/// Which gateways to use.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct TargetFlags {
    /// A gateway other than the configuration's; repeat it to spread over several.
    #[arg(long = "target", value_name = "URL")]
    targets: Vec<Target>,
}

/// One gateway or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Targets(Arc<[Target]>);

impl Targets {
    /// Those of the command line, else the configuration's.
    pub(crate) fn of(flags: &TargetFlags, config: &Config) -> Targets {
        if flags.targets.is_empty() {
            Targets::configured(config)
        } else {
            Targets(flags.targets.as_slice().into())
        }
    }

    fn configured(config: &Config) -> Targets {
        // A gateway that listens everywhere is asked on this machine.
        let host = if config.http.host.is_unspecified() {
            IpAddr::V4(Ipv4Addr::LOCALHOST)
        } else {
            config.http.host
        };
        let port = config.gateway.ports.first().copied().unwrap_or_default();
        let authority = SocketAddr::new(host, port).to_string();
        let host_header = HeaderValue::from_str(&authority).unwrap_or(HeaderValue::from_static("localhost"));
        Targets([Target { authority, host_header }].into())
    }

    /// The target of a number; numbers beyond the last start over.
    pub(crate) fn get(&self, number: usize) -> &Target {
        &self.0[number % self.0.len()]
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.0.iter()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

impl From<Vec<Target>> for Targets {
    fn from(targets: Vec<Target>) -> Targets {
        Targets(targets.into())
    }
}

impl std::fmt::Display for Targets {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Target::to_string).collect();
        formatter.write_str(&texts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_urls_without_path() {
        let rows = [
            ("http://127.0.0.1:8080", Some("127.0.0.1:8080")),
            ("http://127.0.0.1:8080/", Some("127.0.0.1:8080")),
            ("http://gateway-1.local:80", Some("gateway-1.local:80")),
            ("http://[::1]:8080", Some("[::1]:8080")),
            ("https://127.0.0.1:8080", None),
            ("127.0.0.1:8080", None),
            ("http://127.0.0.1", None),
            ("http://:8080", None),
            ("http://127.0.0.1:99999", None),
            ("http://127.0.0.1:8080/payments", None),
            ("http://a b:80", None),
            ("", None),
        ];
        for (text, authority) in rows {
            assert_eq!(text.parse::<Target>().ok().as_ref().map(Target::authority), authority, "{text:?}");
        }
    }
}
