//! The points of a series whose host is down: other hosts take them, and hand them over when it is back.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Duration,
};

use futures::future::join_all;

use super::{
    Access, Cluster, PATIENCE, Patience,
    known_points::{Look, StandIn},
    member::Member,
    table::Phase,
    topology::Topology,
};
use crate::{
    clock::Clock,
    engine::{
        elsewhere::{on_other_hosts, was_not_sent},
        grids::Grids,
        redis::{Holding, Next},
        step::{Place, Point, SeriesPart},
    },
    error::{Error, Result},
    model::{Health, resolution::Grid},
    time::{Timestamp, millis, secs},
};

/// The numbers of stand-ins that are tried to find as many hosts. That all of 16 are on the host of the partition itself has a
/// probability of 2^-16 where there are two hosts.
const MAX_STAND_INS: u8 = 16;

/// Between two looks while nothing waits, as far as is known.
const CALM_INTERVAL: Duration = secs(5);

/// Between two looks while points wait, or a host is not up.
const ALERT_INTERVAL: Duration = millis(500);

/// Generations that are handed over between two looks.
const MAX_GENERATIONS: usize = 200;

impl Cluster {
    /// Adds points on the host of their partition; if that host is down, or certainly did not take them, to a stand-in.
    pub(in crate::engine) async fn series_add(
        &self,
        part: &SeriesPart,
        points: Vec<Point>,
        now: Timestamp,
    ) -> Result<()> {
        match self.add_at_home(part, &points, now).await {
            // Boxed: it is rare.
            Err(error) if was_not_sent(&error) => {
                Box::pin(self.add_to_stand_in(part, &points, now, error)).await
            }
            answer => answer,
        }
    }

    /// Adds points on the host of their partition.
    async fn add_at_home(&self, part: &SeriesPart, points: &[Point], now: Timestamp) -> Result<()> {
        let (place, mut patience) = (Place::Series(part), Patience::of(PATIENCE));
        loop {
            let member = match self.ready_member(Access::Write, place) {
                Some(member) => member,
                None => Box::pin(self.wait_for_member(Access::Write, place, &mut patience)).await?,
            };
            let mut guard = member.begin()?;
            match guard.end(member.engine.series_add_points(part, points, now).await) {
                Err(error) if Self::has_moved(&member, &error) => {
                    Box::pin(self.find_again(&member, error, &mut patience)).await?;
                }
                answer => return answer,
            }
        }
    }

    /// Adds points to the first stand-in that takes them. `error`: why the host of their partition does not.
    async fn add_to_stand_in(
        &self,
        part: &SeriesPart,
        points: &[Point],
        now: Timestamp,
        error: Error,
    ) -> Result<()> {
        let topology = self.topology();
        for (stand_in, member) in alternatives(&topology, part) {
            let Ok(mut guard) = member.begin() else { continue };
            // Before it is there: a reader must not find the host back, and nothing that waits.
            self.known_points.note_written(&stand_in);
            match guard.end(member.engine.stand_in_add(&stand_in, points, now).await) {
                Err(error) if was_not_sent(&error) => self.note_refusal(member, &error).await,
                answer => {
                    // A look may have found nothing before it was there.
                    self.known_points.note_written(&stand_in);
                    return answer;
                }
            }
        }
        Err(error)
    }

    /// The time that decides what is kept: of the host that takes the points.
    pub(crate) async fn series_now(&self, part: &SeriesPart) -> Timestamp {
        let member = self.member(Place::Series(part));
        if member.is_asked() {
            return member.engine.series_now(part).await;
        }
        let topology = self.topology();
        match alternatives(&topology, part).into_iter().find(|(_, member)| member.is_asked()) {
            Some((stand_in, member)) => member.engine.series_now(&stand_in).await,
            None => member.engine.series_now(part).await,
        }
    }

    /// The series of this process.
    pub(crate) fn series_grids(&self) -> &Grids {
        &self.known_points.grids
    }

    /// Whether this process knows of open buckets of a partition.
    pub(crate) fn series_is_open(&self, part: &SeriesPart) -> bool {
        self.member(Place::Series(part)).engine.series_is_open(part)
    }

