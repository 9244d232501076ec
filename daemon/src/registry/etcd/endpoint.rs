//! Where a server is: `http://HOST:PORT`, as in `--etcd-endpoints`.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

/// etcd's port for clients (IANA).
const L4_PORT: u16 = 2379;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: String,
    l4_port: u16,
}

impl Endpoint {
    /// Its name or address.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// Where it listens.
    pub(super) const fn l4_port(&self) -> u16 {
        self.l4_port
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.parse::<Ipv6Addr>() {
            Ok(address) => write!(f, "[{address}]:{}", self.l4_port),
            Err(_) => write!(f, "{}:{}", self.host, self.l4_port),
        }
    }
}

/// Why a text names no server that we can speak to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnEndpoint(String);

impl fmt::Display for NotAnEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnEndpoint {}

impl FromStr for Endpoint {
    type Err = NotAnEndpoint;

    fn from_str(url: &str) -> Result<Self, NotAnEndpoint> {
        let refused = |why: &str| NotAnEndpoint(format!("etcd endpoint {url:?}: {why}"));
        let rest = match url.split_once("://") {
            None => url,
            Some(("http", rest)) => rest,
            Some(("https", _)) => {
                return Err(refused(
                    "TLS is not supported; let etcd listen on http:// on the loopback interface or a trusted network, \
                     or put a TLS proxy in between",
                ));
            }
            Some(_) => return Err(refused("only http:// is supported")),
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
        Ok(Self { host, l4_port: l4_port.ok_or_else(|| refused("its port is no number from 1 to 65535"))? })
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
            assert_eq!(url.parse::<Endpoint>().map(|endpoint| endpoint.to_string()), Ok(endpoint.to_owned()));
        }
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
            ("https://host:2379", "TLS is not supported"),
            ("unix:///run/etcd", "only http://"),
        ] {
            let error = url.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(words) && error.contains(url), "{error}");
        }
    }
}
