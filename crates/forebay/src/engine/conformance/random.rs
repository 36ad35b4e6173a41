//! Random steps, told to two engines: both must say the same.

use std::{fmt::Write, sync::Arc};

use super::{NOON, PATIENCE, fresh, limit::samples, splitmix::Random};
use crate::{
    bay::Forebay,
    engine::{
        Engine,
        step::{BufferPart, Point, Rotate, SeriesPart, Span, Take},
    },
    key::Name,
    model::{
        Buffer, ColumnType, Command, Merge, Row, RowKey, Value, Verb,
        rate::{allotments::AllotmentRequest, rule::Rule},
        resolution::{Grid, Resolution},
    },
    time::{Timestamp, When, millis, secs},
};

/// Tells `steps` random steps to both stores, one after the other, and compares every answer.
///
/// Answers are compared as far as the contract fixes them: not the ids and birth times of generations, which
/// each engine draws for itself.
///
/// # Panics
/// At the first answer that differs, with the seed and the step.
pub async fn differential(one: &Forebay, two: &Forebay, seed: u64, steps: usize) {
    let world = World::new();
    let mut random = Random(seed);
    let mut at = NOON;
    for number in 0..steps {
        // Mostly forward, sometimes back.
        at = match random.below(10) {
            0 => at.minus(millis(random.below(3_000))),
            _ => at.plus(millis(random.below(700))),
        };
        let step = world.draw(&mut random, at);
        if step.is_apart([one.engine(), two.engine()], &world) {
            continue;
        }
        let answers = [step.tell(one.engine(), &world, at).await, step.tell(two.engine(), &world, at).await];
        assert_eq!(answers[0], answers[1], "seed {seed}, step {number} at {at}: {step:?}");
    }
}

/// The limits, the buffer and the series that the steps are about.
#[derive(Debug)]
struct World {
    limits: Vec<(Name, Rule)>,
    buffer: BufferPart,
    series: SeriesPart,
}

const KEYS: [&str; 4] = ["a", "b", "c}", "{d"];

