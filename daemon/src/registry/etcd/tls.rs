//! TLS to etcd, as `--etcd-cafile`, `--etcd-certfile` and `--etcd-keyfile` describe it: TLS 1.2 and 1.3.
//!
//! A server must show a certificate of one of the authorities, for the name or address that the endpoint has. No other
//! authority is trusted: the machine's own are not looked at. We show ours if there is one. Files are read once, at the
//! start, so a renewed certificate takes a restart, as with flanneld.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Whom to trust, and what to show.
#[derive(Clone)]
pub struct Tls(TlsConnector);

impl fmt::Debug for Tls {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// Of PEM files: the authorities' certificates, and our own with its key.
    ///
    /// # Errors
    /// Which file is of no use, and why.
    pub fn from_files(ca: &Path, own: Option<(&Path, &Path)>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(ca)? {
            roots.add(certificate).map_err(|error| of_no_use(ca, &error))?;
        }
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has what TLS 1.2 and 1.3 take")
            .with_root_certificates(roots);
        let config = match own {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let secret = PrivateKeyDer::from_pem_file(key).map_err(|error| of_no_use(key, &error))?;
                builder.with_client_auth_cert(chain, secret).map_err(|error| of_no_use(key, &error))?
            }
        };
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// Speaks TLS on a connection to a server of this name or address.
    pub(super) async fn connect(&self, host: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        self.0.connect(name, stream).await
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(of_no_use(path, &"it has no certificate in PEM")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(of_no_use(path, &error)),
    }
}

fn of_no_use(path: &Path, why: &dyn fmt::Display) -> String {
    format!("{}: {why}", path.display())
}
