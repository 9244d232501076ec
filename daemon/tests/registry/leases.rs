//! Leases in a real etcd: what is written, who gets what, who sees whom.

use tapestry::registry::etcd::Client;
use tapestry::registry::lease::Broken;
use tapestry::registry::session::{Report, Session};
use tapestry::registry::tenure::Loss;

use crate::etcd::{Etcd, Host, PREFIX, lease_of, wish};

#[tokio::test]
async fn hosts_see_each_other_come_and_go() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, Some("10.5.1.0-24")).await;
    one.sees(&[]).await;
    let mut two = Host::join(etcd.client(), 2, Some("10.5.2.0-24")).await;
    let view = one.sees(&["10.5.2.0-24"]).await;
    assert_eq!(view.peers[0].endpoint.to_string(), "192.0.0.2");
    assert_eq!(view.peers[0].mac.unwrap().to_string(), "02:00:00:00:00:02");
    two.sees(&["10.5.1.0-24"]).await;

    let written = etcd.ctl(&["get", &format!("{PREFIX}/subnets/10.5.2.0-24"), "--print-value-only"]);
    assert_eq!(written.trim_end(), lease_of(2), "octet for octet");
    let lease = format!("{:x}", two.acquired.lease);
    assert!(etcd.ctl(&["lease", "timetolive", &lease, "--keys"]).contains("granted with TTL(86400s)"));

    etcd.ctl(&["lease", "revoke", &lease]);
    one.sees(&[]).await;
    assert_eq!(two.ends().await, Loss::Revoked);
}

#[tokio::test]
async fn a_host_that_comes_again_has_what_it_had() {
    let Some(etcd) = Etcd::start().await else { return };
    let first = Host::join(etcd.client(), 1, None).await;
    let key = first.key();
    drop(first);
    let again = Host::join(etcd.client(), 1, None).await;
    assert_eq!((again.key(), again.acquired.reused), (key, true));

    // A reservation: a key without a lease of etcd's. It stays one.
    etcd.put("10.5.77.0-24", r#"{"PublicIP":"192.0.0.7"}"#);
    let reserved = Host::join(etcd.client(), 7, None).await;
    assert_eq!((reserved.key().as_str(), reserved.acquired.lease), ("10.5.77.0-24", 0));
    let fields = etcd.ctl(&["get", &format!("{PREFIX}/subnets/10.5.77.0-24"), "--write-out=fields"]);
    assert!(fields.contains("\"Lease\" : 0"), "{fields}");
}

#[tokio::test]
async fn hosts_that_want_the_same_at_once_get_different_subnets() {
    let Some(etcd) = Etcd::start().await else { return };
    let joining: Vec<_> =
        (1..=8).map(|host| tokio::spawn(Host::join(etcd.client(), host, Some("10.5.9.0-24")))).collect();
    let mut keys = Vec::new();
    let mut hosts = Vec::new();
    for joining in joining {
        let host = joining.await.unwrap();
        keys.push(host.key());
        hosts.push(host);
    }
    keys.sort();
    assert_eq!(keys.iter().filter(|key| *key == "10.5.9.0-24").count(), 1, "{keys:?}");
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "{keys:?}");
    for host in &mut hosts {
        let own = host.key();
        let others: Vec<&str> = keys.iter().filter(|key| **key != own).map(String::as_str).collect();
        host.sees(&others).await;
    }
}

#[tokio::test]
async fn an_address_that_another_host_has_now_is_corrected() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, Some("10.5.1.0-24")).await;
    etcd.put("10.5.3.0-24", &lease_of(3));
    one.sees(&["10.5.3.0-24"]).await;
    etcd.put("10.5.4.0-24", &lease_of(3));
    let view = one.sees(&["10.5.4.0-24"]).await;
    assert_eq!(view.named, [("10.5.3.0-24".to_owned(), Broken::Superseded)]);
    // The subnet is another host's.
    etcd.put("10.5.4.0-24", &lease_of(4));
    let view = one.sees(&["10.5.3.0-24", "10.5.4.0-24"]).await;
    assert_eq!(view.peers[1].endpoint.to_string(), "192.0.0.4");
}

#[tokio::test]
async fn foreign_and_broken_keys_are_named() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, Some("10.5.1.0-24")).await;
    etcd.put("10.5.6.0-24", "broken");
    etcd.put("ten", &lease_of(6));
    etcd.ctl(&["put", &format!("{PREFIX}/subnets-of-others/10.5.8.0-24"), &lease_of(8)]);
    etcd.put("10.5.9.0-24", &lease_of(9));
    let view = one.sees(&["10.5.9.0-24"]).await;
    let named = [("10.5.6.0-24".to_owned(), Broken::Value), ("ten".to_owned(), Broken::Key)];
    assert_eq!(view.named, named);
}

