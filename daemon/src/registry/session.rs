//! A session with the registry: what the pure part wants asked is asked, and what comes of it is told.
//!
//! ```text
//!  follow (a task)   List ─▶ Watch from there ─▶ … ─▶ on any break: from the start after 0.1 s, doubling to 5 s
//!     │ news
//!     ▼
//!  keep              roster ◀─ news      tenure ◀─ time, answers      ─▶ Report
//! ```
//!
//! Nothing here is lost by etcd's absence: the roster stays as it was, the tenure goes on, and both are put right when
//! there is an answer again. A watch is never resumed: what has happened while there was none shows in the list, however
//! much of it has been compacted, and also if the whole cluster was emptied or put back to an older copy. Limit: [`NEWS_MAX`] news wait; then the watch is not read further.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant as Moment;

use super::acquire::{Acquired, Acquisition, Answer, Failed, Request, Step, TTL_SECS, Wish};
use super::etcd::{Change, Client, Error, Expected, Pair, Position, Watched};
use super::network::{Invalid, Network};
use super::roster::{Entry, Roster, View};
use super::tenure::{Loss, Progress, Standing, Tenure};
use crate::sys::clock;

/// News that wait for [`Session::keep`].
pub const NEWS_MAX: usize = 16;
/// How often everything is listed though the watch stands: whatever it may have missed holds so long at most.
pub const RELIST: Duration = Duration::from_secs(600);
/// How long to wait for the configuration before asking again, as flanneld.
pub const ASK_AGAIN: Duration = Duration::from_secs(1);
/// After the first failure, and at most, so long nothing is asked.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));

/// The registry of one network.
#[derive(Debug)]
pub struct Session {
    client: Client,
    prefix: String,
}

/// What happens while a lease is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// These are the peers from now on.
    Peers(View),
    /// etcd does not answer; what was known last stays. Told once for each reason in a row.
    Away(String),
    /// etcd answers again.
    Back,
    /// Our lease holds for another term.
    Renewed(Acquired),
    /// It could not be renewed, and will be tried again.
    NotRenewed(String),
    /// Another machine writes to our key that says it has our public address; it is written over after so long.
    Contested(Duration),
    /// Our key is again as we have written it.
    Restored,
}

/// [`Report::Contested`] in words.
pub fn contested(pause: Duration) -> String {
    let when = if pause.is_zero() { "at once".to_owned() } else { format!("in {} s", pause.as_secs()) };
    format!("another machine writes to our lease and has our public address; it is written again {when}")
}

/// What the follower tells.
#[derive(Debug)]
enum News {
    /// All leases, as of this revision.
    Snapshot(Vec<Entry>, i64),
    Changes(Vec<Entry>, Vec<String>),
    Away(String),
}

impl Session {
    /// Of the keys below `prefix`, which has no slash at its end.
    pub fn new(client: Client, prefix: &str) -> Self {
        Self { client, prefix: prefix.trim_end_matches('/').to_owned() }
    }

