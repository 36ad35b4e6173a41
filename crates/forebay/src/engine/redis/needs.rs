//! Tests on a server what Forebay needs of it.

use redis::{Cmd, Value, cmd};

use super::{
    handshake::{MIN_VERSION, parse_version},
    keys::Keys,
    nodes::Nodes,
    pipeline::{load_text, words},
    refusal::Refusal,
    reply::{info_field, server_time, text},
    script::Script,
    target::Target,
};
use crate::{
    clock::Clock,
    engine::cluster::{Group, Layout},
    error::Result,
    model::{Finding, Outcome, ServerReport},
    time::{Timestamp, secs},
};

/// How long the keys of a probe are kept, in ms.
const KEY_TTL_MS: u64 = 10_000;

/// Clocks that are further apart are named.
const MAX_CLOCK_DIFFERENCE_MS: u64 = 1_000;

/// How many messages are published at most. Each has a second to arrive.
const MESSAGES: usize = 3;

/// Two keys of one slot, both declared.
const DECLARED: &str = "redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('SET', KEYS[2], redis.call('GET', KEYS[1]), 'PX', ARGV[2])
return redis.call('GET', KEYS[2])";

/// A server to probe.
struct Probed<'a> {
    target: &'a Target,
    /// The server to publish at: another one, if there is one.
    publisher: &'a Target,
    keys: Keys,
    /// Groups of keys that the server has.
    groups: Vec<Group>,
    clock: &'a Clock,
}

/// Probes the servers of `urls`, each by itself.
///
/// # Errors
/// As [`Target::parse`], and for a server that cannot be asked at all.
pub(crate) async fn probe_hosts(urls: &[&str], prefix: &str, clock: &Clock) -> Result<Vec<ServerReport>> {
    let targets: Vec<Target> = urls.iter().map(|url| Target::parse(url)).collect::<Result<_>>()?;
    let mut reports = vec![];
    for target in &targets {
        let keys = Keys::new(prefix, Layout::Named);
        let probed = Probed { target, publisher: target, keys, groups: vec![Group::default()], clock };
        reports.push(probed.report().await?);
    }
    Ok(reports)
}

/// Probes every primary of a Redis Cluster.
///
/// # Errors
/// As [`Nodes::find`], and for a node that cannot be asked at all.
pub(crate) async fn probe_nodes(urls: &[Box<str>], prefix: &str, clock: &Clock) -> Result<Vec<ServerReport>> {
    let nodes = Nodes::new(urls, prefix, clock.clone())?;
    let found = nodes.find().await?;
    let seed = Target::parse(&urls[0])?;
    let targets: Vec<Target> = found.owners.nodes.iter().map(|(host, port)| seed.at(host, *port)).collect();
    let mut reports = vec![];
    for (place, target) in targets.iter().enumerate() {
        let is_its = |group: &Group| {
            found.owners.owners[usize::from(group.slot().number())]
                .is_some_and(|owner| usize::from(owner) == place)
        };
        let publisher = &targets[(place + 1) % targets.len()];
        let keys = Keys::new(prefix, Layout::Grouped);
        let probed = Probed { target, publisher, keys, groups: Group::all().filter(is_its).collect(), clock };
        let mut report = probed.report().await?;
        report.findings.push(match found.needs_all {
            Some(true) => limited(
                "coverage",
                "cluster-require-full-coverage yes: one dead primary is an outage of all keys; set no",
            ),
            Some(false) => met("coverage", "cluster-require-full-coverage no"),
            None => limited("coverage", "CONFIG GET is refused: cluster-require-full-coverage should be no"),
        });
        reports.push(report);
    }
    Ok(reports)
}

