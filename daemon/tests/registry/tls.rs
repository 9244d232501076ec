//! etcd behind TLS that asks for clients' certificates, and who is not let in.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tapestry::registry::etcd::{Client, Tls};

use crate::etcd::Etcd;

/// Certificates of an authority that nobody else knows.
struct Authority(tempfile::TempDir);

impl Authority {
    fn new() -> Option<Self> {
        if Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_err() {
            let test = std::thread::current().name().unwrap_or("a test").to_owned();
            writeln!(std::io::stderr(), "SKIPPED {test}: no openssl; `cargo xtask test` installs it")
                .expect("standard error is open");
            return None;
        }
        let authority = Self(tempfile::tempdir().unwrap());
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            "/CN=authority",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
        ]);
        Some(authority)
    }

    fn openssl(&self, words: &[&str]) {
        let output = Command::new("openssl").args(words).current_dir(self.0.path()).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes `name.pem` and `name.key`, for this address.
    fn issue(&self, name: &str, address: &str) {
        let (key, request, certificate) =
            (format!("{name}.key"), format!("{name}.csr"), format!("{name}.pem"));
        self.openssl(&[
            "req",
            "-new",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            &format!("/CN={name}"),
            "-keyout",
            &key,
            "-out",
            &request,
        ]);
        let extensions = format!("subjectAltName=IP:{address}\nextendedKeyUsage=serverAuth,clientAuth\n");
        std::fs::write(self.path("ext"), extensions).unwrap();
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &request,
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "ext",
            "-out",
            &certificate,
        ]);
    }

    fn tls(&self, own: Option<&str>) -> Tls {
        let own = own.map(|name| (self.path(&format!("{name}.pem")), self.path(&format!("{name}.key"))));
        let own = own.as_ref().map(|(certificate, key)| (certificate.as_path(), key.as_path()));
        Tls::from_files(&self.path("ca.pem"), own).unwrap()
    }
}

#[tokio::test]
async fn etcd_is_spoken_to_through_tls_with_a_certificate_of_ours() {
    let Some(authority) = Authority::new() else { return };
    let address = Etcd::free_address();
    authority.issue("server", &address.to_string());
    authority.issue("client", "192.0.2.1");
    let words = ["--client-cert-auth", "--trusted-ca-file"].map(str::to_owned);
    let words = [
        words[0].clone(),
        words[1].clone(),
        authority.path("ca.pem").display().to_string(),
        "--cert-file".to_owned(),
        authority.path("server.pem").display().to_string(),
        "--key-file".to_owned(),
        authority.path("server.key").display().to_string(),
    ];
    let client = |url: String, tls: Tls| Client::new(vec![url.parse().unwrap()], None).with_tls(tls);
    let url = format!("https://{address}:2379");
    let good = client(url.clone(), authority.tls(Some("client")));
    let Some(_etcd) = Etcd::start_with(address, "https", &words, &good).await else { return };
    assert_eq!(good.get("x").await.unwrap(), None);
    let lease = good.grant(60).await.unwrap();
    let written = good.put("x", "y", lease, tapestry::registry::etcd::Expected::Absent).await.unwrap();
    let mut watch = good.watch("x", written.unwrap()).await.unwrap();
    assert!(watch.next().await.is_ok());

    // Without a certificate, with another authority, and without TLS.
    let said = client(url.clone(), authority.tls(None)).get("x").await.unwrap_err().to_string();
    assert!(said.starts_with("etcd cannot be reached: "), "{said}");
    let stranger = Authority::new().unwrap();
    let said = client(url.clone(), stranger.tls(None)).get("x").await.unwrap_err().to_string();
    assert!(said.contains("invalid peer certificate"), "{said}");
    let plain = Client::new(vec![url.parse().unwrap()], None).get("x").await.unwrap_err().to_string();
    assert!(plain.contains("it wants TLS"), "{plain}");
}

#[test]
fn files_that_are_of_no_use_are_named() {
    let Some(authority) = Authority::new() else { return };
    authority.issue("one", "192.0.2.1");
    authority.issue("two", "192.0.2.2");
    std::fs::write(authority.path("empty.pem"), "").unwrap();
    let (ca, empty) = (authority.path("ca.pem"), authority.path("empty.pem"));
    let (one, key) = (authority.path("one.pem"), authority.path("two.key"));
    for (ca, own, words) in [
        (empty.as_path(), None, "empty.pem: it has no certificate"),
        (Path::new("/nowhere.pem"), None, "/nowhere.pem: "),
        (ca.as_path(), Some((empty.as_path(), key.as_path())), "empty.pem: "),
        (ca.as_path(), Some((one.as_path(), empty.as_path())), "empty.pem: "),
        (ca.as_path(), Some((one.as_path(), key.as_path())), "two.key: "),
    ] {
        let said = Tls::from_files(ca, own).unwrap_err();
        assert!(said.contains(words), "{words}: {said}");
    }
}
