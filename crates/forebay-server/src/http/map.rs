//! `/v1/map`: commands on plain keys, for programs in other languages.

use std::time::Duration;

use forebay::{
    cluster::{Answers, MAX_TTL, Map as Commands, Reply, Ticket},
    time::{millis, secs},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Json, JsonResult, Map, Problem, body::MAX_BATCH, problem::retry_word};
use crate::{
    api::map::{AnswerBody, AnswersBody, MapCommand, MapRequest, Word, to_json},
    app::Shared,
    text::quoted,
};

const MIN_DEADLINE: Duration = millis(10);
const MAX_DEADLINE: Duration = secs(10);

/// Commands whose first word is a key, and which have no other keys. So the key that a request names is the only one that it
/// can reach. Scripts and commands of the whole server are not among them, nor those that block, such as `BLPOP`, or change
/// the connection, such as `MULTI`.
const RAW: &str = "APPEND BITCOUNT BITFIELD BITFIELD_RO BITPOS DECR DECRBY EXPIRE EXPIREAT EXPIRETIME GEOADD GEODIST \
    GEOHASH GEOPOS GEOSEARCH GET GETBIT GETDEL GETEX GETRANGE GETSET HDEL HEXISTS HGET HGETALL HINCRBY HINCRBYFLOAT HKEYS \
    HLEN HMGET HMSET HRANDFIELD HSCAN HSET HSETNX HSTRLEN HVALS INCR INCRBY INCRBYFLOAT LINDEX LINSERT LLEN LPOP LPOS \
    LPUSH LPUSHX LRANGE LREM LSET LTRIM PERSIST PEXPIRE PEXPIREAT PEXPIRETIME PFADD PSETEX PTTL RPOP RPUSH RPUSHX SADD \
    SCARD SET SETBIT SETEX SETNX SETRANGE SISMEMBER SMEMBERS SMISMEMBER SPOP SRANDMEMBER SREM SSCAN STRLEN TTL TYPE XACK \
    XADD XAUTOCLAIM XCLAIM XDEL XLEN XPENDING XRANGE XREVRANGE XTRIM ZADD ZCARD ZCOUNT ZINCRBY ZLEXCOUNT ZMSCORE ZPOPMAX \
    ZPOPMIN ZRANDMEMBER ZRANGE ZRANGEBYLEX ZRANGEBYSCORE ZRANK ZREM ZREMRANGEBYLEX ZREMRANGEBYRANK ZREMRANGEBYSCORE \
    ZREVRANGE ZREVRANGEBYLEX ZREVRANGEBYSCORE ZREVRANK ZSCAN ZSCORE";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(map))
}

/// A ticket of each type of answer.
enum Kind {
    Reply(Ticket<Reply>),
    Sum(Ticket<i64>),
    Yes(Ticket<bool>),
    Nothing(Ticket<()>),
}

/// Runs commands on plain keys, each on the host of its key, all hosts at the same time.
///
/// Each command has its own answer: one that is refused, or a dead host, costs the others nothing. No command is sent twice.
/// Keys of Forebay itself, which begin with its prefix and a colon, are refused (422); then no command is sent.
#[utoipa::path(
    post, path = "/v1/map", request_body = MapRequest, security(("token" = ["map"])),
    responses(
        (status = 200, description = "The answers, in the order of the commands, also if all of them failed", body = AnswersBody),
        (status = "4XX", description = "422: a command is invalid, and none was sent"),
    ),
)]
async fn map(Map(app): Map, Json(request): Json<MapRequest>) -> JsonResult<AnswersBody> {
    let deadline = request.deadline.0;
    if !(MIN_DEADLINE..=MAX_DEADLINE).contains(&deadline) {
        let detail = format!("deadline: {}: a deadline is 10ms to 10s", request.deadline);
        return Err(Problem::field("deadline", detail));
    }
    if !(1..=MAX_BATCH).contains(&request.commands.len()) {
        let detail = format!("commands: {} of them: 1 to {MAX_BATCH} are accepted", request.commands.len());
        return Err(Problem::field("commands", detail));
    }
    for (place, command) in request.commands.iter().enumerate() {
        check(command, &app.prefix).map_err(|(field, why)| {
            let field = format!("commands[{place}].{field}");
            Problem::field(&field, format!("{field}: {why}"))
        })?;
    }
    let mut map = app.bay.cluster().map().deadline(deadline);
    let tickets: Vec<Kind> = request.commands.into_iter().map(|command| add(&mut map, command)).collect();
    let answers = map.run().await;
    let answers: Vec<AnswerBody> = tickets.iter().map(|ticket| answer(&answers, ticket)).collect();
    let failed = answers.iter().filter(|answer| answer.status != "ok").count();
    Ok(Json(AnswersBody { answers, failed }))
}

/// The field that is wrong, and why.
fn check(command: &MapCommand, prefix: &str) -> Result<(), (&'static str, String)> {
    let key = command.key();
    if key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(':')) {
        let why = format!("{}: keys that begin with {prefix}: are Forebay's own", quoted(key));
        return Err(("key", why));
    }
    match command {
        MapCommand::Expire { ttl, .. } if ttl.0 > MAX_TTL => {
            Err(("ttl", format!("{ttl}: at most {} days", MAX_TTL.as_secs() / 86_400)))
        }
        MapCommand::Raw { name, .. } if !RAW.split(' ').any(|known| name.eq_ignore_ascii_case(known)) => {
            Err(("name", format!("{}: only commands on the data of one key are accepted", quoted(name))))
        }
        _ => Ok(()),
    }
}

fn add(map: &mut Commands, command: MapCommand) -> Kind {
    match command {
        MapCommand::Get { key } => Kind::Reply(map.get(key.0)),
        MapCommand::Set { key, value } => Kind::Nothing(map.set(key.0, value.into_text())),
        MapCommand::Incr { key, by } => Kind::Sum(map.incr(key.0, by)),
        MapCommand::Del { key } => Kind::Yes(map.del(key.0)),
        MapCommand::Expire { key, ttl } => Kind::Yes(map.expire(key.0, ttl.0)),
        MapCommand::Raw { key, name, args } => {
            let words = [name, key.0.clone()].into_iter().chain(args.into_iter().map(Word::into_text));
            Kind::Reply(map.raw(key.0, words))
        }
    }
}

fn answer(answers: &Answers, ticket: &Kind) -> AnswerBody {
    let (host, value) = match *ticket {
        Kind::Reply(ticket) => (answers.host(ticket), answers.get(ticket).map(|reply| to_json(&reply))),
        Kind::Sum(ticket) => (answers.host(ticket), answers.get(ticket).map(|sum| Some(sum.into()))),
        Kind::Yes(ticket) => (answers.host(ticket), answers.get(ticket).map(|yes| Some(yes.into()))),
        Kind::Nothing(ticket) => {
            (answers.host(ticket), answers.get(ticket).map(|()| Some(serde_json::Value::Null)))
        }
    };
    let host = host.unwrap_or_default();
    match value {
        Ok(Some(value)) => AnswerBody::ok(host, value),
        Ok(None) => AnswerBody::unreadable(host),
        Err(error) => AnswerBody::failed(&error, retry_word(error.retry())),
    }
}