impl Probed<'_> {
    async fn report(&self) -> Result<ServerReport> {
        let scripts = [Script::Probe.source(), DECLARED, Script::ProbeAcross.source()].map(load_text);
        let questions = [words("INFO"), words("HELLO"), words("WAIT 0 1"), words("TIME")];
        let before = self.clock.now();
        let mut answers =
            self.target.ask(&[&scripts[..], &questions].concat(), self.clock).await?.into_iter();
        let after = self.clock.now();
        let mut next = || answers.next().unwrap_or(Value::Nil);
        let hashes = [next(), next(), next()];
        let info = next();
        let [hello, wait, time] = [next(), next(), next()];
        let mut findings = vec![];
        match text(info.clone()) {
            Some(info) => findings.extend(Self::of_info(&info)),
            None => findings.push(missing("INFO", said(&info))),
        }
        findings.extend(self.of_scripts(hashes).await?);
        findings.push(self.of_messages().await);
        findings.push(of_clock(time, before, after));
        findings.push(match &hello {
            Value::ServerError(_) => limited("RESP3", format!("{}; RESP2 is spoken", said(&hello))),
            _ => met("RESP3", "HELLO is answered"),
        });
        findings.push(match wait {
            Value::Int(_) => met("WAIT", "answered; Forebay does not use it yet"),
            other => met("WAIT", format!("{}; Forebay does not use it yet", said(&other))),
        });
        Ok(ServerReport { name: self.target.name.clone(), findings })
    }

    /// The findings in an answer to `INFO`.
    fn of_info(info: &str) -> [Finding; 4] {
        let field = |name: &str| info_field(info, name);
        let version = field("redis_version").unwrap_or("unknown");
        let product =
            field("valkey_version").map(|own| format!("Valkey {own}, compatible with Redis {version}"));
        let product = product.unwrap_or_else(|| format!("Redis {version}"));
        let is_new = parse_version(version).is_some_and(|version| version >= MIN_VERSION);
        [
            if is_new {
                met("version", product)
            } else {
                missing("version", format!("{product}: 6.2 or later is needed"))
            },
            match field("role") {
                Some("master") => met("role", "primary"),
                role => missing("role", format!("{}: name the primary", role.unwrap_or("unknown"))),
            },
            match field("master_replid") {
                Some(id) => met("replication id", format!("INFO tells it: {id}")),
                None => limited(
                    "replication id",
                    "INFO does not tell master_replid: a row or point whose answer is lost is not sent again, and its fate stays \
                     unknown",
                ),
            },
            match field("maxmemory_policy") {
                Some("noeviction") => met("eviction", "maxmemory-policy noeviction"),
                policy => limited(
                    "eviction",
                    format!(
                        "maxmemory-policy {}: a full server may drop counts, rows and locks; set noeviction",
                        policy.unwrap_or("unknown")
                    ),
                ),
            },
        ]
    }

    async fn of_scripts(&self, hashes: [Value; 3]) -> Result<Vec<Finding>> {
        let Some(group) = self.groups.first() else {
            return Ok(vec![met("scripts", "not tried: the node has no group of keys")]);
        };
        let key = self.keys.probe(*group);
        let mut calls = vec![call(&hashes[0], &[&key], &[&KEY_TTL_MS.to_string()])];
        let pair = [key.clone(), format!("{key}:2")];
        calls.push(call(&hashes[1], &[&pair[0], &pair[1]], &["x", &KEY_TTL_MS.to_string()]));
        let other = self.groups.get(1).map(|other| self.keys.probe(*other));
        calls.extend(other.map(|other| call(&hashes[2], &[&key], &[&other, &KEY_TTL_MS.to_string()])));
        let answers = self.target.ask(&calls, self.clock).await?;
        let of = |need, loaded: &Value, answer: &Value, works: &str| match (loaded, answer) {
            (Value::ServerError(_), _) => missing(need, said(loaded)),
            (_, Value::ServerError(_)) => missing(need, said(answer)),
            _ => met(need, works),
        };
        let mut findings = vec![
            of(
                "commands",
                &hashes[0],
                &answers[0],
                "a script may run all commands that Forebay's scripts use",
            ),
            of("declared keys", &hashes[1], &answers[1], "a script writes two keys of one slot"),
        ];
        if let Some(answer) = answers.get(2) {
            let refusal = [&hashes[2], answer].into_iter().find(|said| matches!(said, Value::ServerError(_)));
            findings.push(match refusal {
                Some(refusal) => limited(
                    "keys across slots",
                    format!(
                        "{}: takes that share a round trip are a call for each group of keys",
                        said(refusal)
                    ),
                ),
                None => met("keys across slots", "a script writes keys of two slots"),
            });
        }
        Ok(findings)
    }

    /// Listens to a channel, and publishes there.
    async fn of_messages(&self) -> Finding {
        let channel = format!("{}{}", self.keys.inboxes(), uuid::Uuid::new_v4());
        let publish = [cmd("PUBLISH").arg(&channel).arg("x").to_owned()];
        let heard = async {
            let located = self.target.locate(self.clock).await?;
            let mut listening = self.target.subscribe(&located.endpoint, &channel, self.clock).await?;
            // A node of a cluster loses messages while its link to another one is made.
            let mut answer = vec![];
            for _ in 0..MESSAGES {
                answer = self.publisher.ask(&publish, self.clock).await?;
                let message = async { futures::StreamExt::next(&mut listening.on_message()).await.is_some() };
                if self.clock.timeout(secs(1), message).await == Some(true) {
                    return Ok((answer, true));
                }
            }
            Ok::<_, crate::Error>((answer, false))
        };
        let lost = "; waiters of locks look again by a timer";
        match heard.await {
            Ok((_, true)) => met("messages", "a published message arrives"),
            Ok((answer, _)) if answer.iter().any(|answer| matches!(answer, Value::ServerError(_))) => {
                limited("messages", format!("{}{lost}", said(&answer[0])))
            }
            Ok(_) => limited("messages", format!("{MESSAGES} published messages did not arrive{lost}")),
            Err(error) => limited("messages", format!("{error}{lost}")),
        }
    }
}

fn of_clock(time: Value, before: Timestamp, after: Timestamp) -> Finding {
    let Some(time) = server_time(time) else { return missing("clock", "TIME is not answered") };
    let time = Timestamp::from_micros(i64::try_from(time).unwrap_or(i64::MAX));
    let apart = if time < before { before.since(time) } else { time.since(after) };
    let found = format!("{} ms from the clock of this machine", apart.as_millis());
    if apart.as_millis() > MAX_CLOCK_DIFFERENCE_MS.into() {
        return limited("clock", format!("{found}: windows and times of series go by the server's clock"));
    }
    met("clock", found)
}

fn call(hash: &Value, keys: &[&str], arguments: &[&str]) -> Cmd {
    let hash = text(hash.clone()).unwrap_or_else(|| "0".repeat(40));
    cmd("EVALSHA").arg(hash).arg(keys.len()).arg(keys).arg(arguments).to_owned()
}

/// The answer in words.
fn said(value: &Value) -> String {
    match value {
        Value::ServerError(error) => Refusal::of(error).text().to_owned(),
        _ => "an unexpected answer".into(),
    }
}

fn finding(need: &'static str, outcome: Outcome, found: impl Into<Box<str>>) -> Finding {
    Finding { need, outcome, found: found.into() }
}

fn met(need: &'static str, found: impl Into<Box<str>>) -> Finding {
    finding(need, Outcome::Met, found)
}

fn limited(need: &'static str, found: impl Into<Box<str>>) -> Finding {
    finding(need, Outcome::Limited, found)
}

fn missing(need: &'static str, found: impl Into<Box<str>>) -> Finding {
    finding(need, Outcome::Missing, found)
}
