//! State files that are whole, damaged, of other versions, and wanted by several at once.

use super::*;

const CONFIG: &str = r#"
[network.a]
subnet = ["172.16.0.0/16", "fd00::/64"]
[port.c1]
network = "a"
address = "auto"
[port.c2]
network = "a"
address = "auto"
"#;

fn leases() -> Leases {
    config::check_leased("x.toml", CONFIG, &Leases::default()).unwrap().1
}

struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("made/state.json")
    }

    /// With a file that was saved.
    fn saved() -> Self {
        let place = Self::new();
        open(&place.path()).store.unwrap().save(&leases()).unwrap();
        place
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path().parent().unwrap()).unwrap();
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

#[test]
fn what_is_saved_is_read_again() {
    let place = Place::new();
    let first = open(&place.path());
    assert!(first.warnings.is_empty() && first.leases.is_empty(), "{first:?}");
    drop(first);
    let place = Place::saved();
    let again = open(&place.path());
    assert_eq!(again.leases, leases());
    assert_eq!(again.leases.len(), 2);
    assert!(again.warnings.is_empty(), "{again:?}");
    assert_eq!(place.names(), ["state.json", "state.json.lock"], "no temporary file is left");
}

#[test]
fn a_file_that_is_of_no_use_is_set_aside_and_told() {
    let whole = fs::read_to_string(Place::saved().path()).unwrap();
    for (damaged, why) in [
        (String::new(), "no JSON"),
        (whole[..whole.len() / 2].to_owned(), "no JSON"),
        (whole.replace("172.16.0.1", "172.16.0.9"), "checksum"),
        (whole.replace("\"version\": 1", "\"version\": 0"), "its version is 0"),
        (whole.replace("\"version\": 1", "\"version\": 2"), "its version is 2"),
        (whole.replace("\"version\": 1", "\"edition\": 1"), "its version is none"),
        (whole.replace("\"network\"", "\"netwerk\""), "does not say what it should"),
        (whole.replace("\"172.16.0.1\"", "172"), "does not say what it should"),
    ] {
        let place = Place::saved();
        assert_ne!(damaged, whole, "{why}");
        fs::write(place.path(), &damaged).unwrap();
        let opened = open(&place.path());
        assert!(opened.leases.is_empty());
        let [warning] = &opened.warnings[..] else { panic!("{opened:?}") };
        assert!(warning.contains(why) && warning.contains("state.json.bad-1"), "{warning}");
        assert_eq!(place.names(), ["state.json.bad-1", "state.json.lock"]);
        assert_eq!(fs::read_to_string(place.path().with_file_name("state.json.bad-1")).unwrap(), damaged);
        opened.store.unwrap().save(&leases()).unwrap();
        assert_eq!(open(&place.path()).leases, leases(), "it goes on with a new one");
    }
}

#[test]
fn octets_that_are_no_text_are_set_aside_too() {
    let place = Place::saved();
    fs::write(place.path(), [0xff; 4_096]).unwrap();
    assert_eq!(open(&place.path()).warnings.len(), 1);
}

#[test]
fn files_set_aside_do_not_replace_each_other_up_to_the_limit() {
    let place = Place::saved();
    for number in 1..=BAD_MAX + 5 {
        fs::write(place.path(), format!("bad {number}")).unwrap();
        let warning = open(&place.path()).warnings.pop().unwrap();
        assert!(warning.contains(&format!(".bad-{};", number.min(BAD_MAX)).replace(';', "")), "{warning}");
    }
    let first = fs::read_to_string(place.path().with_file_name("state.json.bad-1")).unwrap();
    assert_eq!(first, "bad 1");
    assert_eq!(place.names().len() - 1, BAD_MAX as usize);
}

#[test]
fn a_directory_in_its_place_is_no_end() {
    let place = Place::new();
    fs::create_dir_all(place.path()).unwrap();
    let opened = open(&place.path());
    assert_eq!(opened.warnings.len(), 1, "{opened:?}");
    assert_eq!(place.names(), ["state.json.bad-1", "state.json.lock"]);
}

#[test]
fn a_second_switch_keeps_nothing_and_disturbs_nothing() {
    let place = Place::saved();
    let first = open(&place.path());
    let second = open(&place.path());
    assert!(second.store.is_none() && second.leases.is_empty());
    assert!(second.warnings[0].contains("another switch keeps it"), "{second:?}");
    first.store.as_ref().unwrap().save(&Leases::default()).unwrap();
    drop(first);
    assert!(open(&place.path()).store.is_some(), "the lock goes with its owner");
}

#[test]
fn of_many_that_start_at_once_one_has_it() {
    let place = Place::saved();
    let barrier = std::sync::Barrier::new(8);
    let path = place.path();
    let winners = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            let opened = open(&path);
            barrier.wait(); // Nobody lets go before everybody has tried.
            opened.store.is_some()
        };
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).filter(|won| *won).count()
    });
    assert_eq!(winners, 1);
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let place = Place::new();
    fs::write(place.directory.path().join("made"), "a file").unwrap();
    let opened = open(&place.path());
    assert!(opened.store.is_none());
    assert!(opened.warnings[0].contains("its directory cannot be made"), "{opened:?}");
}
