use forebay_testkit::{Redis as Server, Reply, eventually};
use futures::future::join_all;

use crate::{
    Clock, ErrorKind, Name, Retry, When,
    engine::{
        redis::{Redis, dial::NAMES},
        step::Take,
    },
    model::rate::rule::Rule,
    time::{millis, mins, secs},
};

fn rule() -> Rule {
    Rule::fixed_window(1_000, mins(60 * 24 * 365), secs(0)).expect("valid")
}

async fn take(redis: &Redis, key: &str) -> crate::Result<u64> {
    let limit = Name::new("hits").expect("valid");
    let take = Take { limit: &limit, key, rule: rule(), cost: 1, within: mins(1) };
    redis.take(take, When::EngineClock).await.map(|taken| taken.state.1)
}

async fn open(server: &Server) -> std::sync::Arc<Redis> {
    Redis::open(&server.url(), "forebay", Clock::system()).await.expect("it runs")
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_loaded_again_and_run_once() {
    let server = Server::start();
    let redis = open(&server).await;
    for round in 1..=3 {
        server.command(["SCRIPT", "FLUSH"]);
        // One alone, the others in a pipeline; which comes first is open.
        let used = join_all((0..5).map(|_| take(&redis, "k"))).await;
        let mut used: Vec<u64> = used.into_iter().map(|used| used.expect("answers")).collect();
        used.sort_unstable();
        assert_eq!(used, (5 * round - 4..=5 * round).collect::<Vec<u64>>());
    }
}

#[tokio::test]
async fn a_host_that_comes_back_is_found_again() {
    let server = Server::builder().append_only().start();
    let redis = open(&server).await;
    assert_eq!(take(&redis, "k").await.expect("answers"), 1);
    server.kill();
    eventually("the loss to be noticed", async || {
        take(&redis, "k").await.is_err_and(|error| error.kind() == ErrorKind::Unavailable)
    })
    .await;
    let error = take(&redis, "k").await.expect_err("it is down");
    assert_eq!(error.retry(), Retry::Later);
    server.restart();
    eventually("the host to be found again", async || take(&redis, "k").await.is_ok()).await;
}

#[tokio::test]
async fn a_name_that_has_another_address_by_now_is_resolved_anew() {
    let servers = [Server::start(), Server::start()];
    let lead_to = |server: &Server| {
        let address = ([127, 0, 0, 1], server.port()).into();
        NAMES.lock().insert("moving.test".into(), address);
    };
    lead_to(&servers[0]);
    let redis =
        Redis::open("redis://moving.test", "forebay", Clock::system()).await.expect("the first is there");
    assert_eq!(take(&redis, "k").await.expect("answers"), 1);
    lead_to(&servers[1]);
    assert_eq!(take(&redis, "k").await.expect("answers"), 2, "a connection that stands stays");
    servers[0].kill();
    eventually("the second to be found", async || take(&redis, "k").await.is_ok()).await;
    assert!(matches!(servers[1].command(["DBSIZE"]), Reply::Integer(1..)));
}

#[tokio::test]
async fn a_host_that_does_not_answer_is_given_up_and_nobody_knows_what_it_did() {
    let server = Server::start();
    let redis = open(&server).await;
    server.pause();
    let answers = join_all((0..3).map(|_| take(&redis, "k"))).await;
    server.resume();
    for answer in answers {
        let error = answer.expect_err("no answer");
        assert!(matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Ambiguous), "{error:?}");
        assert_eq!(error.retry(), Retry::Unknown);
    }
    eventually("the host to be found again", async || take(&redis, "k").await.is_ok()).await;
}

/// One is alone, two are under way in a batch, the others wait behind them.
#[tokio::test]
async fn whoever_waits_is_answered_at_the_deadline_and_what_was_not_sent_never_is() {
    let server = Server::start();
    let redis = open(&server).await;
    take(&redis, "k").await.expect("answers");
    server.pause();
    let limit = Name::new("hits").expect("valid");
    let one = |within| {
        let take = Take { limit: &limit, key: "k", rule: rule(), cost: 1, within };
        Box::pin(redis.take(take, When::EngineClock))
    };
    let [mut alone, mut sent, mut patient] = [one(mins(1)), one(millis(60)), one(mins(1))];
    for take in [&mut alone, &mut sent, &mut patient] {
        assert!(futures::poll!(take).is_pending());
    }
    // Lets the lane take its batch, for which it waits a few turns.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let [mut waits, mut waits_too, mut patient_too] = [one(millis(20)), one(millis(40)), one(mins(1))];
    for take in [&mut waits, &mut waits_too, &mut patient_too] {
        assert!(futures::poll!(take).is_pending());
    }
    let expire = async {
        let expired = join_all([sent, waits, waits_too]).await;
        server.resume();
        expired
    };
    let (expired, answered) = tokio::join!(expire, join_all([alone, patient, patient_too]));
    let told = expired.into_iter().map(|answer| answer.expect_err("its time is over").retry());
    assert_eq!(told.collect::<Vec<_>>(), [Retry::Unknown, Retry::Later, Retry::Later]);
    for answer in answered {
        answer.expect("in time");
    }
    // One before, three that were sent, and the one that waited long enough.
    assert_eq!(take(&redis, "k").await.expect("answers"), 6);
}

