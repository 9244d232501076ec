//! A recording whose sink is slow, or gone.

use super::*;
use sim::recording::{Ended, Replayed, header, replay};

/// A sink that takes a piece for each leave that it is given, and any number once nobody gives leave any more.
struct Slow {
    leave: Receiver<()>,
    octets: Arc<Mutex<Vec<u8>>>,
}

impl Sink for Slow {
    fn write(&mut self, octets: Vec<u8>) -> io::Result<Vec<u8>> {
        let _ = self.leave.recv();
        self.octets.lock().unwrap().extend(&octets);
        Ok(octets)
    }
}

struct Scene {
    node: Node,
    out: Outbox,
    now: Instant,
}

impl Scene {
    fn new() -> Self {
        let text = "[network.a]\n[port.c1]\nnetwork = \"a\"\n[port.c2]\nnetwork = \"a\"\n";
        let config = config::check("test.toml", text).unwrap();
        let plan = Arc::new(config::compile(&config, &mut config::Ids::default()).plan);
        let mut scene = Self { node: Node::new(1), out: Outbox::default(), now: Instant::from_secs(1) };
        scene.node.handle(scene.now, Event::Configure(plan), &mut scene.out);
        scene
    }

    /// A frame of another station comes, and what leaves is sent. The worker has more to do.
    fn step(&mut self, track: &mut Track, number: u32) {
        let [a, b, c, d] = number.to_be_bytes();
        let mut frame = self.out.pool.take();
        let bytes = [&[2, 0, 0, 0, 0, 1, 2, 1, a, b, c, d, 0x88, 0xb5][..], &[0; 46]].concat();
        assert!(frame.fill(&bytes));
        self.happen(track, Event::Frame { port: PortId(u16::try_from(number % 2).unwrap()), frame });
    }

    fn happen(&mut self, track: &mut Track, event: Event) {
        track.event(self.now, &event);
        self.node.handle(self.now, event, &mut self.out);
        track.outputs(&mut self.out);
        self.out.clear_sends();
        self.out.gossip.clear();
        self.out.notices.clear();
    }

    /// The sink takes all from now on: the track begins its next segment, and some frames more come.
    fn catch_up(&mut self, track: &mut Track, leaves: Sender<()>) {
        drop(leaves);
        until_empty(track, 0);
        let later = self.now + RESUME_AFTER + RESUME_AFTER;
        self.now = later.max(clock::now() + RESUME_AFTER);
        assert!(track.settle(self.now, &self.node));
        (0..100).for_each(|number| self.step(track, 3 * number));
    }
}

/// Until the thread has left so many pieces.
fn until_empty(track: &Track, left: usize) {
    while track.pieces.as_ref().unwrap().len() > left {
        std::thread::yield_now();
    }
}

fn begun(recording: &Arc<Recording>, scene: &Scene) -> Track {
    let mut track = recording.track(0, 1, 1, || ()).unwrap();
    track.begin(scene.now, Some(&scene.node));
    track
}

fn replayed(octets: &Mutex<Vec<u8>>) -> Replayed {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &*octets.lock().unwrap()).unwrap();
    replay(file.path(), None).unwrap()
}

fn recording(open: Box<OpenSink>) -> Recording {
    Recording::new(1, Destination::Reader, open, &Arc::default())
}

fn slow() -> (Arc<Recording>, Sender<()>, Arc<Mutex<Vec<u8>>>) {
    let (leaves, leave) = bounded(1);
    let octets = Arc::new(Mutex::new(header().to_vec()));
    let kept = Arc::clone(&octets);
    let open =
        move |_| Ok(Box::new(Slow { leave: leave.clone(), octets: Arc::clone(&kept) }) as Box<dyn Sink>);
    (Arc::new(recording(Box::new(open)).awaited()), leaves, octets)
}

