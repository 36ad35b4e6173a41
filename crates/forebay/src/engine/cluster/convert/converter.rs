//! A conversion, step by step.

use std::collections::BTreeMap;

use futures::future::try_join_all;
use parking_lot::Mutex;

use super::{
    super::{Address, RouterKind, Slot, claim::Claim, placement::CONVERTING},
    copy::{Copier, Progress, Told},
    counts,
    database::{Key, refused},
    registers,
    source::{Source, Survey, each_key},
    state::State,
    target::{Destination, Target},
};
use crate::{
    clock::Clock,
    engine::redis::Activity,
    error::{Error, ErrorKind, Result},
    model::{Converted, KeysOfKind},
};

/// How a conversion goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Settings {
    /// Whether nothing is written.
    pub dry_run: bool,
    /// Whether it goes on if somebody writes to the source, and if keys are where its router does not look.
    pub force: bool,
    /// Whether another process that seems to be at work is displaced.
    pub take_over: bool,
}

/// Copies keys.
pub(crate) struct Converter<'a> {
    clock: Clock,
    source: Source,
    target: Target,
    settings: Settings,
    told: Told<'a>,
}

/// The findings before anything is written.
#[derive(Debug, Default)]
struct Look {
    survey: Survey,
    plan: Converted,
    /// How much was written to each host of the source; `None`: that does not count.
    before: Option<Vec<Activity>>,
    /// Whether each host that gets a note has no keys of others.
    empty: Vec<bool>,
}

impl<'a> Converter<'a> {
    /// Connects to all hosts of the source and of the target.
    ///
    /// # Errors
    /// If a host does not answer.
    pub(crate) async fn open(
        (kind, addresses): (RouterKind, &[Address]),
        to: &Destination,
        (prefix, clock): (&str, &Clock),
        settings: Settings,
        told: Told<'a>,
    ) -> Result<Self> {
        let source = Source::open(kind, addresses, (prefix, clock)).await?;
        let target = Target::open(to, |database| source.number_of(database), (prefix, clock)).await?;
        Ok(Self { clock: clock.clone(), source, target, settings, told })
    }

    /// Copies all keys, and lets the target take the place of the source.
    ///
    /// # Errors
    /// If something speaks against it, and nothing was written; if a host does not answer, or another process has taken over. It may
    /// be repeated.
    pub(crate) async fn run(mut self) -> Result<Converted> {
        let state = self.begin_state().await?;
        let look = if state == State::Placed { Look::default() } else { self.look(state).await? };
        if self.settings.dry_run {
            return Ok(look.plan);
        }
        let claim =
            Claim::take(vec![self.target.arbiter().engine.clone()], &self.clock, self.settings.take_over)
                .await?;
        let outcome = self.convert(&claim, state, look).await;
        claim.release().await;
        outcome
    }

    async fn convert(&mut self, claim: &Claim, state: State, look: Look) -> Result<Converted> {
        if self.target.state(&self.head()).await? != state {
            let text = "another process has copied keys to the target meanwhile: repeat";
            return Err(Error::new(ErrorKind::Unavailable, text));
        }
        let Look { survey, plan, before, empty } = look;
        if state == State::Placed {
            self.target.begin(claim).await?;
            self.finish(claim).await?;
            return Ok(plan);
        }
        self.begin(claim, state, (&empty, &survey)).await?;
        crate::failpoint!("convert_noted");
        let progress = Mutex::new(Progress::new(plan, &mut *self.told));
        let copier = Copier { source: &self.source, target: &self.target, claim, progress: &progress };
        copier.copy().await?;
        registers::merge(&self.source, &self.target, survey.paused.iter()).await?;
        let Progress { mut converted, expiring, .. } = progress.into_inner();
        let sides = (&self.source, &self.target);
        converted.kinds = counts::compare(sides, claim, &expiring, self.settings.force).await?;
        self.check_source(before.as_deref()).await?;
        claim.check()?;
        crate::failpoint!("convert_compared");
        self.finish(claim).await?;
        Ok(converted)
    }

    /// How far an earlier attempt has come. The placement of the source is known then.
    async fn begin_state(&mut self) -> Result<State> {
        let state = self.target.state(&self.head()).await?;
        if state == State::Placed {
            return Ok(state);
        }
        let has_table = self.source.agree().await?;
        if let Some(peer) = self.target.peers.iter().find(|peer| has_table && peer.same.is_some()) {
            return Err(refused(format!(
                "host {:?} of the target has slots of the source: forebay cluster reshard lets hosts join and leave",
                peer.name
            )));
        }
        Ok(state)
    }

