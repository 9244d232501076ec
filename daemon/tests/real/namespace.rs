//! Namespaces found, made, and refused.

use std::io::ErrorKind;
use std::net::TcpListener;

use tapestry::link::{self, Namespace};

use crate::support::{able, namespace};

#[test]
fn a_missing_namespace_says_where_it_was_looked_for() {
    let error = Namespace::open("ty-missing").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound);
    assert_eq!(
        error.to_string(),
        "namespace ty-missing: /run/netns/ty-missing does not exist; `ip netns add ty-missing` makes it"
    );
    let error = Namespace::open("/proc/0/ns/net").unwrap_err().to_string();
    assert!(error.contains("/proc/0/ns/net does not exist; is its process running"), "{error}");
    let error = Namespace::open("/dev/null").unwrap_err().to_string();
    assert!(error.contains("/dev/null is not a network namespace"), "{error}");
    assert_eq!(Namespace::open("").unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_anonymous_namespace_has_loopback_and_can_be_opened_by_path() {
    if !able() {
        return;
    }
    let first = namespace("first");
    let listener = first.run(|| TcpListener::bind("127.0.0.1:0")).unwrap().unwrap();
    let address = listener.local_addr().unwrap();
    let again = Namespace::open(first.path().to_str().unwrap()).unwrap();
    again.run(|| std::net::TcpStream::connect(address)).unwrap().unwrap();
    let other = namespace("other").run(|| std::net::TcpStream::connect(address)).unwrap();
    assert_eq!(other.unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_named_namespace_is_found_by_name_and_goes_with_its_value() {
    if !able() {
        return;
    }
    let name = format!("ty-{}", std::process::id());
    let named = Namespace::named(&name).unwrap();
    let found = Namespace::open(&name).unwrap();
    assert!(link::find(&found, "lo").unwrap().unwrap().up);
    assert_eq!(Namespace::named(&name).unwrap_err().kind(), ErrorKind::AlreadyExists);
    drop(named);
    assert_eq!(Namespace::open(&name).unwrap_err().kind(), ErrorKind::NotFound);
}

#[test]
fn a_panic_in_a_visit_is_the_callers() {
    if !able() {
        return;
    }
    let here = namespace("here");
    let panic = std::panic::catch_unwind(|| here.run(|| panic!("of the visit"))).unwrap_err();
    assert_eq!(panic.downcast_ref(), Some(&"of the visit"));
}