    /// Whether points of a partition may wait in a stand-in, as far as this process knows. The first question waits for the first
    /// look: before it nothing is known.
    pub(crate) async fn series_may_wait(&self, part: &SeriesPart) -> bool {
        if !self.known_points.first_look.initialized() {
            Box::pin(self.known_points.first_look.get_or_init(|| self.look())).await;
        }
        let member = self.member(Place::Series(part));
        self.known_points.may_wait(part, member.host.name(), member.downs())
    }

    /// Looks at the stand-ins of all hosts.
    async fn look(&self) {
        let mut look = self.known_points.begin_look();
        let topology = self.topology();
        self.read_registers(&topology, &mut look).await;
        self.look_into(&topology, &mut look).await;
        self.register_again(&topology, &look).await;
        let hosts: Vec<Box<str>> =
            topology.members().iter().map(|member| member.host.name().into()).collect();
        self.known_points.end_look(look, &hosts);
    }

    /// Looks at the stand-ins of all hosts, and hands over what they have for hosts that are back. Answers whether to go on at
    /// once.
    async fn tend_stand_ins(&self, clock: &Clock) -> bool {
        self.look().await;
        let topology = self.topology();
        let holding = self.known_points.holding();
        let handed =
            join_all(holding.iter().map(|stand_in| self.hand_over(&topology, stand_in, clock))).await;
        handed.into_iter().any(|handed| handed)
    }

    /// Whether all hosts are up and no points wait, as far as this process knows, so that there is no hurry to look.
    fn is_calm(&self) -> bool {
        let points = &self.known_points;
        let is_settled = |member: &Arc<Member>| {
            member.health().0 == Health::Up && points.is_settled(member.host.name(), member.downs())
        };
        points.is_needed() && !points.is_urgent() && self.topology().members().iter().all(is_settled)
    }

    /// Asks all hosts which stand-ins they have registered.
    async fn read_registers(&self, topology: &Topology, look: &mut Look) {
        let ask = async |(number, member): (usize, &Arc<Member>)| {
            let registers = topology.registers(number);
            let downs = member.downs();
            let answer = member.begin()?.end(member.engine.registered_stand_ins(&registers).await)?;
            let tags = answer.into_iter().map(|(name, index, number)| ((name, index), number));
            Ok::<_, Error>((Box::<str>::from(member.host.name()), downs, tags.collect::<Vec<StandIn>>()))
        };
        for answer in join_all(topology.members().iter().enumerate().map(ask)).await {
            match answer {
                Ok((host, downs, tags)) => {
                    look.downs.insert(host.clone(), downs);
                    look.registers.insert(host, tags);
                }
                Err(_) => look.is_complete = false,
            }
        }
    }

    /// Asks where each stand-in lies now what it has: it may have moved since it was registered.
    async fn look_into(&self, topology: &Topology, look: &mut Look) {
        let mut by_host: HashMap<usize, Vec<(StandIn, SeriesPart)>> = HashMap::new();
        for stand_in in self.known_points.to_look_at(look) {
            let part = bare(&stand_in);
            by_host.entry(topology.number(Place::Series(&part))).or_default().push((stand_in, part));
        }
        let ask = async |(number, stand_ins): (usize, Vec<(StandIn, SeriesPart)>)| {
            let member = &topology.members()[number];
            let parts: Vec<&SeriesPart> = stand_ins.iter().map(|(_, part)| part).collect();
            let holding = member.begin()?.end(member.engine.stand_ins_hold(&parts).await)?;
            let stand_ins = stand_ins.into_iter().map(|(stand_in, _)| stand_in);
            Ok::<_, Error>(stand_ins.zip(holding).collect::<Vec<_>>())
        };
        for answer in join_all(by_host.into_iter().map(ask)).await {
            match answer {
                Ok(found) => look.found.extend(found),
                Err(_) => look.is_complete = false,
            }
        }
    }

    /// Registers stand-ins that have something and are in no register, since their host has forgotten it: other processes would not
    /// find them. If it fails, the next look does it.
    async fn register_again(&self, topology: &Topology, look: &Look) {
        let is_registered = |stand_in| look.registers.values().flatten().any(|known| known == stand_in);
        for (stand_in, holding) in &look.found {
            if *holding == Holding::Nothing || is_registered(stand_in) {
                continue;
            }
            let part = bare(stand_in);
            let member = topology.member(Place::Series(&part));
            if let Ok(mut guard) = member.begin() {
                let _ = guard.end(member.engine.register_stand_in(&part).await);
            }
        }
    }

