//! Where an etcd server is: `http://HOST:PORT` or `https://HOST:PORT`, as in flanneld's `--etcd-endpoints`.
//!
//! Owns nothing and opens nothing; names are resolved by who connects.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// etcd's port for clients (IANA).
const L4_PORT: u16 = 2379;

/// A server, and whether it is spoken to through TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdEndpoint {
    host: String,
    l4_port: u16,
    is_tls: bool,
}

impl EtcdEndpoint {
    /// Its name or address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Where it listens.
    pub const fn l4_port(&self) -> u16 {
        self.l4_port
    }

    /// Whether it is spoken to through TLS.
    pub const fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl fmt::Display for EtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => write!(f, "[{address}]:{}", self.l4_port),
            Err(_) => write!(f, "{}:{}", self.host, self.l4_port),
        }
    }
}

/// Why a text names no server that we can speak to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEtcdEndpoint(String);

impl fmt::Display for NotAnEtcdEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnEtcdEndpoint {}

impl FromStr for EtcdEndpoint {
    type Err = NotAnEtcdEndpoint;

    fn from_str(url: &str) -> Result<Self, NotAnEtcdEndpoint> {
        let refused = |why: &str| NotAnEtcdEndpoint(format!("etcd endpoint {url:?}: {why}"));
        let (is_tls, rest) = match url.split_once("://") {
            None => (false, url),
            Some(("http", rest)) => (false, rest),
            Some(("https", rest)) => (true, rest),
            Some(_) => return Err(refused("it begins with neither http:// nor https://")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = match authority.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
            Some((address, port)) => {
                let address: Ipv6Addr =
                    address.parse().map_err(|_| refused("no IPv6 address in the brackets"))?;
                (address.to_string(), port)
            }
            None => {
                let at = authority.find(':').unwrap_or(authority.len());
                (authority[..at].to_owned(), &authority[at..])
            }
        };
        let is_name = |octet: u8| octet.is_ascii_alphanumeric() || b"-._:".contains(&octet);
        if host.is_empty() || !host.bytes().all(is_name) {
            return Err(refused("it names no host, as in http://127.0.0.1:2379"));
        }
        let l4_port = match port.strip_prefix(':') {
            Some(digits) => digits.parse().ok().filter(|&port| port != 0),
            None if port.is_empty() => Some(L4_PORT),
            None => None,
        };
        let l4_port = l4_port.ok_or_else(|| refused("its port is no number from 1 to 65535"))?;
        Ok(Self { host, l4_port, is_tls })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read() {
        for (url, endpoint) in [
            ("http://127.0.0.1:4001", "127.0.0.1:4001"),
            ("http://etcd-1.example/", "etcd-1.example:2379"),
            ("127.0.0.1:2379", "127.0.0.1:2379"),
            ("http://[FD00:0::1]:2380", "[fd00::1]:2380"),
        ] {
            assert_eq!(
                url.parse::<EtcdEndpoint>().map(|endpoint| endpoint.to_string()),
                Ok(endpoint.to_owned())
            );
        }
        let is_tls = |url: &str| url.parse::<EtcdEndpoint>().map(|endpoint| endpoint.is_tls());
        assert_eq!((is_tls("http://a"), is_tls("a"), is_tls("https://a")), (Ok(false), Ok(false), Ok(true)));
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason() {
        for (url, words) in [
            ("", "names no host"),
            ("http://", "names no host"),
            ("http://a b", "names no host"),
            ("http://user@host:1", "names no host"),
            ("http://host:0", "its port"),
            ("http://host:65536", "its port"),
            ("http://[fd00::1]2380", "its port"),
            ("http://[host]:1", "no IPv6 address"),
            ("unix:///run/etcd", "neither http:// nor https://"),
        ] {
            let error = url.parse::<EtcdEndpoint>().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(url), "{error}");
        }
    }
}
