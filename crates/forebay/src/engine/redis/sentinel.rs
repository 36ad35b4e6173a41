//! Asks Sentinels where a primary is, and listens to them for a switch.
//!
//! All listed Sentinels are asked, and the newest answer counts: each fail-over has a higher configuration epoch, on which
//! the Sentinels agree. Whether the named server is a primary is verified when it is connected to.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use futures::{StreamExt as _, stream::FuturesUnordered};
use redis::Value;
use tokio::{sync::watch, task::AbortHandle};

use super::{
    access::{Access, silent},
    dial::Endpoint,
    pipeline::{pipeline, send},
    refusal::{Class, Refusal},
    reply::{pairs, unavailable, unexpected, unreachable},
};
use crate::{
    backoff::Backoff,
    clock::Clock,
    error::{Error, ErrorKind, Result},
    time::{millis, secs},
};

/// How long a Sentinel may take to connect and answer.
const ANSWER_TIMEOUT: Duration = secs(1);

/// How long the others may take once one has answered.
const OTHERS_TIMEOUT: Duration = millis(100);

/// The pauses after a Sentinel could not be listened to.
const RECONNECT: Backoff = Backoff::new(millis(100), secs(5));

/// The channel on which a Sentinel says that a primary was replaced.
const CHANNEL: &str = "+switch-master";

/// The Sentinels of one primary.
#[derive(Debug)]
pub(super) struct Sentinels {
    set: Arc<Set>,
    /// Notified when a Sentinel says that a primary was replaced, and when it may have said so unheard.
    switched: watch::Sender<()>,
    listeners: OnceLock<Vec<AbortHandle>>,
}

#[derive(Debug)]
struct Set {
    /// The name of the primary.
    primary: Box<str>,
    hosts: Vec<Endpoint>,
    access: Access,
}

/// The answer of a Sentinel.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    /// The primary is there since this epoch.
    Primary(Endpoint, u64),
    /// It watches others only.
    Others(Vec<String>),
}

impl Sentinels {
    pub(super) fn new(primary: &str, hosts: Vec<Endpoint>, access: Access) -> Self {
        let set = Arc::new(Set { primary: primary.into(), hosts, access });
        Self { set, switched: watch::Sender::new(()), listeners: OnceLock::new() }
    }

    /// The primary as the Sentinels name it now.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] if no Sentinel knows it or lets this process in, else [`ErrorKind::Unavailable`].
    pub(super) async fn primary(&self, clock: &Clock) -> Result<Endpoint> {
        let Set { primary, hosts, .. } = &*self.set;
        let ask = |host| async move {
            let answer = clock.timeout(ANSWER_TIMEOUT, self.set.ask(host, clock)).await;
            let late =
                || Err(unavailable(&name_of(host), format_args!("no answer within {ANSWER_TIMEOUT:?}")));
            (host.to_string(), answer.unwrap_or_else(late))
        };
        let mut asked: FuturesUnordered<_> = hosts.iter().map(ask).collect();
        let (mut answers, mut patience) = (vec![], 2 * ANSWER_TIMEOUT);
        while let Some(Some(answer)) = clock.timeout(patience, asked.next()).await {
            if matches!(answer.1, Ok(Said::Primary(..))) {
                patience = OTHERS_TIMEOUT;
            }
            answers.push(answer);
        }
        newest(primary, answers)
    }

    /// Is notified when the primary may be another one; needs a tokio runtime.
    pub(super) fn switches(&self, clock: &Clock) -> watch::Receiver<()> {
        self.listen(clock);
        self.switched.subscribe()
    }

    /// Starts listening to every Sentinel.
    fn listen(&self, clock: &Clock) {
        self.listeners.get_or_init(|| {
            let listen = |place| {
                tokio::spawn(listen(self.set.clone(), place, self.switched.clone(), clock.clone()))
                    .abort_handle()
            };
            (0..self.set.hosts.len()).map(listen).collect()
        });
    }
}

impl Drop for Sentinels {
    fn drop(&mut self) {
        self.listeners.get().into_iter().flatten().for_each(AbortHandle::abort);
    }
}