#[derive(Debug)]
enum Step {
    /// A step on one key of a limit.
    Limit {
        act: Act,
        limit: usize,
        key: &'static str,
        cost: u64,
    },
    TakeAll(Vec<(usize, &'static str, u64)>),
    BufferAdd(Vec<Row>),
    BufferFlush {
        acknowledge: bool,
    },
    BufferPending(RowKey),
    SeriesAdd(Vec<Point>),
    SeriesRead {
        key: &'static str,
        resolution: Resolution,
        from: i64,
        to: i64,
    },
    Plain(Vec<Command>),
}

#[derive(Clone, Copy, Debug)]
enum Act {
    Take,
    UpTo,
    Refund,
    Reset,
    Allot(AllotmentRequest),
}

impl World {
    fn new() -> Self {
        let schema = Buffer::new(fresh("diff").as_str())
            .table("t")
            .key("id")
            .sum("n")
            .max("last")
            .column("low", Merge::Min, ColumnType::Integer)
            .column("word", Merge::Max, ColumnType::Text)
            .column("version", Merge::Max, ColumnType::Integer)
            .last("state", ColumnType::Text, "version")
            .last("who", ColumnType::Integer, "version")
            .column("tag", Merge::Min, ColumnType::Text)
            .first("origin", ColumnType::Text, "tag")
            .partitions(1)
            .build()
            .unwrap();
        let grid = Grid {
            name: fresh("diff"),
            resolutions: Resolution::defaults().into(),
            partitions: 1,
            is_ranked: false,
        };
        Self {
            limits: samples().into_iter().map(|rule| (fresh("limit"), rule)).collect(),
            buffer: BufferPart { schema, index: 0 },
            series: SeriesPart::new(Arc::new(grid), 0),
        }
    }

    fn take(&self, limit: usize, key: &'static str, cost: u64) -> Take<'_> {
        let (limit, rule) = &self.limits[limit];
        Take { limit, key, rule: *rule, cost, within: PATIENCE }
    }

    fn takes(&self, takes: &[(usize, &'static str, u64)]) -> Vec<Take<'_>> {
        takes.iter().map(|&(limit, key, cost)| self.take(limit, key, cost)).collect()
    }

    fn draw(&self, random: &mut Random, at: Timestamp) -> Step {
        let limit = usize::try_from(random.below(self.limits.len() as u64)).unwrap();
        let key = *random.pick(&KEYS);
        let most = self.limits[limit].1.quota().min(6);
        let step = |act, cost| Step::Limit { act, limit, key, cost };
        match random.below(16) {
            0..=3 => match random.below(most + 1) {
                cost if cost == most => step(Act::UpTo, cost + 3),
                cost => step(Act::Take, cost),
            },
            4 => {
                let limits: Vec<usize> = (0..self.limits.len()).filter(|_| random.below(2) == 0).collect();
                let take = |limit| (limit, *random.pick(&KEYS), 1 + random.below(3));
                Step::TakeAll(limits.into_iter().map(take).collect())
            }
            5 => step(Act::Refund, 1 + random.below(3)),
            6 if random.below(4) == 0 => step(Act::Reset, 1),
            14..=15 => step(Act::Allot(draw_request(random, at)), 0),
            6..=7 => Step::BufferAdd((0..=random.below(3)).map(|_| self.draw_row(random)).collect()),
            8 if random.below(3) == 0 => Step::BufferFlush { acknowledge: random.below(3) > 0 },
            8 => Step::BufferPending(RowKey::new(&self.buffer.schema, &[key.into()]).unwrap()),
            12..=13 => Step::Plain((0..=random.below(5)).map(|_| self.draw_command(random)).collect()),
            9..=10 => Step::SeriesAdd((0..=random.below(4)).map(|_| draw_point(random, at)).collect()),
            _ => {
                let resolution = *random.pick(&self.series.grid.resolutions);
                let to = resolution.bucket(at) + 2;
                let from = to - 1 - i64::try_from(random.below(400)).unwrap();
                Step::SeriesRead { key, resolution, from, to }
            }
        }
    }

    /// Texts that are nearly numbers, and numbers at their bounds.
    fn draw_command(&self, random: &mut Random) -> Command {
        let values =
            ["", "0", "-0", "+1", "01", " 1", "1.0", "9223372036854775807", "9223372036854775808", "é"];
        let numbers = [1, -1, 0, 1 << 53, i64::MAX, i64::MIN];
        let verb = match random.below(7) {
            0..=1 => Verb::Get,
            2 => Verb::Set(random.pick(&values).as_bytes().into()),
            3..=4 => Verb::Incr(*random.pick(&numbers)),
            5 => Verb::Del,
            _ => Verb::Expire(*random.pick(&[0, 3_600_000])),
        };
        let key = format!("{}:{}", self.series.grid.name, random.pick(&KEYS));
        Command { key: key.into_bytes().into(), verb }
    }

    fn draw_row(&self, random: &mut Random) -> Row {
        let numbers = [1, 2, -3, 1 << 53, (1 << 53) + 1, i64::MAX, i64::MIN, 0];
        let words = ["", "a", "aa", "B", "é", "\u{0}", "9", "10"];
        let mut cells = vec![None; self.buffer.schema.columns.len()];
        let mut set = |place: usize, random: &mut Random| {
            cells[place] = Some(match self.buffer.schema.columns[place].column_type {
                ColumnType::Text => Value::from(*random.pick(&words)),
                ColumnType::Timestamp => Timestamp::from_micros(*random.pick(&numbers)).into(),
                _ => Value::from(*random.pick(&numbers)),
            });
        };
        // Columns that are named together: a version, and those that go by it.
        let groups: [&[usize]; 6] = [&[0], &[1], &[2], &[3], &[4, 5, 6], &[7, 8]];
        let mut named: Vec<&[usize]> = groups.into_iter().filter(|_| random.below(3) > 0).collect();
        if named.is_empty() {
            named.push(groups[0]);
        }
        named.concat().into_iter().for_each(|place| set(place, random));
        let key = RowKey::new(&self.buffer.schema, &[(*random.pick(&KEYS)).into()]).unwrap();
        Row { key, cells: cells.into() }
    }
}

/// Of three processes, of which one at times sends an earlier request late.
fn draw_request(random: &mut Random, at: Timestamp) -> AllotmentRequest {
    AllotmentRequest {
        holder: u128::from(random.below(3)) << 64 | 7,
        sequence: at.as_micros().unsigned_abs() - random.below(300_000),
        kept: random.below(5),
        back: random.below(3),
        want: random.below(20),
        span: 500_000 + random.below(3),
    }
}

fn draw_point(random: &mut Random, at: Timestamp) -> Point {
    let ago = match random.below(4) {
        0 => random.below(100 * 86_400),
        1 => random.below(86_400),
        _ => random.below(60),
    };
    let n = if random.below(20) == 0 { 1 << 31 } else { 1 + random.below(9) };
    Point { key: (*random.pick(&KEYS)).into(), at: at.minus(secs(ago)), n }
}

impl Step {
    /// Whether one of the engines cannot do it as one step, so that their answers may differ.
    fn is_apart(&self, engines: [&Engine; 2], world: &World) -> bool {
        let Self::TakeAll(takes) = self else { return false };
        let takes = world.takes(takes);
        takes.is_empty() || engines.iter().any(|engine| !engine.together(&takes))
    }

    /// Does the step; what must be the same everywhere, as text.
    async fn tell(&self, engine: &Engine, world: &World, at: Timestamp) -> String {
        let when = When::At(at);
        match self {
            &Self::Limit { act, limit, key, cost } => {
                let take = world.take(limit, key, cost);
                match act {
                    Act::Take => format!("{:?}", engine.take(take, when).await.unwrap()),
                    Act::UpTo => format!("{:?}", engine.take_up_to(take, when).await.unwrap()),
                    Act::Refund => format!("{:?}", engine.refund(take, None, when).await.unwrap()),
                    Act::Reset => format!("{:?}", engine.reset(take, when).await.unwrap()),
                    Act::Allot(request) => format!("{:?}", engine.allot(take, request, when).await.unwrap()),
                }
            }
            Self::TakeAll(takes) => {
                format!("{:?}", engine.take_all(&world.takes(takes), when).await.unwrap())
            }
            Self::BufferAdd(rows) => {
                let answers = engine.buffer_add(&world.buffer, rows.clone()).await.unwrap();
                format!("{:?}", answers.iter().map(Result::is_ok).collect::<Vec<_>>())
            }
            Self::BufferFlush { acknowledge } => flush(engine, &world.buffer, *acknowledge).await,
            Self::BufferPending(key) => {
                let pending = engine.buffer_pending(&world.buffer, key).await.unwrap();
                let stats = engine.buffer_stats(&world.buffer).await.unwrap();
                let rows: Vec<_> = pending.into_iter().map(|pending| pending.row).collect();
                format!("{rows:?} {} {} {}", stats.live_rows, stats.frozen_rows, stats.frozen)
            }
            Self::SeriesAdd(points) => {
                engine.series_add(&world.series, points.clone(), at).await.unwrap();
                String::new()
            }
            Self::Plain(commands) => plain(engine, commands).await,
            &Self::SeriesRead { key, resolution, from, to } => {
                let span = Span { key, resolution, from, to };
                format!("{:?}", engine.series_read(&world.series, &[span]).await.unwrap())
            }
        }
    }
}

/// Each command on its host; of a refusal only that it is one, since each engine has words of its own.
async fn plain(engine: &Engine, commands: &[Command]) -> String {
    let mut answers = String::new();
    for command in commands {
        let mut answer = engine.kv(&engine.host_name_of(&command.key), &[command], secs(60)).await;
        let answer = answer.remove(0).map_err(|(fate, error)| (fate, error.retry()));
        write!(answers, "{answer:?} ").unwrap();
    }
    answers
}

/// Freezes, reads everything that is frozen, and perhaps lets the oldest go.
async fn flush(engine: &Engine, part: &BufferPart, acknowledge: bool) -> String {
    let rotated = engine.buffer_rotate(part, Rotate::Now, 4).await.unwrap().is_some();
    let mut answer = format!("{rotated}");
    let frozen = engine.buffer_frozen(part).await.unwrap();
    let mut last_writes = vec![];
    for generation in &frozen {
        let read = engine.buffer_read(part, generation.id).await.unwrap().unwrap();
        last_writes.push(read.last_write);
        let mut rows = read.rows;
        rows.sort_by(|a, b| a.key.cmp(&b.key));
        write!(answer, " {} {rows:?}", generation.rows).unwrap();
    }
    if let Some(oldest) = frozen.first().filter(|_| acknowledge) {
        engine.buffer_ack(part, oldest.id, last_writes[0]).await.unwrap();
    }
    answer
}