#[test]
fn what_a_slow_sink_cannot_take_is_counted_and_the_rest_is_exact() {
    let (recording, leaves, octets) = slow();
    let mut scene = Scene::new();
    let mut track = begun(&recording, &scene);
    let count = u32::try_from(PIECES_MAX).unwrap() + 500;
    for number in 0..count {
        scene.step(&mut track, number);
        track.hand_over();
        assert!(track.settle(scene.now, &scene.node), "it waits for the sink to catch up");
        assert!(track.waiting.octets() <= OCTETS_MAX);
    }
    let missed = recording.missed();
    assert!((1..1_000).contains(&missed), "{missed}");
    scene.catch_up(&mut track, leaves);
    assert_eq!(recording.missed(), missed, "it has caught up");
    drop(track);

    let replayed = replayed(&octets);
    assert_eq!((replayed.difference.as_deref(), replayed.ended), (None, Ended::Overrun), "{replayed:?}");
    let [worker] = &replayed.workers[..] else { panic!("{replayed:?}") };
    assert_eq!((worker.segments, worker.missed), (2, missed));
    assert_eq!(worker.events + missed, u64::from(count) + 100);
    assert_eq!(worker.verified, worker.events);
    assert_eq!(recording.octets() + header().len() as u64, octets.lock().unwrap().len() as u64);
}

#[test]
fn a_change_that_meets_a_full_channel_is_missed_like_any_event() {
    let (recording, leaves, octets) = slow();
    let mut scene = Scene::new();
    let mut track = begun(&recording, &scene);
    until_empty(&track, 2); // The plan and the state: the thread is waiting with the beginning.
    let (done, _) = bounded(0);
    while !track.pieces.as_ref().unwrap().is_full() {
        track.mark(done.clone());
    }
    let plan = Arc::clone(scene.node.plan());
    scene.happen(&mut track, Event::Configure(plan));
    scene.step(&mut track, 1);
    assert_eq!(recording.missed(), 2);
    scene.catch_up(&mut track, leaves);
    drop(track);
    let replayed = replayed(&octets);
    assert_eq!((replayed.difference.as_deref(), replayed.ended), (None, Ended::Overrun), "{replayed:?}");
    assert_eq!((replayed.sum(|it| it.missed), replayed.sum(|it| it.verified)), (2, 100));
}

#[test]
fn an_idle_worker_keeps_little_pieces_while_others_wait() {
    let (recording, leaves, octets) = slow();
    let mut scene = Scene::new();
    let (wake, woken) = bounded(1);
    let wake = move || wake.try_send(()).unwrap_or_default(); // Once is enough.
    let mut track = recording.track(0, 1, 1, wake).unwrap();
    track.begin(scene.now, Some(&scene.node));
    let count = u32::try_from(PIECES_MAX).unwrap() * 2;
    for number in 0..count {
        scene.step(&mut track, number);
        track.rest();
        assert!(track.settle(scene.now, &scene.node));
    }
    assert_eq!(recording.missed(), 0, "{} octets wait", track.waiting.octets());
    assert!(!track.recorder.is_empty());
    drop(leaves);
    woken.recv().unwrap();
    track.rest();
    assert!(track.recorder.is_empty(), "nothing waited any more");
    drop(track);
    let replayed = replayed(&octets);
    assert_eq!((replayed.ended, replayed.workers[0].verified), (Ended::Whole, count.into()), "{replayed:?}");
}

#[test]
fn a_sink_that_has_gone_ends_the_recording() {
    struct Gone;
    impl Sink for Gone {
        fn write(&mut self, _: Vec<u8>) -> io::Result<Vec<u8>> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let open = |_| Ok(Box::new(Gone) as Box<dyn Sink>);
    let recording = Arc::new(recording(Box::new(open)));
    let mut scene = Scene::new();
    let mut track = recording.track(0, 1, 1, || ()).unwrap();
    track.begin(scene.now, None);
    while track.settle(scene.now, &scene.node) {
        scene.step(&mut track, 7);
        track.hand_over();
    }
    assert_eq!((recording.missed(), recording.octets()), (0, 0), "nobody misses it");
    assert_eq!(recording.failed(), 1);
    track.retire();
}

#[test]
fn a_stopped_recording_ends_whole() {
    let (recording, leaves, octets) = slow();
    drop(leaves);
    let mut scene = Scene::new();
    let mut track = begun(&recording, &scene);
    (0..9).for_each(|number| scene.step(&mut track, number));
    recording.stop();
    assert!(!track.settle(scene.now, &scene.node));
    drop(track);
    let replayed = replayed(&octets);
    assert_eq!((replayed.ended, replayed.workers[0].verified), (Ended::Whole, 9), "{replayed:?}");
}