#[tokio::test]
async fn a_lone_call_is_answered_at_its_deadline() {
    let server = Server::start();
    let redis = open(&server).await;
    server.pause();
    let limit = Name::new("hits").expect("valid");
    let take = Take { limit: &limit, key: "k", rule: rule(), cost: 1, within: millis(20) };
    let error = redis.take(take, When::EngineClock).await.expect_err("no answer");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Timeout, Retry::Unknown));
    server.resume();
}

#[tokio::test]
async fn a_server_that_refuses_resp3_is_spoken_to_in_resp2() {
    let server = Server::builder().option("rename-command", "HELLO \"\"").start();
    let redis = open(&server).await;
    assert_eq!(take(&redis, "k").await.expect("answers"), 1);
    redis.ping().await.expect("answers");
}

#[tokio::test]
async fn a_replica_is_no_store() {
    let primary = Server::start();
    let replica = Server::builder().replica_of(&primary).start();
    let refused = Redis::open(&replica.url(), "forebay", Clock::system()).await;
    let error = refused.expect_err("a replica");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("replica"), "{error}");
}

#[tokio::test]
async fn a_primary_that_becomes_a_replica_is_left() {
    let (server, other) = (Server::start(), Server::start());
    let redis = open(&server).await;
    take(&redis, "k").await.expect("answers");
    server.command(["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
    let error = take(&redis, "k").await.expect_err("read only");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
    server.command(["REPLICAOF", "NO", "ONE"]);
    eventually("the host to be a primary again", async || take(&redis, "k").await.is_ok()).await;
}

#[tokio::test]
async fn a_wrong_password_is_named_and_never_shown() {
    let server = Server::builder().password("sesame").start();
    Redis::open(&server.url(), "forebay", Clock::system()).await.expect("the right one");
    let wrong = server.url().replace("sesame", "open-up");
    let error = Redis::open(&wrong, "forebay", Clock::system()).await.expect_err("the wrong one");
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert!(!format!("{error:?}").contains("open-up"), "{error:?}");
}

/// A server or a proxy may end a login and let the connection stand, as `RESET` does.
#[tokio::test]
async fn a_connection_that_is_not_logged_in_any_more_is_replaced_with_the_password_as_it_is_now() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("password");
    let server = Server::start();
    server.command(["ACL", "SETUSER", "app", "on", ">first", "~*", "&*", "+@all"]);
    std::fs::write(&file, "first").expect("written");
    let url = format!("redis://app@127.0.0.1:{}/0?password-file={}", server.port(), file.display());
    let redis = Redis::open(&url, "forebay", Clock::system()).await.expect("the right one");
    take(&redis, "k").await.expect("answers");
    server.command(["ACL", "SETUSER", "app", "<first", ">second"]);
    std::fs::write(&file, "second").expect("written");
    // From here on a connection without a login has no rights.
    server.command(["CONFIG", "SET", "requirepass", "another"]);
    let answer = redis.host.command(&redis::cmd("RESET")).await;
    assert!(answer.is_ok(), "{answer:?}");
    let error = take(&redis, "k").await.expect_err("not logged in");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later), "{error}");
    assert!(error.to_string().contains("NOAUTH"), "{error}");
    eventually("the new password to be used", async || take(&redis, "k").await.is_ok()).await;
}

#[tokio::test]
async fn a_policy_that_evicts_is_warned_of() {
    let server = Server::builder().option("maxmemory-policy", "allkeys-lru").start();
    let redis = open(&server).await;
    assert!(redis.warnings()[0].contains("allkeys-lru"));
    assert_eq!(open(Server::shared()).await.warnings(), Vec::<String>::new());
}

#[tokio::test]
async fn a_closed_store_says_so() {
    let redis = open(Server::shared()).await;
    redis.close().await.expect("closes");
    assert_eq!(take(&redis, "k").await.expect_err("closed").kind(), ErrorKind::Closed);
}

/// Else every caller of a host that hangs would wait for its deadline, one by one.
#[tokio::test]
async fn a_host_that_hangs_is_soon_not_asked_any_more_and_tried_again_by_one() {
    let server = Server::start();
    let redis = open(&server).await;
    take(&redis, "k").await.expect("answers");
    let limit = Name::new("hits").expect("valid");
    let hasty = async || {
        let take = Take { limit: &limit, key: "k", rule: rule(), cost: 1, within: millis(20) };
        redis.take(take, When::EngineClock).await.map(|taken| taken.state.1)
    };
    server.pause();
    for _ in 0..5 {
        assert_eq!(hasty().await.expect_err("no answer").kind(), ErrorKind::Timeout);
    }
    let error = hasty().await.expect_err("not asked");
    assert_eq!((error.kind(), error.retry()), (ErrorKind::Unavailable, Retry::Later));
    let both = redis.take_all(&[], When::EngineClock).await;
    assert!(both.is_ok(), "nothing to ask");
    server.resume();
    eventually("one to try and the others to follow", async || take(&redis, "k").await.is_ok()).await;
    take(&redis, "k").await.expect("closed again");
}
