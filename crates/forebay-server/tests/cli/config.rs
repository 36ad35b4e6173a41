use std::fs;

use super::process::run;

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("text")
}

#[test]
fn init_writes_what_check_config_accepts_and_never_overwrites() {
    let dir = tempfile::tempdir().expect("a directory");
    let written = run(dir.path(), &["init"]);
    assert_eq!(written.status.code(), Some(0), "{}", text(&written.stderr));
    let file = fs::read_to_string(dir.path().join("forebay.toml")).expect("the file");
    assert_eq!(file, forebay_server::config::EXAMPLE);

    let checked = run(dir.path(), &["check-config"]);
    assert_eq!(checked.status.code(), Some(0), "{}", text(&checked.stderr));
    assert_eq!(text(&checked.stdout), "OK: forebay.toml: 1 limit, 1 series, 1 buffer, 1 event, 0 tokens\n");

    fs::write(dir.path().join("forebay.toml"), "prefix = \"mine\"").expect("a file");
    let again = run(dir.path(), &["init"]);
    assert_eq!(again.status.code(), Some(2));
    assert!(text(&again.stderr).contains("forebay.toml exists already"), "{}", text(&again.stderr));
    assert_eq!(fs::read_to_string(dir.path().join("forebay.toml")).expect("the file"), "prefix = \"mine\"");

    let printed = run(dir.path(), &["init", "-"]);
    assert_eq!(text(&printed.stdout), forebay_server::config::EXAMPLE);
}

#[test]
fn a_misspelt_configuration_names_file_line_and_nearest_name_and_exits_2() {
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("my.toml"), "lisen = \"127.0.0.1:0\"\n\n[limits.hits]\nrate = \"20/min\"\n")
        .expect("a file");
    for command in ["check-config", "serve"] {
        let refused = run(dir.path(), &[command, "--config", "my.toml"]);
        assert_eq!(refused.status.code(), Some(2));
        let message = text(&refused.stderr);
        let lines: Vec<&str> = message.lines().collect();
        assert_eq!(lines[0], "error: 2 mistakes in the configuration");
        assert!(
            lines[1].starts_with("my.toml:1: unknown field \"lisen\": did you mean \"listen\"?"),
            "{message}"
        );
        assert!(lines[2].starts_with("my.toml:4: limits.hits.rate: rate \"20/min\": "), "{message}");
    }
    let refused = run(dir.path(), &["check-config", "--config", "my.toml", "--json"]);
    assert_eq!((refused.status.code(), text(&refused.stderr).as_str()), (Some(2), ""));
    let verdict: serde_json::Value = serde_json::from_slice(&refused.stdout).expect("JSON");
    assert_eq!(verdict["ok"], false);
    assert_eq!(verdict["mistakes"][1]["source"], "my.toml");
    assert_eq!(verdict["mistakes"][1]["line"], 4);
    assert!(verdict["mistakes"][0]["message"].as_str().expect("text").contains("did you mean \"listen\"?"));
    // The failed command opened no store or database.
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1);
}

/// Both commands print the same error, and neither creates a file.
#[test]
fn check_config_refuses_like_serve_in_the_same_words() {
    let ids =
        "[cluster]\nrouter = \"twemproxy-ketama\"\n[cluster.hosts]\n0 = \"redis://a\"\n1 = \"redis://a/1\"\n";
    let weights = "[cluster]\nrouter = \"nydus-partition\"\n[cluster.hosts]\n0 = { url = \"redis://a\", weight = 2 }\n\
                   1 = \"redis://b\"\n";
    let files = [
        ids,
        weights,
        "store = \"embedded:new.redb?sync=1h\"\n",
        "database = \"mysql://db\"\n",
        "listen = \"0.0.0.0:0\"\n",
    ];
    for file in files {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("forebay.toml"), file).expect("a file");
        let [serve, check] = ["serve", "check-config"].map(|command| run(dir.path(), &[command]));
        assert_eq!((serve.status.code(), check.status.code()), (Some(2), Some(2)), "{file}");
        assert_eq!(text(&serve.stderr), text(&check.stderr), "{file}");
        assert!(text(&check.stderr).contains("1 mistake in the configuration\nforebay.toml:"), "{file}");
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 1, "{file}");
    }
}

#[test]
fn a_misspelt_command_is_answered_with_the_nearest() {
    let dir = tempfile::tempdir().expect("a directory");
    let refused = run(dir.path(), &["sevre"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("serve"), "{}", text(&refused.stderr));
    for command in ["serve", "check-config", "init"] {
        let help = run(dir.path(), &[command, "--help"]);
        assert_eq!(help.status.code(), Some(0));
        assert!(text(&help.stdout).contains("Examples:"), "{command}");
    }
}

#[test]
fn schema_prints_what_creates_the_tables_of_each_database() {
    let dir = tempfile::tempdir().expect("a directory");
    let schema = |args: &[&str]| {
        let printed = run(dir.path(), &[&["schema"], args].concat());
        assert_eq!(printed.status.code(), Some(0), "{}", text(&printed.stderr));
        text(&printed.stdout)
    };
    assert!(schema(&[]).contains("WITHOUT ROWID"), "the example's database is SQLite");
    assert!(schema(&["--dialect", "postgres"]).contains("fillfactor"));
    // Neither database exists. The command opens none.
    assert!(schema(&["--database", "mysql://me@127.0.0.1:1/app"]).contains("ENGINE=InnoDB"));
    let two = "[buffers.one]\nkey = { id = \"text\" }\ncolumns = { n = \"sum\" }\n\
               [buffers.two]\nkey = { id = \"text\" }\ncolumns = { n = \"sum\" }\n";
    fs::write(dir.path().join("forebay.toml"), two).expect("a file");
    let both = schema(&["--dialect", "mysql"]);
    assert_eq!(both.matches("CREATE TABLE").count(), 5, "{both}");
    let one = schema(&["--dialect", "mysql", "--buffer", "one"]);
    assert!(one.contains("`one`") && !one.contains("`two`"), "{one}");
    let refused = run(dir.path(), &["schema", "--buffer", "on"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("did you mean \"one\"?"), "{}", text(&refused.stderr));
}