#[tokio::test]
async fn a_machine_with_our_address_is_reported_and_another_host_ends_the_lease() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, None).await;
    let key = one.key();
    etcd.put(&key, r#"{"PublicIP":"192.0.0.1","BackendType":"host-gw"}"#);
    let pause =
        |report: &Report| if let Report::Contested(pause) = report { Some(pause.as_secs()) } else { None };
    let restored = |report: &Report| matches!(report, Report::Restored).then_some(());
    for wanted in [0, 1] {
        assert_eq!(one.hears("contest", pause).await, wanted);
        one.hears("our own again", restored).await;
        let value = etcd.ctl(&["get", &format!("{PREFIX}/subnets/{key}"), "--print-value-only"]);
        assert!(!value.contains("host-gw"), "{value}");
        etcd.put(&key, r#"{"PublicIP":"192.0.0.1","BackendType":"host-gw"}"#);
    }
    etcd.put(&key, &lease_of(2));
    assert_eq!(one.ends().await, Loss::Taken);
}

#[tokio::test]
async fn two_machines_with_one_address_notice_each_other_though_they_write_the_same() {
    let Some(etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, None).await;
    one.sees(&[]).await;
    let mut two = Host::join(etcd.client(), 1, None).await;
    assert_eq!(one.key(), two.key());
    let is_contested = |report: &Report| matches!(report, Report::Contested(_)).then_some(());
    one.hears("the other", is_contested).await;
    two.hears("the first", is_contested).await;
}

#[tokio::test]
async fn of_a_thousand_hosts_all_are_seen_and_so_is_one_more() {
    let Some(etcd) = Etcd::start().await else { return };
    let client = etcd.client();
    for host in 1..=1000_u16 {
        let key = format!("{PREFIX}/subnets/10.5.{}.{}-26", host >> 2, (host & 3) << 6);
        let expected = tapestry::registry::etcd::Expected::Absent;
        client.put(&key, &lease_of(host), 0, expected).await.unwrap().unwrap();
    }
    let mut one = Host::join(etcd.client(), 2000, None).await;
    let peers = |count: usize| {
        move |report: &Report| {
            let Report::Peers(view) = report else { return None };
            (view.peers.len() == count).then(|| view.refused.clone())
        }
    };
    // The list is longer than a page.
    assert_eq!(one.hears("a thousand peers", peers(1000)).await.len(), 0);
    etcd.put("10.5.254.0-24", &lease_of(1001));
    assert_eq!(one.hears("one more", peers(1001)).await.len(), 0);
}

#[tokio::test]
async fn a_document_is_read_and_a_password_used() {
    let Some(etcd) = Etcd::start().await else { return };
    let session = |client| Session::new(client, PREFIX);
    assert_eq!(session(etcd.client()).document().await.unwrap(), None);
    etcd.ctl(&["put", &format!("{PREFIX}/config"), crate::etcd::VXLAN]);
    let document = session(etcd.client()).document().await.unwrap().unwrap();
    assert_eq!(document, crate::etcd::VXLAN.as_bytes());

    for words in
        [&["user", "add", "root:secret"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]]
    {
        etcd.ctl(words);
    }
    let refused = session(etcd.client()).document().await.unwrap_err().to_string();
    assert!(refused.starts_with("etcd refuses: "), "{refused}");
    let with = |password: &str| {
        let credentials = ("root".to_owned(), password.to_owned());
        tapestry::registry::etcd::Client::new(vec![etcd.url().parse().unwrap()], Some(credentials))
    };
    assert!(session(with("wrong")).document().await.is_err());
    let known = session(with("secret"));
    assert_eq!(known.document().await.unwrap().as_ref(), Some(&document));
    assert_eq!(known.document().await.unwrap().as_ref(), Some(&document), "the token serves again");
    let acquired = known.acquire(wish(1, None), 1, |error| panic!("{error}")).await.unwrap();
    assert!(!acquired.reused);
}

/// A JSON web token names the revision of users and roles that it was made at, and is refused after any change of them.
#[tokio::test]
async fn a_change_of_roles_does_not_lock_out_who_has_a_web_token() {
    let directory = tempfile::tempdir().unwrap();
    let key = directory.path().join("key");
    std::fs::write(&key, "a key of thirty-two octets, or so").unwrap();
    let words =
        ["--auth-token".to_owned(), format!("jwt,priv-key={},sign-method=HS256,ttl=1h", key.display())];
    let address = Etcd::free_address();
    let client =
        |credentials| Client::new(vec![format!("http://{address}:2379").parse().unwrap()], credentials);
    let Some(etcd) = Etcd::start_with(address, "http", &words, &client(None)).await else { return };
    for words in
        [&["user", "add", "root:secret"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]]
    {
        etcd.ctl(words);
    }
    let known = client(Some(("root".to_owned(), "secret".to_owned())));
    assert_eq!(known.get("x").await.unwrap(), None);
    etcd.ctl(&["--user", "root:secret", "role", "add", "another"]);
    assert_eq!(known.get("x").await.unwrap(), None);
    // Nor who is in the midst of it.
    let mut one = Host::join(known, 1, Some("10.5.1.0-24")).await;
    one.sees(&[]).await;
    etcd.ctl(&["--user", "root:secret", "role", "add", "a-third"]);
    let put = format!("{PREFIX}/subnets/10.5.2.0-24");
    etcd.ctl(&["--user", "root:secret", "put", &put, &lease_of(2)]);
    one.sees(&["10.5.2.0-24"]).await;
}