    /// Looks at the source and at the target, and whether something speaks against a conversion.
    async fn look(&self, state: State) -> Result<Look> {
        let empty = self.target.check_empty().await?;
        let before = if self.settings.force { None } else { Some(self.source.still(&self.clock).await?) };
        let survey = self.source.survey(&self.target, state, empty.contains(&false)).await?;
        survey.check(self.settings.force)?;
        let kind = |(kind, count): (&&'static str, &u64)| KeysOfKind {
            kind: (*kind).into(),
            source: *count,
            target: 0,
        };
        let kinds = survey.kinds.iter().map(kind).collect();
        let plan = Converted { keys_to_copy: survey.moves, kinds, ..Converted::default() };
        Ok(Look { survey, plan, before, empty })
    }

    /// Notes on the target that keys are copied there, and removes what an earlier attempt has copied.
    async fn begin(&self, claim: &Claim, state: State, (empty, survey): (&[bool], &Survey)) -> Result<()> {
        self.target.begin(claim).await?;
        for (peer, is_empty) in self.target.noting().into_iter().zip(empty) {
            if peer.engine.conversion().await?.is_none() {
                let is_alone = match peer.same {
                    None => *is_empty,
                    Some(_) => state == State::New && survey.misplaced == 0,
                };
                let data = if is_alone { "alone" } else { "shared" };
                let is_closed = self.target.placement().is_some() && peer.same.is_none();
                let note = format!("{}data {data}\n", self.head());
                peer.engine.begin_conversion(&note, is_closed).await?;
            }
        }
        if state == State::Begun {
            self.remove_copies(claim).await?;
        }
        Ok(())
    }

    /// Removes what an earlier attempt has copied. Plain keys on hosts that are none of the source stay: their names do not tell who
    /// wrote them. Those that are still there are copied again.
    async fn remove_copies(&self, claim: &Claim) -> Result<()> {
        let engine = &self.source.hosts[0].engine;
        for peer in &self.target.peers {
            let mut copies: BTreeMap<Option<_>, Vec<Key>> = BTreeMap::new();
            let is_node = self.target.placement().is_none();
            // With `force` plain keys may have been there before.
            let is_alone = peer.same.is_some() && peer.is_alone().await?;
            each_key(&peer.engine, claim, |key| {
                let is_copy = match peer.same {
                    None => peer.engine.is_of_store(&key),
                    Some(number) => {
                        let is_elsewhere = self.source.home(&key).is_some_and(|home| home != number);
                        is_elsewhere && (is_alone || engine.is_of_store(&key))
                    }
                };
                if is_copy {
                    let slot = is_node.then(|| Slot::of_key(&key));
                    copies.entry(slot).or_default().push(key);
                }
            })
            .await?;
            for (slot, keys) in copies {
                peer.engine.remove_in(slot, claim.mark(), &keys).await?;
            }
        }
        Ok(())
    }

    /// Looks once more whether somebody has written to the source.
    async fn check_source(&self, before: Option<&[Activity]>) -> Result<()> {
        let Some(before) = before else { return Ok(()) };
        let now = self.source.still(&self.clock).await?;
        let is_apart = |number| self.target.peers.iter().all(|peer| peer.same != Some(number));
        for (number, (before, now)) in before.iter().zip(now).enumerate() {
            if is_apart(number) && now.wrote_since(before) {
                return Err(refused(format!(
                    "host {:?}: somebody wrote there while keys were copied: stop all servers and programs that use the source, \
                     and repeat",
                    self.source.hosts[number].host.name()
                )));
            }
        }
        Ok(())
    }

    /// Lets the target take the place of the source. It may be repeated.
    async fn finish(&self, claim: &Claim) -> Result<()> {
        if let Some(placement) = self.target.placement() {
            // If it ends here, a repetition goes on with the next host.
            for peer in &self.target.peers {
                peer.engine.place(placement, None).await?;
                peer.engine.rename(&peer.name).await?;
                crate::failpoint!("convert_placed");
            }
            for (number, peer) in self.target.peers.iter().enumerate() {
                let Some(former) = peer.same else { continue };
                let mut moved = vec![];
                each_key(&peer.engine, claim, |key| {
                    let goes =
                        self.target.place(&peer.engine, &key).is_some_and(|place| place.peer != number);
                    if goes && self.source.home(&key) == Some(former) {
                        moved.push(key);
                    }
                })
                .await?;
                peer.engine.purge_placed(placement.text(), &moved).await?;
                crate::failpoint!("convert_purged");
            }
        }
        self.target.end().await?;
        try_join_all(self.target.noting().iter().map(|peer| peer.engine.end_conversion())).await.map(drop)
    }

    /// The note of this conversion, but for what the host had.
    fn head(&self) -> String {
        let names: Vec<&str> = self.source.hosts.iter().map(|host| host.host.name()).collect();
        format!("{CONVERTING}\nsource {} {}\n", self.source.kind, names.join(" "))
    }
}
