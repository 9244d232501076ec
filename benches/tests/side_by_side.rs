//! A whole, very short comparison with real namespaces, devices and generators: of the copy loop and the bridge, which
//! need nothing installed and route nothing. Needs root and /dev/net/tun; says so and passes without.

use std::path::PathBuf;
use std::time::Duration;

use benches::comparison::{Workload, compare};
use benches::generate::Spans;
use benches::metric::Metric;
use benches::outcome::{Method, Run};
use benches::subject::{Programs, Subject};

fn shortest(subjects: &[Subject], workloads: &[Workload], compare_program: PathBuf) -> Vec<Run> {
    let spans = Spans { warm_up: Duration::from_millis(50), measured: Duration::from_millis(150) };
    let method = Method { rounds: 1, throughput: spans, round_trip: spans, rate: 1_000, flood_rate: 10_000 };
    let programs = Programs { tapestry: PathBuf::new(), compare: compare_program };
    compare(subjects, workloads, method, &programs, |_| {}).expect("nobody interrupts")
}

fn may_run() -> bool {
    let may = rustix::process::geteuid().is_root() && PathBuf::from("/dev/net/tun").exists();
    if !may {
        eprintln!("SKIPPED: this needs root and /dev/net/tun");
    }
    may
}

#[test]
fn every_workload_gets_through_every_kind_of_subject() {
    if !may_run() {
        return;
    }
    let subjects = [Subject::CopyLoop, Subject::TunTap, Subject::Bridge];
    let runs = shortest(&subjects, &Workload::ALL, env!("CARGO_BIN_EXE_compare").into());
    assert_eq!(runs.len(), subjects.len());
    for run in runs {
        assert!(run.failures.is_empty(), "{}: {:?}", run.subject, run.failures);
        for metric in Metric::ALL.into_iter().filter(|metric| metric.unit() != "×") {
            assert!(run.figures[&metric] > 0.0, "{}, {}", run.subject, metric.title());
        }
        assert!(run.asides["frames: offered, kframes/s"] > 0.0, "{:?}", run.asides);
    }
}

#[test]
fn a_subject_that_does_not_start_is_told_and_the_rest_goes_on() {
    if !may_run() {
        return;
    }
    let runs = shortest(&[Subject::CopyLoop, Subject::Bridge], &[Workload::Closed], "/bin/false".into());
    assert!(runs[0].failures[0].starts_with("start: false ended at once"), "{:?}", runs[0].failures);
    assert!(runs[0].figures.is_empty());
    assert!(runs[1].failures.is_empty(), "{:?}", runs[1].failures);
}
