use std::io::{Read, Write};

use fantoccini::{Client as Browser, ClientBuilder, Locator};
use forebay_testkit::{Chromium, eventually, without};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

use crate::support::{Client, PATIENCE, Server};

/// A page in a browser of its own.
pub(crate) struct Page {
    pub(crate) browser: Browser,
    /// Dropped after the browser.
    driver: Chromium,
}

impl Page {
    pub(crate) async fn open(server: &Server) -> Self {
        let driver = Chromium::start();
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let options = json!({"binary": driver.program(), "args": driver.arguments()});
        let wanted = json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}});
        let Value::Object(wanted) = wanted else { unreachable!("written as an object") };
        let browser = builder.capabilities(wanted).connect(&driver.url()).await.expect("a browser");
        browser.goto(&format!("http://{}/", server.address())).await.expect("a page");
        Self { browser, driver }
    }

    /// The value of `expression` in the page.
    pub(crate) async fn value(&self, expression: &str) -> Value {
        let answer = self.browser.execute(&format!("return {expression}"), vec![]).await;
        answer.unwrap_or_else(|error| panic!("{expression}: {error}"))
    }

    /// Waits until `expression` is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        eventually(expression, async || self.value(expression).await == json!(true)).await;
    }

    /// Waits until the element with this id shows `text`.
    pub(crate) async fn shows(&self, id: &str, text: &str) {
        self.until(&format!("document.getElementById({}).innerText === {}", json!(id), json!(text))).await;
    }

    pub(crate) async fn type_into(&self, selector: &str, text: &str) {
        let field = self.browser.find(Locator::Css(selector)).await.expect("a field");
        field.send_keys(&format!("{text}\n")).await.expect("typing");
    }

    /// The browser's complaints about the page.
    pub(crate) async fn complaints(&self) -> Value {
        let found = self.order("se/log", &json!({"type": "browser"})).await;
        assert!(found.is_array(), "{found}");
        found
    }

    /// Gives the driver an order that WebDriver does not have.
    pub(crate) async fn order(&self, path: &str, body: &Value) -> Value {
        let session = self.browser.session_id().await.expect("an answer").expect("a session");
        let mut driver = Client::of(([127, 0, 0, 1], self.driver.port()).into()).connect();
        driver.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let body = body.to_string();
        let length = body.len();
        let head =
            format!("POST /session/{session}/{path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
        driver.write_all(format!("{head}\r\n\r\n{body}").as_bytes()).expect("a request");
        // The driver keeps the connection open, so its answer ends where its JSON ends.
        let (mut answer, mut piece) = (vec![], [0; 8_192]);
        loop {
            let length = driver.read(&mut piece).expect("an answer");
            assert!(length > 0, "the driver hung up: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&piece[..length]);
            let text = String::from_utf8_lossy(&answer);
            let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            if let Ok(body) = serde_json::from_str::<Value>(body) {
                assert_eq!(body["value"].get("error"), None, "{body}");
                return body["value"].clone();
            }
        }
    }

    pub(crate) async fn close(self) {
        self.browser.close().await.expect("an end");
    }
}

#[tokio::test]
async fn the_page_shows_what_happens_and_takes_keys_for_text() {
    if without("chromium") {
        return;
    }
    let server = Server::with(|example| example.replace("20/1m", "20/1d"));
    let page = Page::open(&server).await;
    for (id, text) in
        [("status-live", "live"), ("status-store", "store ok"), ("status-database", "database ok")]
    {
        page.shows(id, text).await;
    }
    // No hit was sent yet: the page shows the command to try.
    page.until("document.getElementById('hits-try').innerText.endsWith('/v1/events/hit')").await;

    let key = "<img src=x onerror=\"document.title='taken for markup'\">";
    for _ in 0..25 {
        server.client().post("/v1/events/hit", json!({"key": key}).to_string());
    }
    page.shows("accepted-total", "20").await;
    page.shows("limited-total", "5").await;
    page.until("document.querySelectorAll('#hits-chart path[d^=M]').length === 2").await;
    page.until("document.getElementById('hits-empty').hidden").await;
    // The page shows this key as text, too.
    page.until(&format!(
        "document.querySelector('#denied-list tr')?.innerText === {}",
        json!(format!("hits\t{key}\t5"))
    ))
    .await;
    page.until(&format!(
        "document.querySelector('#near-list tr')?.innerText === {}",
        json!(format!("hits\t{key}\t20 of 20 (100 %)"))
    ))
    .await;
    server.client().post("/v1/buffers/projects/flush", "").expect(200);
    page.until(
        "document.querySelector('[data-buffer=projects] [data-figure=pending_rows]').innerText === '0'",
    )
    .await;
    page.until(
        "document.querySelector('[data-buffer=projects] [data-figure=flushed_rows]').innerText === '1'",
    )
    .await;

    page.type_into("#key", key).await;
    page.shows("explorer-sum", "20").await;
    page.until("document.querySelectorAll('#explorer-chart .row rect').length === 1").await;
    let shown = page.value("document.getElementById('explorer-key').textContent").await;
    assert_eq!((shown, page.value("document.title").await), (json!(key), json!("Forebay")));
    assert_eq!(page.value("document.querySelector('#explorer img')").await, Value::Null);

    let asked = page.value("performance.getEntriesByType('resource').map(({name}) => name)").await;
    let asked = asked.as_array().expect("a list");
    let own = format!("http://{}/", server.address());
    assert!(asked.len() > 5, "{asked:?}");
    assert!(asked.iter().all(|url| url.as_str().is_some_and(|url| url.starts_with(&own))), "{asked:?}");
    assert_eq!(page.complaints().await, json!([]));
    page.close().await;
}

#[tokio::test]
async fn the_page_shows_the_hosts_and_which_one_is_down() {
    if without("chromium") || without("redis") {
        return;
    }
    let (redis, server) = tokio::task::spawn_blocking(crate::cluster::three).await.expect("starts");
    let page = Page::open(&server).await;
    page.shows("status-live", "live").await;
    let cell = |host: &str, column: u32| {
        format!("document.querySelector('[data-host={host}] td:nth-child({column})').innerText")
    };
    page.until("document.querySelectorAll('#host-list [data-host]').length === 3").await;
    page.until(&format!("{} === 'up' && {}.endsWith(' ms')", cell("a", 2), cell("a", 6))).await;
    page.until(&format!("{}.endsWith(' MiB') && {} === '0'", cell("a", 7), cell("a", 5))).await;
    redis[1].kill();
    page.until(&format!("{} === 'down'", cell("b", 2))).await;
    page.until("document.querySelector('#host-list .why').innerText.includes('cannot connect')").await;
    assert_eq!(page.value(&cell("c", 2)).await, json!("up"));
    assert_eq!(page.complaints().await, json!([]));
    page.close().await;
    // The server flushes once more when it stops.
    redis[1].restart();
    eventually("the host to be found again", async || crate::cluster::health(&server.client()) == ["up"; 3])
        .await;
}

#[tokio::test]
async fn the_page_asks_for_a_token_where_the_server_does() {
    if without("chromium") {
        return;
    }
    let token = "\n[[tokens]]\nname = \"look\"\ntoken = \"r3ad\"\nscopes = [\"read\"]\n";
    let server = Server::with(|example| example + token);
    let page = Page::open(&server).await;
    page.shows("status-live", "token needed").await;
    // The state of health is not a secret.
    page.shows("status-store", "store ok").await;
    page.type_into("#token", "wrong").await;
    page.until("document.getElementById('ask-why').innerText.startsWith('Refused')").await;
    page.type_into("#token", "r3ad").await;
    page.shows("status-live", "live").await;
    page.until("document.getElementById('ask').hidden").await;
    page.close().await;
}

#[test]
fn the_page_is_public_and_may_do_nothing_but_ask_this_server() {
    let server = Server::with(|example| {
        example + "\n[[tokens]]\nname = \"look\"\ntoken = \"r3ad\"\nscopes = [\"read\"]\n"
    });
    let page = server.client().get("/");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    // The server has every file that the page names, with the right content type.
    let named = page.body.split('"').filter(|part| part.starts_with("/assets/"));
    let files: Vec<_> = named.map(|path| (path, server.client().get(path))).collect();
    assert!(files.len() >= 3, "{files:?}");
    for (path, file) in files.iter().chain([&("/", page.clone())]) {
        assert_eq!(file.status, 200, "{path}");
        assert_eq!(file.header("x-content-type-options"), Some("nosniff"), "{path}");
        let policy = file.header("content-security-policy").expect("a policy");
        for rule in
            ["default-src 'none'", "script-src 'self';", "style-src 'self';", "frame-ancestors 'none'"]
        {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    // The policy would block these. An inline script, style or handler would be a part of the page that does not work.
    for inline in ["<script>", "<style", " style=", " onclick=", " onload=", "://"] {
        assert!(!page.body.contains(inline), "{inline}");
    }
}
