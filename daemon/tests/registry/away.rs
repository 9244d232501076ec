//! etcd goes, comes, forgets and loses everything; networks are cut and heal. Peers stay until it says otherwise, and
//! nothing stale is left afterwards.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tapestry::registry::etcd::{Client, Watched};
use tapestry::registry::session::Report;
use tapestry::registry::tenure::Loss;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::etcd::{Etcd, Host, PREFIX, lease_of};

fn away(report: &Report) -> Option<String> {
    match report {
        Report::Away(why) => Some(why.clone()),
        Report::Peers(view) => panic!("peers have changed: {view:?}"),
        Report::Back
        | Report::Renewed(_)
        | Report::NotRenewed(_)
        | Report::Contested(_)
        | Report::Restored => None,
    }
}

fn back(report: &Report) -> Option<()> {
    matches!(report, Report::Back).then_some(())
}

#[tokio::test]
async fn a_restart_is_reported_and_changes_nothing() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, Some("10.5.1.0-24")).await;
    etcd.put("10.5.2.0-24", &lease_of(2));
    one.sees(&["10.5.2.0-24"]).await;
    etcd.kill();
    let why = one.hears("absence", away).await;
    assert!(why.starts_with("etcd cannot be reached"), "{why}");
    etcd.again().await;
    etcd.put("10.5.3.0-24", &lease_of(3));
    one.sees(&["10.5.2.0-24", "10.5.3.0-24"]).await;
}

/// What stands between a host and etcd, and can be cut.
struct Wire {
    whole: watch::Sender<bool>,
    address: SocketAddr,
}

impl Wire {
    async fn to(etcd: &Etcd) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (address, server) = (listener.local_addr().unwrap(), SocketAddr::from((etcd.address(), 2379)));
        let (whole, is_whole) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut is_whole = is_whole.clone();
                if !*is_whole.borrow() {
                    continue; // Closed at once.
                }
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(server).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = is_whole.wait_for(|whole| !whole) => {}
                    }
                });
            }
        });
        Self { whole, address }
    }

    fn client(&self) -> Client {
        Client::new(vec![format!("http://{}", self.address).parse().unwrap()], None)
    }
}

#[tokio::test]
async fn what_happens_behind_a_cut_wire_is_caught_up_with() {
    let Some(etcd) = Etcd::start().await else { return };
    let wire = Wire::to(&etcd).await;
    let mut one = Host::join(wire.client(), 1, Some("10.5.1.0-24")).await;
    for host in 2..=4 {
        etcd.put(&format!("10.5.{host}.0-24"), &lease_of(host));
    }
    one.sees(&["10.5.2.0-24", "10.5.3.0-24", "10.5.4.0-24"]).await;

    wire.whole.send_replace(false);
    one.hears("absence", away).await;
    etcd.ctl(&["del", &format!("{PREFIX}/subnets/10.5.2.0-24")]);
    etcd.put("10.5.3.0-24", &lease_of(33)); // The same subnet, another host.
    etcd.put("10.5.5.0-24", &lease_of(5));
    wire.whole.send_replace(true);
    one.hears("the return", back).await;
    let view = one.sees(&["10.5.3.0-24", "10.5.4.0-24", "10.5.5.0-24"]).await;
    assert_eq!(view.peers[0].endpoint.to_string(), "192.0.0.33");

    // The same again, and what happened is forgotten.
    wire.whole.send_replace(false);
    one.hears("absence", away).await;
    etcd.ctl(&["del", &format!("{PREFIX}/subnets/10.5.4.0-24")]);
    etcd.put("10.5.3.0-24", &lease_of(3));
    let fields = etcd.ctl(&["get", "x", "--write-out=fields"]);
    let revision = fields.lines().find_map(|line| line.strip_prefix("\"Revision\" : ")).unwrap();
    etcd.ctl(&["compact", revision]);
    let watch = etcd.client().watch(&format!("{PREFIX}/subnets/"), 1).await;
    let mut watch = watch.unwrap();
    assert!(matches!(watch.next().await, Ok(Watched::Begun(_))));
    assert_eq!(watch.next().await.unwrap(), Watched::Compacted);
    wire.whole.send_replace(true);
    let view = one.sees(&["10.5.3.0-24", "10.5.5.0-24"]).await;
    assert_eq!(view.peers[0].endpoint.to_string(), "192.0.0.3");
}

#[tokio::test]
async fn a_cluster_that_was_emptied_takes_the_lease_with_it() {
    let Some(mut etcd) = Etcd::start().await else { return };
    let mut one = Host::join(etcd.client(), 1, Some("10.5.1.0-24")).await;
    for host in 2..=9 {
        etcd.put(&format!("10.5.{host}.0-24"), &lease_of(host));
    }
    etcd.kill();
    etcd.empty();
    etcd.again().await;
    // Its revisions are behind those that the watch waits for: without a look at them it would wait for ever.
    assert_eq!(one.ends().await, Loss::Revoked);
    let again = Host::join(etcd.client(), 1, Some("10.5.1.0-24")).await;
    assert_eq!(again.key(), "10.5.1.0-24", "the subnet file remembers");
}

/// The new cluster's revisions are lower than that of our lease, which says nothing about whose it is.
#[tokio::test]
async fn what_an_emptied_cluster_gave_to_another_is_lost() {
    let Some(mut etcd) = Etcd::start().await else { return };
    for host in 2..=9 {
        etcd.put(&format!("10.5.{host}.0-24"), &lease_of(host));
    }
    let wire = Wire::to(&etcd).await;
    let mut one = Host::join(wire.client(), 1, Some("10.5.1.0-24")).await;
    wire.whole.send_replace(false);
    one.hears("absence", |report| matches!(report, Report::Away(_)).then_some(())).await;
    etcd.kill();
    etcd.empty();
    etcd.again().await;
    let two = Host::join(etcd.client(), 2, Some("10.5.1.0-24")).await;
    assert_eq!(two.key(), "10.5.1.0-24");
    wire.whole.send_replace(true);
    assert_eq!(one.ends().await, Loss::Taken);
}

/// What keeps it away may change while it is.
#[tokio::test]
async fn another_reason_for_an_absence_is_told_again() {
    let Some(etcd) = Etcd::start().await else { return };
    let wire = Wire::to(&etcd).await;
    let mut one = Host::join(wire.client(), 1, Some("10.5.1.0-24")).await;
    one.sees(&[]).await;
    wire.whole.send_replace(false);
    let unreachable = |report: &Report| away(report).filter(|why| why.starts_with("etcd cannot be reached"));
    one.hears("absence", unreachable).await;
    for words in
        [&["user", "add", "root:secret"][..], &["user", "grant-role", "root", "root"], &["auth", "enable"]]
    {
        etcd.ctl(words);
    }
    wire.whole.send_replace(true);
    let refused = |report: &Report| away(report).filter(|why| why.starts_with("etcd refuses"));
    one.hears("the refusal", refused).await;
}

#[tokio::test]
async fn of_several_servers_one_that_lives_is_enough() {
    let Some(etcd) = Etcd::start().await else { return };
    let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let dead_url = format!("http://{}", dead.local_addr().unwrap());
    drop(dead);
    let client = Client::new([dead_url, etcd.url()].iter().map(|url| url.parse().unwrap()).collect(), None);
    let client = Arc::new(client);
    assert_eq!(client.get("x").await.unwrap(), None);
    assert_eq!(client.get("x").await.unwrap(), None);
}