impl Set {
    async fn ask(&self, host: &Endpoint, clock: &Clock) -> Result<Said> {
        let name = name_of(host);
        let (mut connection, mut driver) = self.access.connect(&name, host, clock).await?;
        let mut one = redis::cmd("SENTINEL");
        one.arg("MASTER").arg(&*self.primary);
        let mut all = redis::cmd("SENTINEL");
        all.arg("MASTERS");
        let questions = pipeline([one, all]);
        let answers = tokio::select! {
            answers = send(&mut connection, &questions) => answers.map_err(|cause| unreachable(&name, &cause))?,
            () = &mut driver => return Err(unavailable(&name, "the connection ended")),
        };
        let mut answers = answers.into_iter();
        let (one, all) = (answers.next().unwrap_or(Value::Nil), answers.next().unwrap_or(Value::Nil));
        match one {
            Value::ServerError(refused) => refusal(&name, &Refusal::of(&refused), all),
            found => primary_of(found).ok_or_else(|| unexpected(&name, "SENTINEL MASTER")),
        }
    }
}

/// A Sentinel does not know the primary, or is none, or lets nobody in.
fn refusal(name: &str, refused: &Refusal, all: Value) -> Result<Said> {
    if refused.text().contains("No such master") {
        let Value::Array(all) = all else { return Ok(Said::Others(vec![])) };
        return Ok(Said::Others(all.into_iter().filter_map(|one| field(&fields(one)?, "name")).collect()));
    }
    if refused.text().contains("unknown command") {
        let text = "this is a server and not a Sentinel, which listens on another port (usually 26379)";
        return Err(Error::new(ErrorKind::Configuration, format!("redis {name}: {text}")));
    }
    match refused.class() {
        Class::Rights | Class::Login => Err(Error::new(
            ErrorKind::Configuration,
            format!(
                "{}; the login of Sentinels is written sentinel-user= and sentinel-password-file=",
                refused.error(name)
            ),
        )),
        _ => Err(refused.error(name)),
    }
}

fn name_of(host: &Endpoint) -> String {
    format!("sentinel {host}")
}

fn fields(value: Value) -> Option<Vec<(String, String)>> {
    let text = |bytes| String::from_utf8(bytes).ok();
    pairs(value)?.into_iter().map(|(name, value)| Some((text(name)?, text(value)?))).collect()
}

fn field(fields: &[(String, String)], name: &str) -> Option<String> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
}

fn primary_of(value: Value) -> Option<Said> {
    let fields = fields(value)?;
    let endpoint = Endpoint::Tcp(field(&fields, "ip")?.into(), field(&fields, "port")?.parse().ok()?);
    Some(Said::Primary(endpoint, field(&fields, "config-epoch")?.parse().ok()?))
}

/// The primary by the newest of the answers.
fn newest(primary: &str, answers: Vec<(String, Result<Said>)>) -> Result<Endpoint> {
    let (mut named, mut others, mut failed) = (vec![], BTreeSet::new(), vec![]);
    for (host, answer) in answers {
        match answer {
            Ok(Said::Primary(endpoint, epoch)) => named.push((epoch, endpoint, host)),
            Ok(Said::Others(names)) => others.extend(names.into_iter().map(|name| (name, host.clone()))),
            Err(error) => failed.push(error),
        }
    }
    let newest = named.iter().map(|(epoch, ..)| *epoch).max();
    named.retain(|(epoch, ..)| Some(*epoch) == newest);
    if let [(_, first, _), rest @ ..] = &named[..] {
        if rest.iter().all(|(_, endpoint, _)| endpoint == first) {
            return Ok(first.clone());
        }
        let named: Vec<_> =
            named.iter().map(|(_, endpoint, host)| format!("{host} names {endpoint}")).collect();
        let text = format!(
            "the sentinels disagree on the primary {primary}: {}: list Sentinels of one set only",
            named.join(", ")
        );
        return Err(Error::new(ErrorKind::Unavailable, format!("redis {text}")));
    }
    let unknown = failed.is_empty() || !others.is_empty();
    if unknown {
        let known: BTreeSet<_> = others.iter().map(|(name, _)| name.as_str()).collect();
        let known: Vec<_> = known.into_iter().collect();
        let known = if known.is_empty() { "none".into() } else { known.join(", ") };
        return Err(Error::new(
            ErrorKind::Configuration,
            format!("redis: no sentinel knows a primary {primary:?}: they watch {known}"),
        ));
    }
    let wrong = failed.iter().all(|error| error.kind() == ErrorKind::Configuration);
    let kind = if wrong { ErrorKind::Configuration } else { ErrorKind::Unavailable };
    let failed: Vec<_> = failed.iter().map(ToString::to_string).collect();
    Err(Error::new(kind, format!("no sentinel of {primary} answers: {}", failed.join("; "))))
}