    /// Hands over some generations of a stand-in, if the host of its partition is up. Answers whether there may be more.
    async fn hand_over(&self, topology: &Topology, stand_in: &StandIn, clock: &Clock) -> bool {
        let Some(part) = self.known_points.part(stand_in) else { return false };
        let home = topology.member(Place::Series(&part));
        let part_of_stand_in = part.stand_in(stand_in.1);
        if [&part, &part_of_stand_in].into_iter().any(|part| is_moving(topology, part)) {
            return false;
        }
        let source = topology.member(Place::Series(&part_of_stand_in));
        if home.health().0 != Health::Up || source.health().0 != Health::Up {
            return false;
        }
        let mut received = None;
        for _ in 0..MAX_GENERATIONS {
            let step = async {
                let next = source.engine.stand_in_next(&part_of_stand_in, self.known_points.owner, received);
                let Next::Points(handed) = source.begin()?.end(next.await)? else { return Ok(None) };
                failpoint!("stand_in_before_receive");
                let now = home.engine.series_now(&part).await;
                let outcome = home.begin()?.end(home.engine.series_receive(&part, &handed, now).await)?;
                failpoint!("stand_in_after_receive");
                Ok::<_, Error>(Some((handed.generation, outcome)))
            };
            match clock.timeout(ALERT_INTERVAL * 10, step).await {
                Some(Ok(Some(outcome))) => received = Some(outcome),
                Some(Ok(None)) => return received.is_some(),
                Some(Err(error)) => {
                    for member in [home, source] {
                        self.note_refusal(member, &error).await;
                    }
                    self.known_points.note_trouble(&part, error.to_string());
                    return false;
                }
                None => return false,
            }
        }
        true
    }
}

/// Looks at the stand-ins of a store again and again, until it is dropped or closed.
pub(crate) async fn tend_stand_ins(cluster: Weak<Cluster>, clock: Clock) {
    let open = || cluster.upgrade().filter(|cluster| !cluster.is_closed());
    loop {
        let goes_on = match open() {
            Some(cluster) if cluster.known_points.is_needed() => cluster.tend_stand_ins(&clock).await,
            Some(_) => false,
            None => return,
        };
        let mut pause = if goes_on { Duration::ZERO } else { CALM_INTERVAL };
        // In steps, so that trouble is noticed soon.
        while !pause.is_zero() {
            clock.sleep(ALERT_INTERVAL).await;
            let Some(cluster) = open() else { return };
            pause = if cluster.is_calm() { pause.saturating_sub(ALERT_INTERVAL) } else { Duration::ZERO };
        }
    }
}

/// Whether nothing is written to a partition, because it is about to be on another host.
fn is_moving(topology: &Topology, part: &SeriesPart) -> bool {
    topology.phase(Place::Series(part)) == Some(Phase::Moving)
}

/// The stand-ins of a partition, each on another host, in their order. First those whose register is on the same host: another
/// one with the register may be down, too.
fn alternatives<'a>(topology: &'a Topology, part: &SeriesPart) -> Vec<(SeriesPart, &'a Arc<Member>)> {
    let host = |part: &SeriesPart| topology.number(Place::Series(part));
    let stand_ins = (1..=MAX_STAND_INS).map(|number| part.stand_in(number));
    let mut stand_ins: Vec<SeriesPart> =
        stand_ins.filter(|stand_in| !is_moving(topology, stand_in)).collect();
    stand_ins.sort_by_key(|stand_in| !topology.has_register(Place::Series(stand_in)));
    let found = on_other_hosts(host(part), stand_ins, host);
    found.into_iter().map(|(stand_in, host)| (stand_in, &topology.members()[host])).collect()
}

/// A stand-in without the definition of its series.
fn bare(((name, index), number): &StandIn) -> SeriesPart {
    let grid = Grid { name: name.clone(), resolutions: Box::new([]), partitions: 1, is_ranked: false };
    SeriesPart::new(Arc::new(grid), *index).stand_in(*number)
}
