//! `forebay cluster`.

use std::os::unix::process::ExitStatusExt as _;

use forebay::cluster::{Hosts, RouterKind};
use forebay_testkit::{Redis, Reply, unique_prefix, wait_until, without};
use serde_json::{Value, json};

use super::process::{PROGRAM, Process, command, run};

#[test]
fn a_server_lists_its_hosts_and_the_hosts_of_a_key() {
    let dir = tempfile::tempdir().expect("a directory");
    let process = Process::start(dir.path(), &["serve", "--store", "memory:", "--listen", "127.0.0.1:0"]);
    let url = process.line_after("  URL       ");
    let said = |args: &[&str]| {
        let output = run(dir.path(), &[args, &["--server", &url]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let shown = said(&["cluster", "show"]);
    let words: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(words.len(), 2, "{shown}");
    assert_eq!(&words[0][..5], ["HOST", "HEALTH", "SINCE", "FOR", "SLOTS"]);
    assert_eq!(words[1], ["embedded", "up", "-", "-", "-", "-", "-", "-", "-", "-"]);
    let route = said(&["cluster", "route", "a b&c=d/é%"]);
    let kinds: Vec<&str> =
        route.lines().filter_map(|line| line.split_once("  ")).map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["limits", "lock", "plain key", "series hits", "buffer projects"]);
    assert!(route.lines().all(|line| line.contains("  host embedded")), "{route}");
    let json: Value = serde_json::from_str(&said(&["cluster", "route", "42", "--json"])).expect("JSON");
    let plain = json!({ "slot": null, "host": "embedded" });
    assert_eq!((&json["host"], &json["limit"], &json["map"]), (&plain["host"], &plain, &plain));
}

#[test]
fn several_hosts_are_shown_from_their_url() {
    if without("redis") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let config = format!("prefix = {:?}\nstore = \"memory:\"\n", unique_prefix());
    std::fs::write(dir.path().join("forebay.toml"), config).expect("a file");
    let port = Redis::shared().port();
    let store = format!("redis://127.0.0.1:{port}/1,127.0.0.1:{port}/2");
    let said = |args: &[&str]| {
        let output = run(dir.path(), &[args, &["--store", &store]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let shown = said(&["cluster", "show"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!((lines.len(), lines[0]), (4, "router slots, epoch 1"), "{shown}");
    for (db, line) in (1..).zip(&lines[2..]) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words[..2], [&*format!("redis://127.0.0.1:{port}/{db}"), "up"], "{shown}");
        assert!(words[2].ends_with('Z') && words[4] == "8192" && words[8].ends_with("MiB"), "{shown}");
    }
    let route = said(&["cluster", "route", "foo"]);
    let here = format!("slot 12182 on host redis://127.0.0.1:{port}/");
    for (line, kind) in route.lines().zip(["limits", "lock", "plain key"]) {
        assert!(line.starts_with(kind) && line.contains(&here), "{route}");
    }
    let braces = said(&["cluster", "route", "{foo}%"]);
    let at = |kind: &str| {
        let line = braces.lines().find(|line| line.starts_with(kind)).expect("a line");
        line.contains(&here)
    };
    assert_eq!(["limits", "lock", "plain key"].map(at), [false, false, true], "{braces}");
    let long = run(dir.path(), &["cluster", "route", &"x".repeat(513), "--store", &store]);
    assert_eq!(long.status.code(), Some(2));
}

#[test]
fn a_probe_says_what_a_server_lacks_and_fails_if_it_is_needed() {
    if without("redis") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let server = Redis::start();
    let url = server.url();
    let probed = run(dir.path(), &["cluster", "probe", &url]);
    let text = String::from_utf8(probed.stdout).expect("text");
    assert_eq!(probed.status.code(), Some(0), "{text}");
    assert!(text.contains("\n  commands        met      "), "{text}");
    server.command(["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"]);
    let limited = run(dir.path(), &["cluster", "probe", &url, "--json"]);
    let json: Value = serde_json::from_slice(&limited.stdout).expect("JSON");
    let findings = json[0]["findings"].as_array().expect("findings");
    let eviction = findings.iter().find(|finding| finding["need"] == "eviction").expect("found");
    assert_eq!((limited.status.code(), &eviction["outcome"]), (Some(0), &json!("limited")));
    server.command(["ACL", "SETUSER", "narrow", "on", ">pw", "~*", "&*", "+@all", "-setrange"]);
    let narrow = format!("redis://narrow:pw@127.0.0.1:{}", server.port());
    let missing = run(dir.path(), &["cluster", "probe", &narrow]);
    let text = String::from_utf8(missing.stdout).expect("text");
    assert_eq!(missing.status.code(), Some(1), "{text}");
    assert!(text.contains("missing") && text.contains("SETRANGE") && !text.contains("pw"), "{text}");
    assert_eq!(run(dir.path(), &["cluster", "probe", "memory:"]).status.code(), Some(2));
}

#[test]
fn a_change_of_hosts_is_planned_and_keys_are_verified() {
    if without("redis") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start();
    let url = |db: u32| format!("redis://127.0.0.1:{}/{db}", redis.port());
    let config = format!(
        "prefix = {:?}\n[cluster.hosts]\na = {:?}\nb = {{ url = {:?}, weight = 2 }}\n",
        unique_prefix(),
        url(1),
        url(2)
    );
    std::fs::write(dir.path().join("forebay.toml"), config).expect("a file");
    let said = |args: &[&str], status: i32| {
        let output = run(dir.path(), args);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(status), "{text}{}", String::from_utf8_lossy(&output.stderr));
        text
    };
    // `foo` is in slot 12182: on one of the two.
    for db in ["1", "2"] {
        redis.command(["SELECT", db]);
        redis.command(["EVAL", "redis.call('SELECT', ARGV[1]) redis.call('SET', 'foo', 1)", "0", db]);
    }
    let verified = said(&["cluster", "verify"], 1);
    assert!(verified.contains("1 key, all where the router looks for them"), "{verified}");
    assert!(verified.contains("1 key, 1 belong on another host, such as foo"), "{verified}");
    let hosts: Value = serde_json::from_str(&said(&["cluster", "verify", "--json"], 1)).expect("JSON");
    let misplaced = |host: &Value| host["misplaced"].as_u64().expect("a number");
    assert_eq!(hosts.as_array().expect("hosts").iter().map(misplaced).sum::<u64>(), 1);

    let to = [format!("a={}", url(1)), format!("b={}", url(2)), format!("c={}", url(3))];
    let plan = ["cluster", "reshard", "--dry-run", "--to", &to[0], &to[1], &to[2]];
    let planned = said(&plan, 0);
    // b keeps its weight of 2, c has 1: a quarter of all.
    assert!(planned.starts_with("table of epoch 1: 4,096 slots, "), "{planned}");
    assert!(
        planned.contains("a to c: ") && planned.contains("b to c: ") && !planned.contains("to b"),
        "{planned}"
    );
    assert!(planned.ends_with("this was a plan: nothing was moved\n"), "{planned}");
    let json: Value = serde_json::from_str(&said(&[&plan[..], &["--json"]].concat(), 0)).expect("JSON");
    assert_eq!(json["moves"].as_array().map(Vec::len), Some(4_096));
    let same = said(&["cluster", "reshard", "--dry-run", "--to", &to[0], "--to", &to[1]], 0);
    assert_eq!(same, "table of epoch 1: each host has its share, nothing has to move\n");

    for wrong in [
        &plan[..2],
        &["cluster", "reshard", "--to", &to[0]][..],
        &["cluster", "verify", "--store", "memory:"][..],
    ] {
        said(wrong, 2);
    }
}

/// By a user who has seen enough: no slot is left that nothing is written to, and the next run need not wait.
#[test]
fn a_reshard_that_is_interrupted_leaves_every_slot_written() {
    if without("redis") {
        return;
    }
    let (dir, servers) = (tempfile::tempdir().expect("a directory"), [(); 3].map(|()| Redis::start()));
    let [a, b, c] = ["a", "b", "c"].map(|name| {
        let at = name.as_bytes()[0] - b'a';
        format!("{name}={}", servers[usize::from(at)].url())
    });
    let hosts = [&a, &b].map(|host| host.replacen('=', " = \"", 1) + "\"\n").concat();
    let config = format!(
        "prefix = \"own\"\ndatabase = \"sqlite::memory:\"\nlisten = \"127.0.0.1:0\"\n[cluster.hosts]\n{hosts}"
    );
    std::fs::write(dir.path().join("forebay.toml"), config).expect("a file");
    let server = Process::start(dir.path(), &["serve"]);
    server.line_after("  URL       ");
    for key in 0..200 {
        servers[0].command(["SET", &format!("own:window:hits:3600s:{{{key}}}"), &"x".repeat(1_000)]);
    }
    let table = || match servers[0].command(["GET", "own:cluster:placement"]) {
        Reply::Text(table) => table,
        other => panic!("{other:?}"),
    };
    let epoch = || -> u64 {
        let table = table();
        let epoch = table.lines().find_map(|line| line.strip_prefix("epoch "));
        epoch.expect("it has one").parse().expect("a number")
    };
    let reshard = ["cluster", "reshard", "--rate", "1kB/s", "--to", &a, &b, &c];
    for signal in ["INT", "TERM"] {
        let before = epoch();
        let process = Process::start(dir.path(), &reshard);
        wait_until("slots to move", || epoch() > before + 2);
        process.signal(signal);
        let (status, text) = process.end();
        assert_eq!(status, 2, "{text}");
        assert!(text.contains("interrupted: run it again to go on"), "{text}");
        assert!(!table().contains("\nmoving ") && !table().contains("\ndraining "), "{}", table());
    }
    let output = run(dir.path(), &["cluster", "reshard", "--to", &a, &b, &c]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(table().contains("host c ") && !table().contains("\nleft "), "{}", table());
}

/// Each time the command is killed, at a later step than before. The source and the target have their hosts in common.
#[test]
fn a_store_is_converted_however_often_the_command_is_killed() {
    if without("redis") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let redis = Redis::start();
    let url = |db: u32| format!("redis://127.0.0.1:{}/{db}", redis.port());
    let config = |hosts: &str| std::fs::write(dir.path().join("forebay.toml"), hosts).expect("a file");
    let names = |names: [&str; 3]| {
        let hosts = names.iter().zip(1..).map(|(name, db)| format!("{name} = {:?}\n", url(db)));
        format!("[cluster.hosts]\n{}", hosts.collect::<String>())
    };
    config(&format!("[cluster]\nrouter = \"nydus-partition\"\n{}", names(["0", "1", "2"])));
    let former = Hosts::new().router(RouterKind::NydusPartition);
    let former = (1..4).fold(former, |hosts, db: u32| hosts.host((db - 1).to_string(), url(db)));
    let placement = former.first_placement().expect("valid");
    let write = "redis.call('SELECT', ARGV[1]) redis.call('SET', KEYS[1], ARGV[2])";
    for key in (0..2_000).map(|key| format!("key:{key}")) {
        let db = placement.host_of(&key).parse::<u32>().expect("a number") + 1;
        redis.command(["EVAL", write, "1", &key, &db.to_string(), &key]);
    }
    let to = [format!("a={}", url(1)), format!("b={}", url(2)), format!("c={}", url(3))];
    let convert = ["cluster", "convert", "--take-over", "--to", &to[0], &to[1], &to[2]];
    let planned = run(dir.path(), &["cluster", "convert", "--dry-run", "--to", &to[0], &to[1], &to[2]]);
    let planned = String::from_utf8_lossy(&planned.stdout).into_owned();
    assert!(planned.starts_with("plain: 2,000 keys on the source\n"), "{planned}");
    for point in
        ["noted", "copied", "copied:4", "compared", "placed", "placed:2", "placed:3", "purged", "purged:3"]
    {
        let mut command = command(PROGRAM, dir.path());
        command.args(convert).arg("--force").env("FOREBAY_FAILPOINT", format!("convert_{point}"));
        let output = command.output().expect("the program runs");
        assert_eq!(output.status.signal(), Some(6), "{point}: {}", String::from_utf8_lossy(&output.stderr));
    }
    let output = run(dir.path(), &convert);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let again = run(dir.path(), &convert);
    assert_eq!(again.status.code(), Some(2));
    config(&names(["a", "b", "c"]));
    let verified = run(dir.path(), &["cluster", "verify"]);
    let verified = (verified.status.code(), String::from_utf8_lossy(&verified.stdout).into_owned());
    assert_eq!(verified.0, Some(0), "{}", verified.1);
    let count = "local n = 0 for db = 1, 3 do redis.call('SELECT', db)
        for _, key in ipairs(redis.call('KEYS', 'key:*')) do if redis.call('GET', key) == key then n = n + 1 end end end return n";
    assert_eq!(redis.command(["EVAL", count, "0"]), Reply::Integer(2_000));
}