/// Listens to one Sentinel until it is aborted.
async fn listen(set: Arc<Set>, place: usize, switched: watch::Sender<()>, clock: Clock) {
    let (host, mut backoff) = (&set.hosts[place], RECONNECT);
    let name = name_of(host);
    loop {
        let subscribing = set.access.subscribe(&name, host, CHANNEL, &clock);
        match clock.timeout(2 * ANSWER_TIMEOUT, subscribing).await {
            Some(Ok(subscription)) => {
                backoff.reset();
                // It may have said something before.
                switched.send_replace(());
                let (mut ask, mut messages) = subscription.split();
                tokio::select! {
                    () = silent(&mut ask, &clock) => {}
                    () = async {
                        while let Some(message) = messages.next().await {
                            let said = String::from_utf8_lossy(message.get_payload_bytes()).into_owned();
                            if said.split(' ').next() == Some(&*set.primary) {
                                tracing::warn!(sentinel = %host, "the primary was replaced: {said}");
                                switched.send_replace(());
                            }
                        }
                    } => {}
                }
                tracing::debug!(sentinel = %host, "the subscription ended");
            }
            Some(Err(error)) => tracing::debug!(sentinel = %host, %error, "cannot subscribe"),
            None => tracing::debug!(sentinel = %host, "cannot subscribe in time"),
        }
        clock.sleep(backoff.after_failure()).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> Endpoint {
        Endpoint::Tcp("10.0.0.7".into(), port)
    }

    fn said(answers: Vec<Result<Said>>) -> Result<Endpoint> {
        newest("mymaster", (0..).map(|n| format!("s{n}:26379")).zip(answers).collect())
    }

    #[test]
    fn the_newest_answer_counts_however_many_are_older() {
        let old = || Ok(Said::Primary(at(1), 3));
        let new = Ok(Said::Primary(at(2), 4));
        assert_eq!(said(vec![old(), new, old()]).expect("named"), at(2));
        let silent = Err(unavailable("sentinel b", "no answer"));
        assert_eq!(said(vec![silent, old()]).expect("named"), at(1));
    }

    #[test]
    fn sentinels_of_two_sets_disagree() {
        let error = said(vec![Ok(Said::Primary(at(1), 3)), Ok(Said::Primary(at(2), 3))]).expect_err("two");
        let text = error.to_string();
        assert!(text.contains("s0:26379 names 10.0.0.7:1, s1:26379 names 10.0.0.7:2"), "{text}");
        assert!(text.contains("disagree") && error.kind() == ErrorKind::Unavailable, "{text}");
    }

    #[test]
    fn a_misspelt_primary_is_told_with_those_that_are_watched() {
        let others = || Ok(Said::Others(vec!["mymaster2".into(), "other".into()]));
        let error = said(vec![others(), others()]).expect_err("unknown");
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains("\"mymaster\": they watch mymaster2, other"), "{error}");
    }

    #[test]
    fn sentinels_that_do_not_answer_are_an_outage_unless_all_refuse() {
        let down = || Err(unavailable("sentinel a", "refused"));
        let refused = || Err(Error::new(ErrorKind::Configuration, "redis sentinel b: WRONGPASS"));
        assert_eq!(said(vec![down(), refused()]).expect_err("down").kind(), ErrorKind::Unavailable);
        assert_eq!(said(vec![refused(), refused()]).expect_err("refused").kind(), ErrorKind::Configuration);
    }
}