    /// The network's configuration document, if there is one.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn document(&self) -> Result<Option<Vec<u8>>, Error> {
        self.client.get(&format!("{}/config", self.prefix)).await
    }

    /// Waits until there is a configuration document that makes sense. `on_trouble` is told why it takes long, each
    /// reason once in a row.
    pub async fn network(&self, mut on_trouble: impl FnMut(&str)) -> Network {
        let mut said = String::new();
        let mut tell = |why: &str| {
            if said != why {
                on_trouble(why);
                why.clone_into(&mut said);
            }
        };
        loop {
            match self.network_or_fault(&mut tell).await {
                Ok(network) => return network,
                Err(invalid) => tell(&invalid.to_string()),
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// [`Session::network`], but for the keys of `Backend`, which nobody waits for.
    ///
    /// # Errors
    /// If one of them is refused.
    pub async fn network_or_fault(&self, mut on_trouble: impl FnMut(&str)) -> Result<Network, Invalid> {
        let mut said = String::new();
        loop {
            let why = match self.document().await {
                Ok(Some(document)) => match Network::parse(&document) {
                    Ok(network) => return Ok(network),
                    Err(invalid) if invalid.is_backends => return Err(invalid),
                    Err(invalid) => invalid.to_string(),
                },
                Ok(None) => {
                    "flannel config not found in etcd store. Did you create your config using etcdv3 API?"
                        .to_owned()
                }
                Err(error) => error.to_string(),
            };
            if why != said {
                on_trouble(&why);
                said = why;
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }

    /// Gets a lease, however long etcd is away. `on_trouble` is told why it takes long.
    ///
    /// # Errors
    /// If there is no subnet to be had.
    pub async fn acquire(
        &self,
        wish: Wish,
        seed: u64,
        mut on_trouble: impl FnMut(&Error),
    ) -> Result<Acquired, Failed> {
        let mut acquisition = Acquisition::new(wish, seed);
        let mut backoff = Backoff::default();
        let mut request = Request::List;
        loop {
            let answer = match self.put_to(&request).await {
                Ok(answer) => answer,
                Err(error) => {
                    on_trouble(&error);
                    backoff.wait().await;
                    Answer::Nothing
                }
            };
            request = match acquisition.next(answer) {
                Step::Ask(request) => request,
                Step::Acquired(acquired) => return Ok(acquired),
                Step::Failed(failed) => return Err(failed),
            };
        }
    }

    /// Keeps the lease and tells of peers until the lease is lost.
    pub async fn keep(
        self: Arc<Self>,
        tenure: Tenure,
        mut roster: Roster,
        mut report: impl FnMut(Report),
    ) -> Loss {
        roster.set_own(Some((tenure.acquired().subnets, tenure.holder().clone())));
        let (sender, mut news) = mpsc::channel(NEWS_MAX);
        let follower = tokio::spawn(Arc::clone(&self).follow(sender));
        let mut keeper = Keeper { tenure, roster, told: None, away: None };
        let loss = loop {
            let due = keeper.tenure.deadline().map(|due| Moment::now() + due.since(clock::now()));
            tokio::select! {
                first = news.recv() => {
                    let mut next = first;
                    while let Some(news_item) = next {
                        keeper.hear(news_item, &mut report);
                        next = news.try_recv().ok();
                    }
                    if let Some(loss) = keeper.settle(&mut report) {
                        break loss;
                    }
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(Moment::now)), if due.is_some() => {
                    self.renew(&mut keeper.tenure, &mut report).await;
                }
            }
        };
        follower.abort();
        loss
    }

    async fn renew(&self, tenure: &mut Tenure, report: &mut impl FnMut(Report)) {
        let mut request = tenure.wake(clock::now());
        while let Some(asked) = request.take() {
            let answer = self.put_to(&asked).await;
            let why = answer
                .as_ref()
                .err()
                .map_or_else(|| "its key is not as we left it".to_owned(), Error::to_string);
            match tenure.answer(&answer.unwrap_or(Answer::Nothing), clock::now()) {
                Progress::Ask(next) => request = Some(next),
                Progress::Renewed => report(Report::Renewed(tenure.acquired())),
                Progress::Restored => report(Report::Restored),
                Progress::Later => report(Report::NotRenewed(why)),
            }
        }
    }

    async fn put_to(&self, request: &Request) -> Result<Answer, Error> {
        let path = |key: &str| format!("{}/subnets/{key}", self.prefix);
        let done = |revision: Option<i64>| revision.map_or(Answer::Unexpected, Answer::Done);
        let client = &self.client;
        Ok(match request {
            Request::List => Answer::Listed(self.list().await?.0),
            Request::Grant => Answer::Granted(client.grant(TTL_SECS).await?),
            Request::Create { key, value, lease } => {
                done(client.put(&path(key), value, *lease, Expected::Absent).await?)
            }
            Request::Replace { key, value, lease, written } => {
                done(client.put(&path(key), value, *lease, Expected::WrittenAt(*written)).await?)
            }
            Request::Delete { key, written } => {
                done(client.delete(&path(key), Expected::WrittenAt(*written)).await?)
            }
            Request::Revoke { lease } => {
                client.revoke(*lease).await?;
                Answer::Revoked
            }
        })
    }

    /// Keys of leases: with the slash, so that what merely begins like the folder's name is not among them.
    fn folder(&self) -> String {
        format!("{}/subnets/", self.prefix)
    }

    async fn list(&self) -> Result<(Vec<Entry>, Position), Error> {
        let folder = self.folder();
        let (pairs, position) = self.client.list(&folder).await?;
        Ok((pairs.into_iter().map(|pair| entry(&folder, pair)).collect(), position))
    }

    async fn follow(self: Arc<Self>, news: mpsc::Sender<News>) {
        let mut backoff = Backoff::default();
        // Only the end of the keeper ends this.
        while let Err(error) = self.follow_once(&mut backoff, &news).await {
            if news.send(News::Away(error.to_string())).await.is_err() {
                return;
            }
            backoff.wait().await;
        }
    }

    /// A list, and a watch from there to its end. `Ok`: nobody listens any more.
    async fn follow_once(&self, backoff: &mut Backoff, news: &mpsc::Sender<News>) -> Result<(), Error> {
        let folder = self.folder();
        let (entries, mut known) = self.list().await?;
        let mut told = news.send(News::Snapshot(entries, known.revision)).await;
        let mut watch = self.client.watch(&folder, known.revision + 1).await?;
        let mut relist = Moment::now() + RELIST;
        while told.is_ok() {
            let Ok(watched) = tokio::time::timeout_at(relist, watch.next()).await else {
                let (entries, now) = self.list().await?;
                known = continued(&known, now)?;
                relist = Moment::now() + RELIST;
                told = news.send(News::Snapshot(entries, known.revision)).await;
                continue;
            };
            match watched? {
                Watched::Begun(now) => {
                    known = continued(&known, now)?;
                    backoff.reset();
                }
                Watched::Changed(now, changes) => {
                    known = continued(&known, now)?;
                    told = news.send(changed(&folder, changes)).await;
                }
                Watched::Compacted => {
                    return Err(Error::Refused("what happened meanwhile has been compacted".to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// Where the history stands now, if it is the one that we know: a watch in another would wait for a revision that is
/// long gone, or far away.
fn continued(known: &Position, now: Position) -> Result<Position, Error> {
    if now.cluster == known.cluster && now.revision >= known.revision {
        return Ok(now);
    }
    Err(Error::Nonsense(
        "its history is another than before: it was emptied, or put back to an older copy".to_owned(),
    ))
}

/// What is kept while a lease is.
struct Keeper {
    tenure: Tenure,
    roster: Roster,
    told: Option<View>,
    /// Why etcd does not answer, if it does not.
    away: Option<String>,
}

impl Keeper {
    fn hear(&mut self, news: News, report: &mut impl FnMut(Report)) {
        match news {
            News::Away(why) => {
                if self.away.as_ref() != Some(&why) {
                    self.away = Some(why.clone());
                    report(Report::Away(why));
                }
                return;
            }
            News::Snapshot(entries, revision) => {
                self.tenure.listed(revision);
                self.roster.reset(entries);
            }
            News::Changes(written, deleted) => {
                deleted.iter().for_each(|key| self.roster.delete(key));
                written.into_iter().for_each(|entry| self.roster.put(entry));
            }
        }
        if self.away.take().is_some() {
            report(Report::Back);
        }
    }

    /// What follows from all that was heard.
    fn settle(&mut self, report: &mut impl FnMut(Report)) -> Option<Loss> {
        if self.away.is_some() && self.told.is_none() {
            return None; // Nothing is known yet.
        }
        match self.tenure.seen(self.roster.own(), clock::now()) {
            Standing::Ours | Standing::StillContested => {}
            Standing::Contested(pause) => report(Report::Contested(pause)),
            Standing::Lost(loss) => return Some(loss),
        }
        let view = self.roster.view();
        if self.told.as_ref() != Some(&view) {
            report(Report::Peers(view.clone()));
            self.told = Some(view);
        }
        None
    }
}

/// Of several changes of one key only the last counts.
fn changed(folder: &str, changes: Vec<Change>) -> News {
    let mut last = std::collections::BTreeMap::new();
    for change in changes {
        match change {
            Change::Put(pair) => {
                let entry = entry(folder, pair);
                last.insert(entry.key.clone(), Some(entry));
            }
            Change::Deleted(key) => drop(last.insert(name(folder, &key), None)),
        }
    }
    let deleted = last.iter().filter(|(_, entry)| entry.is_none()).map(|(key, _)| key.clone()).collect();
    News::Changes(last.into_values().flatten().collect(), deleted)
}

fn entry(folder: &str, pair: Pair) -> Entry {
    let Pair { key, value, created, written, lease } = pair;
    Entry { key: name(folder, &key), value, created, written, lease }
}

/// A key without its folder. One that is no text names no subnet either way.
fn name(folder: &str, key: &[u8]) -> String {
    String::from_utf8_lossy(key.strip_prefix(folder.as_bytes()).unwrap_or(key)).into_owned()
}

/// How long to wait after failures in a row.
#[derive(Debug, Default)]
struct Backoff(Option<Duration>);

impl Backoff {
    async fn wait(&mut self) {
        let pause = self.0.map_or(BACKOFF.0, |last| (last * 2).min(BACKOFF.1));
        self.0 = Some(pause);
        tokio::time::sleep(pause).await;
    }

    fn reset(&mut self) {
        self.0 = None;
    }
}
